//! When to send again: randomised exponential backoff (RFC 2131, section 4.1).

use std::time::Duration;

/// The first interval, and the longest one.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    /// The first interval at most; the RFC's four seconds would cost a machine that boots in two its boot time.
    pub first: Duration,
    /// What the interval grows to.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(64),
        }
    }
}

impl Backoff {
    /// The usual first interval, growing to `longest`, which is what a test that runs for hours wants to be short.
    pub fn up_to(longest: Duration) -> Self {
        let first = Self::default().first.min(longest);
        Self { first, longest }
    }

    /// How long to wait after the `tries`-th message, counted from 1. Between three quarters and the whole of the
    /// interval, as `random` says, so that machines that were switched on together do not stay in step.
    pub fn delay(&self, tries: u32, random: u32) -> Duration {
        let doublings = tries.saturating_sub(1).min(16);
        let interval = self.first.saturating_mul(1 << doublings).min(self.longest);
        let share = f64::from(random) / f64::from(u32::MAX);
        interval.mul_f64(0.75 + 0.25 * share)
    }
}

/// How long to wait in RENEWING or REBINDING before the same message goes out again: half of what is left, but not
/// less than a minute (RFC 2131, section 4.4.5), which for a lease of minutes is a twentieth of the lease instead.
/// Never less than a second, so that the shortest lease makes no hot loop.
pub fn renewal_delay(left: Duration, lease: Duration) -> Duration {
    let least = (lease / 20).clamp(Duration::from_secs(1), Duration::from_secs(60));
    (left / 2).max(least)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_retry_comes_within_a_second() {
        let backoff = Backoff::default();
        assert_eq!(backoff.delay(1, u32::MAX), Duration::from_secs(1));
        assert_eq!(backoff.delay(1, 0), Duration::from_millis(750));
    }

    #[test]
    fn intervals_double_up_to_the_longest() {
        let seconds: Vec<u64> = (1..=9)
            .map(|tries| Backoff::default().delay(tries, u32::MAX).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 64, 64]);
    }

    #[test]
    fn the_longest_interval_can_be_set() {
        let backoff = Backoff::up_to(Duration::from_secs(2));
        assert_eq!(backoff.delay(1, u32::MAX), Duration::from_secs(1));
        assert_eq!(backoff.delay(9, u32::MAX), Duration::from_secs(2));
    }

    #[test]
    fn renewals_wait_for_half_of_what_is_left() {
        let day = Duration::from_secs(86_400);
        assert_eq!(
            renewal_delay(Duration::from_secs(1000), day),
            Duration::from_secs(500)
        );
        assert_eq!(
            renewal_delay(Duration::from_secs(100), day),
            Duration::from_secs(60)
        );
        assert_eq!(
            renewal_delay(Duration::ZERO, Duration::from_secs(2)),
            Duration::from_secs(1)
        );
    }

    proptest! {
        #[test]
        fn a_delay_is_never_nothing_and_never_longer_than_the_longest(tries: u32, random: u32) {
            let delay = Backoff::default().delay(tries, random);
            prop_assert!(delay >= Duration::from_millis(750));
            prop_assert!(delay <= Duration::from_secs(64));
        }
    }
}
