//! What follows when the app ends by itself, and how failures that repeat are spaced out. No I/O and no clock here.

use std::time::Duration;

use tinyboot::status::Action;

use crate::settings::OnExit;

/// An app that ran as long has booted well: the count of short boots starts again.
pub const GOOD_RUN: Duration = Duration::from_secs(10);
/// An app that ran as long has started well: its restarts begin with the first pause again.
const GOOD_START: Duration = Duration::from_secs(60);
const FIRST_RESTART: Duration = Duration::from_millis(100);
const FIRST_REBOOT: Duration = Duration::from_secs(1);

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Start it again after the pause.
    Restart(Duration),
    /// Stop the machine after the pause.
    Stop(Action, Duration),
}

/// Remembers what happened in this boot.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    longest: Duration,
    quick_restarts: u32,
}

impl Policy {
    /// Nothing happened yet. No pause is longer than `longest`, nor shorter than the first one.
    pub fn up_to(longest: Duration) -> Self {
        Self {
            longest,
            quick_restarts: 0,
        }
    }

    /// What follows after the app ran for `ran`; `short_boots` is how many boots in a row, this one included, ended
    /// before [`GOOD_RUN`].
    pub fn next(&mut self, on_exit: OnExit, ran: Duration, short_boots: u32) -> Next {
        match on_exit {
            OnExit::Restart => {
                if ran >= GOOD_START {
                    self.quick_restarts = 0;
                }
                let pause = self.doubled(FIRST_RESTART, self.quick_restarts);
                self.quick_restarts = self.quick_restarts.saturating_add(1);
                Next::Restart(pause)
            }
            OnExit::Reboot if ran < GOOD_RUN => Next::Stop(
                Action::Reboot,
                self.doubled(FIRST_REBOOT, short_boots.saturating_sub(1)),
            ),
            OnExit::Reboot => Next::Stop(Action::Reboot, Duration::ZERO),
            // A machine that is off cannot fail in a loop.
            OnExit::PowerOff => Next::Stop(Action::PowerOff, Duration::ZERO),
        }
    }

    fn doubled(&self, first: Duration, times: u32) -> Duration {
        let longest = self.longest.max(first);
        2u32.checked_pow(times)
            .and_then(|factor| first.checked_mul(factor))
            .map_or(longest, |pause| pause.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHORT: Duration = Duration::from_secs(1);

    fn policy() -> Policy {
        Policy::up_to(Duration::from_secs(60))
    }

    #[test]
    fn restarts_slow_down_and_recover() {
        let mut policy = policy();
        let mut pauses = (0..12).map(|_| policy.next(OnExit::Restart, SHORT, 1));
        let expected = [
            100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000,
        ];
        assert!(
            expected
                .into_iter()
                .all(|millis| pauses.next() == Some(Next::Restart(Duration::from_millis(millis))))
        );
        assert_eq!(
            policy.next(OnExit::Restart, Duration::from_secs(60), 1),
            Next::Restart(Duration::from_millis(100))
        );
    }

    #[test]
    fn short_boots_wait_before_the_reboot() {
        let pause = |short_boots| policy().next(OnExit::Reboot, SHORT, short_boots);
        for (short_boots, seconds) in [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u32::MAX, 60)] {
            assert_eq!(
                pause(short_boots),
                Next::Stop(Action::Reboot, Duration::from_secs(seconds))
            );
        }
        assert_eq!(
            policy().next(OnExit::Reboot, GOOD_RUN, 9),
            Next::Stop(Action::Reboot, Duration::ZERO)
        );
        assert_eq!(
            policy().next(OnExit::PowerOff, SHORT, 9),
            Next::Stop(Action::PowerOff, Duration::ZERO)
        );
    }

    #[test]
    fn no_pause_is_longer_than_the_longest() {
        let mut policy = Policy::up_to(Duration::from_secs(1));
        let mut pauses = (0..8).map(|_| policy.next(OnExit::Restart, SHORT, 1));
        let expected = [100, 200, 400, 800, 1000, 1000, 1000, 1000];
        assert!(
            expected
                .into_iter()
                .all(|millis| pauses.next() == Some(Next::Restart(Duration::from_millis(millis))))
        );
        assert_eq!(
            policy.next(OnExit::Reboot, SHORT, 7),
            Next::Stop(Action::Reboot, Duration::from_secs(1))
        );
        assert_eq!(
            Policy::up_to(Duration::from_secs(86400)).next(OnExit::Reboot, SHORT, 10),
            Next::Stop(Action::Reboot, Duration::from_secs(512))
        );
    }

    proptest! {
        #[test]
        fn a_failure_is_never_followed_at_once(restarts in 0u32..100, ran in 0u64..9_999, short_boots in 1u32.., longest in 0u64..90_000) {
            let longest = Duration::from_secs(longest);
            let mut policy = Policy { longest, quick_restarts: restarts };
            for on_exit in [OnExit::Restart, OnExit::Reboot] {
                let (Next::Restart(pause) | Next::Stop(_, pause)) = policy.next(on_exit, Duration::from_millis(ran), short_boots);
                prop_assert!(pause >= FIRST_RESTART && pause <= longest.max(FIRST_REBOOT));
            }
        }
    }
}
