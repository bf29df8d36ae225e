//! What becomes of a measured offset: the clock is stepped, slewed, or the measurement is repeated.

/// The largest offset that is slewed, in nanoseconds.
const STEP: u64 = 1_000_000_000;
/// Two samples agree if they differ by no more than this, in nanoseconds.
const AGREEMENT: u64 = 500_000_000;

/// What to do with the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Correction {
    /// Set it at once.
    Step,
    /// Let it run faster or slower until it is right.
    Slew,
    /// Ask again soon: one sample alone is not believed.
    Confirm,
}

/// The samples so far.
#[derive(Debug, Default)]
pub struct Discipline {
    synchronised: bool,
    doubt: Option<i64>,
}

impl Discipline {
    /// That of a clock that was set from a good source already.
    pub fn synchronised() -> Self {
        Self {
            synchronised: true,
            doubt: None,
        }
    }

    /// Takes the next sample's offset in nanoseconds. The first one is believed, since nothing is known that would
    /// contradict it; later a jump of more than a second needs a second sample that agrees.
    pub fn correct(&mut self, offset: i64) -> Correction {
        let first = !std::mem::replace(&mut self.synchronised, true);
        let doubt = self.doubt.take();
        if first {
            return Correction::Step;
        }
        if offset.unsigned_abs() <= STEP {
            return Correction::Slew;
        }
        if doubt.is_some_and(|doubt| doubt.abs_diff(offset) <= AGREEMENT) {
            return Correction::Step;
        }
        self.doubt = Some(offset);
        Correction::Confirm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn synchronised() -> Discipline {
        let mut discipline = Discipline::default();
        assert_eq!(discipline.correct(5), Correction::Step);
        discipline
    }

    #[test]
    fn small_offsets_are_slewed() {
        let mut discipline = synchronised();
        for offset in [0, SECOND, -SECOND] {
            assert_eq!(discipline.correct(offset), Correction::Slew);
        }
    }

    #[test]
    fn a_jump_needs_two_samples_that_agree() {
        let mut discipline = synchronised();
        assert_eq!(discipline.correct(10 * SECOND), Correction::Confirm);
        assert_eq!(discipline.correct(-10 * SECOND), Correction::Confirm);
        assert_eq!(
            discipline.correct(-10 * SECOND + SECOND / 4),
            Correction::Step
        );
        assert_eq!(
            discipline.correct(-10 * SECOND),
            Correction::Confirm,
            "a step ends the doubt"
        );
    }

    #[test]
    fn a_good_sample_ends_the_doubt() {
        let mut discipline = synchronised();
        assert_eq!(discipline.correct(10 * SECOND), Correction::Confirm);
        assert_eq!(discipline.correct(0), Correction::Slew);
        assert_eq!(discipline.correct(10 * SECOND), Correction::Confirm);
    }

    #[test]
    fn no_offset_overflows() {
        let mut discipline = synchronised();
        assert_eq!(discipline.correct(i64::MIN), Correction::Confirm);
        assert_eq!(discipline.correct(i64::MAX), Correction::Confirm);
    }
}
