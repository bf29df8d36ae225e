//! Whether the machine stood still while time went on, without I/O.
//!
//! A machine that its hypervisor paused, saved or moved goes on with a clock that stands where it stood, and nobody tells
//! it. The RTC does: a hypervisor's RTC follows the host's clock. If it has gone on for longer than the machine has run,
//! the machine was not running meanwhile. Setting the clock does not look like that; setting the RTC does, and makes the
//! time be asked for once more than needed.

/// The RTC counts seconds, so that two readings are wrong by up to one each way.
const JUMP: i64 = 2_000_000_000;
const NANOSECONDS: i64 = 1_000_000_000;

/// Three clocks, read at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// What the RTC says, in seconds since 1970.
    pub rtc: i64,
    /// What the clock says, in nanoseconds since 1970.
    pub clock: i64,
    /// How long the machine has run, in nanoseconds.
    pub running: i64,
}

impl Reading {
    /// How many nanoseconds more passed by the RTC since `before` than by the other two: running, and clock.
    fn ahead(&self, before: &Self) -> (i64, i64) {
        let rtc = self
            .rtc
            .saturating_sub(before.rtc)
            .saturating_mul(NANOSECONDS);
        let lead = |now: i64, then: i64| rtc.saturating_sub(now.saturating_sub(then));
        (
            lead(self.running, before.running),
            lead(self.clock, before.clock),
        )
    }
}

/// Compares each reading with the one before it.
#[derive(Debug, Default)]
pub struct Watch {
    last: Option<Reading>,
    /// The last reading before a jump that nobody has explained yet.
    before: Option<Reading>,
}

impl Watch {
    /// Takes a reading; by how many nanoseconds the RTC has jumped since the one before, if it has.
    pub fn see(&mut self, now: Reading) -> Option<i64> {
        let before = self.last.replace(now)?;
        let (jump, _) = now.ahead(&before);
        if jump.saturating_abs() <= JUMP {
            return None;
        }
        self.before.get_or_insert(before);
        Some(jump)
    }

    /// True if there was a jump about which nothing was done yet.
    pub fn is_open(&self) -> bool {
        self.before.is_some()
    }

    /// How many nanoseconds the clock lacks since before the jump, by the RTC's word; `None` if it lacks none, as when
    /// somebody has set it meanwhile. Never negative: the RTC sets no clock back.
    pub fn lacking(&self, now: Reading) -> Option<i64> {
        let (_, lacking) = now.ahead(self.before.as_ref()?);
        Some(lacking).filter(|lacking| *lacking > JUMP)
    }

    /// The jump is dealt with.
    pub fn settle(&mut self) {
        self.before = None;
    }

    /// The RTC was set: what it said before means nothing.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Reading = Reading {
        rtc: 1_795_435_200,
        clock: 1_795_435_200 * NANOSECONDS,
        running: 5 * NANOSECONDS,
    };

    /// After so many seconds of running, and of standing still.
    fn later(reading: Reading, running: i64, paused: i64) -> Reading {
        Reading {
            rtc: reading.rtc + running + paused,
            clock: reading.clock + running * NANOSECONDS,
            running: reading.running + running * NANOSECONDS,
        }
    }

    #[test]
    fn a_machine_that_runs_sees_nothing() {
        let mut watch = Watch::default();
        let mut now = START;
        for _ in 0..10 {
            assert_eq!(watch.see(now), None);
            now = later(now, 64, 0);
        }
        assert_eq!(watch.lacking(now), None);
    }

    #[test]
    fn a_pause_is_seen_once_and_is_what_the_clock_lacks() {
        let mut watch = Watch::default();
        watch.see(START);
        let now = later(START, 64, 30);
        assert_eq!(watch.see(now), Some(30 * NANOSECONDS));
        assert_eq!(watch.lacking(now), Some(30 * NANOSECONDS));
        let now = later(now, 64, 0);
        assert_eq!(watch.see(now), None);
        assert!(watch.is_open());
        assert_eq!(watch.lacking(now), Some(30 * NANOSECONDS), "still");
        watch.settle();
        assert_eq!(watch.lacking(now), None);
    }

    #[test]
    fn two_pauses_add_up() {
        let mut watch = Watch::default();
        watch.see(START);
        let now = later(START, 64, 30);
        watch.see(now);
        let now = later(now, 64, 10);
        assert_eq!(watch.see(now), Some(10 * NANOSECONDS));
        assert_eq!(watch.lacking(now), Some(40 * NANOSECONDS));
    }

    #[test]
    fn a_clock_that_is_set_is_no_pause() {
        let mut watch = Watch::default();
        watch.see(START);
        for offset in [-3600, 3600] {
            let mut now = later(START, 64, 0);
            now.clock += offset * NANOSECONDS;
            assert_eq!(watch.see(now), None);
            watch.see(START);
        }
    }

    #[test]
    fn who_sets_the_clock_after_a_pause_leaves_nothing_to_do() {
        let mut watch = Watch::default();
        watch.see(START);
        let mut now = later(START, 64, 30);
        now.clock += 30 * NANOSECONDS;
        assert_eq!(watch.see(now), Some(30 * NANOSECONDS));
        assert_eq!(watch.lacking(now), None);
    }

    #[test]
    fn an_rtc_that_goes_back_is_seen_and_sets_nothing_back() {
        let mut watch = Watch::default();
        watch.see(START);
        let now = later(START, 64, -3600);
        assert_eq!(watch.see(now), Some(-3600 * NANOSECONDS));
        assert_eq!(watch.lacking(now), None);
    }

    #[test]
    fn an_rtc_that_was_set_is_no_pause() {
        let mut watch = Watch::default();
        watch.see(START);
        watch.forget();
        assert_eq!(watch.see(later(START, 1, 3600)), None);
    }

    proptest! {
        #[test]
        fn readings_of_whole_seconds_raise_no_alarm(
            steps in proptest::collection::vec(1..200_000_000_000_i64, 1..20), phase in 0..NANOSECONDS
        ) {
            let mut watch = Watch::default();
            let mut running = phase;
            for step in steps {
                let now = Reading { rtc: running / NANOSECONDS, clock: running + 7, running };
                prop_assert_eq!(watch.see(now), None);
                running += step;
            }
        }

        #[test]
        fn every_longer_pause_is_seen_and_nothing_sets_back(
            running in 0..200_i64, paused in -9000..9000_i64, set in -9000..9000_i64
        ) {
            let mut watch = Watch::default();
            watch.see(START);
            let mut now = later(START, running, paused);
            now.clock += set * NANOSECONDS;
            prop_assert_eq!(watch.see(now).is_some(), paused.abs() > 2);
            prop_assert!(watch.lacking(now).is_none_or(|it| it > JUMP && it == (paused - set) * NANOSECONDS));
        }

        #[test]
        fn nothing_overflows(all: [i64; 6]) {
            let [a, b, c, d, e, f] = all;
            let mut watch = Watch::default();
            watch.see(Reading { rtc: a, clock: b, running: c });
            let now = Reading { rtc: d, clock: e, running: f };
            let _ = (watch.see(now), watch.lacking(now));
        }
    }
}
