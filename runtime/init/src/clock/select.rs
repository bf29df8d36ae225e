//! Whom to believe of several servers: what most of them agree on, without I/O.
//!
//! Each sample is an interval in which the true offset lies if its server is right. What most intervals have in common is
//! believed (Marzullo's algorithm, of which RFC 5905, section 11.2.1, is a descendant), if those are more than half. Of
//! them the one that knows best says how much the clock is off, within what they have in common.

use std::cmp::Ordering;

use super::sntp::Sample;

/// What is added to each side of an interval, in nanoseconds: a slewing clock, an interrupted read. Servers that differ
/// by less are not called liars.
const MARGIN: i64 = 10_000_000;
/// How far a server may be from a clock that was right to be believed without a majority, in nanoseconds.
const NEAR: u64 = 1_000_000_000;

/// What several samples say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The index of the sample that is believed.
    pub best: usize,
    /// By how much the clock is off, in nanoseconds: that sample's offset, within what the majority has in common.
    pub offset: i64,
    /// How many agree.
    pub agreeing: usize,
    /// The indices of those that are outvoted: falsetickers.
    pub outvoted: Vec<usize>,
}

/// How long a machine without the time waits for those that have not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Not at all: they cannot change the result.
    Over,
    /// For a moment: the result holds already against a minority of liars, and they might make it better.
    Short,
    /// Until each of them has answered or failed: so far, liars may be all that was heard.
    Full,
}

struct Interval {
    low: i64,
    high: i64,
}

impl Interval {
    fn of(sample: &Sample) -> Self {
        let error = i64::try_from(sample.error().as_nanos()).unwrap_or(i64::MAX);
        let error = error.saturating_add(MARGIN);
        Self {
            low: sample.offset.saturating_sub(error),
            high: sample.offset.saturating_add(error),
        }
    }

    fn has(&self, offset: i64) -> bool {
        (self.low..=self.high).contains(&offset)
    }

    fn distance(&self) -> u64 {
        if self.has(0) {
            0
        } else {
            self.low.unsigned_abs().min(self.high.unsigned_abs())
        }
    }
}

/// What more than half of the samples agree on; `None` if there is no such thing. One sample alone agrees with itself.
///
/// Where two groups are as large as each other, which takes a server that agrees with both, the one nearer to the clock
/// is believed.
pub fn majority(samples: &[Sample]) -> Option<Choice> {
    let intervals: Vec<Interval> = samples.iter().map(Interval::of).collect();
    let mut found: Option<(usize, Interval)> = None;
    // What most have in common begins where one of them begins.
    for low in intervals.iter().map(|interval| interval.low) {
        let sharing = || intervals.iter().filter(|interval| interval.has(low));
        let (count, high) = (
            sharing().count(),
            sharing().map(|it| it.high).min().unwrap_or(low),
        );
        let common = Interval { low, high };
        if count * 2 > intervals.len()
            && found.as_ref().is_none_or(|(most, so_far)| {
                count > *most || count == *most && common.distance() < so_far.distance()
            })
        {
            found = Some((count, common));
        }
    }
    let (agreeing, common) = found?;
    let (inside, outvoted): (Vec<usize>, Vec<usize>) = (0..samples.len())
        .partition(|index| intervals.get(*index).is_some_and(|it| it.has(common.low)));
    let best = *inside
        .iter()
        .min_by_key(|index| samples.get(**index).map(Sample::error))?;
    Some(Choice {
        best,
        offset: samples.get(best)?.offset.clamp(common.low, common.high),
        agreeing,
        outvoted,
    })
}

/// How long to wait for the others of `asked` servers when these samples have come.
///
/// Quick answers are no better than slow ones, so it is not most of the answers that count but how many of all that were
/// asked: of a group with half of them or more, at least one is honest unless liars are half themselves.
pub fn patience(samples: &[Sample], asked: usize) -> Patience {
    let agreeing = majority(samples).map_or(0, |choice| choice.agreeing);
    match (agreeing * 2).cmp(&asked) {
        Ordering::Greater => Patience::Over,
        Ordering::Equal => Patience::Short,
        Ordering::Less => Patience::Full,
    }
}

/// Without a majority: the first sample that a clock that was right bears out, if there is one.
pub fn nearest(samples: &[Sample]) -> Option<Choice> {
    let near = |sample: &Sample| sample.offset.unsigned_abs() <= NEAR;
    Some(Choice {
        best: samples.iter().position(near)?,
        offset: samples.iter().find(|it| near(it))?.offset,
        agreeing: 1,
        outvoted: (0..samples.len())
            .filter(|index| !samples.get(*index).is_some_and(near))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use proptest::prelude::*;

    const MILLISECOND: i64 = 1_000_000;

    fn sample(offset: i64, error: i64) -> Sample {
        Sample {
            offset: offset * MILLISECOND,
            delay: Duration::from_millis(error.unsigned_abs()),
            root: Duration::from_millis(error.unsigned_abs() / 2),
        }
    }

    #[test]
    fn one_alone_is_believed() {
        let choice = majority(&[sample(5_000, 20)]);
        let choice = choice.map(|it| (it.best, it.offset, it.outvoted));
        assert_eq!(choice, Some((0, 5_000 * MILLISECOND, vec![])));
        assert_eq!(majority(&[]), None);
    }

    #[test]
    fn two_outvote_one() {
        for liar in 0..3 {
            let mut samples = vec![sample(100, 30), sample(110, 20)];
            samples.insert(liar, sample(3_600_000, 1));
            let choice = majority(&samples);
            assert_eq!(
                choice.map(|it| (it.agreeing, it.outvoted)),
                Some((2, vec![liar]))
            );
        }
    }

    #[test]
    fn two_that_disagree_are_no_majority() {
        assert_eq!(majority(&[sample(0, 20), sample(1_000, 20)]), None);
        let four = [sample(0, 9), sample(1, 9), sample(900, 9), sample(901, 9)];
        assert_eq!(majority(&four), None);
    }

    #[test]
    fn who_knows_best_speaks_within_what_is_agreed_on() {
        // The second has the smallest error, and its middle lies outside of the first one's interval.
        let choice = majority(&[sample(0, 40), sample(60, 20)]);
        assert_eq!(
            choice.map(|it| (it.best, it.offset)),
            Some((1, 40 * MILLISECOND + MARGIN))
        );
    }

    #[test]
    fn between_two_groups_the_clock_decides() {
        for turned in [false, true] {
            let mut samples = vec![sample(-2_000, 100), sample(50, 100), sample(0, 5_000)];
            if turned {
                samples.reverse();
            }
            let offset = majority(&samples).map(|it| it.offset);
            assert_eq!(offset, Some(50 * MILLISECOND), "{samples:?}");
        }
    }

    #[test]
    fn without_a_majority_the_clock_may_bear_one_out() {
        let samples = [sample(9_000, 1), sample(-900, 1), sample(100, 1)];
        let choice = nearest(&samples).map(|it| (it.best, it.offset, it.outvoted));
        assert_eq!(choice, Some((1, -900 * MILLISECOND, vec![0])));
        assert_eq!(nearest(&samples[..1]), None);
    }

    #[test]
    fn how_many_of_those_asked_agree_says_how_long_to_wait() {
        use Patience::{Full, Over, Short};
        let (one, other) = (sample(0, 9), sample(5_000, 9));
        for (samples, asked, wanted) in [
            (&[one][..], 1, Over),
            (&[one], 2, Short),
            (&[one], 3, Full),
            (&[one, other], 3, Full),
            (&[one, one], 3, Over),
            (&[one, one], 4, Short),
            (&[one, other, one], 4, Short),
            (&[one, one, one], 4, Over),
            (&[], 2, Full),
        ] {
            assert_eq!(patience(samples, asked), wanted, "{samples:?} of {asked}");
        }
    }

    /// Servers whose interval has the truth in it.
    fn honest(truth: i64) -> impl Strategy<Value = Sample> {
        (0..2_000_i64, -100..=100_i64)
            .prop_map(move |(error, part)| sample(truth + error * part / 100, error))
    }

    fn anything() -> impl Strategy<Value = Sample> {
        (any::<i64>(), 0..16_000_000_000_u64, 0..16_000_000_000_u64).prop_map(
            |(offset, delay, root)| Sample {
                offset,
                delay: Duration::from_nanos(delay),
                root: Duration::from_nanos(root),
            },
        )
    }

    fn near_lie(truth: i64) -> impl Strategy<Value = Sample> {
        (truth - 9_000..truth + 9_000, 0..3_000_i64)
            .prop_map(|(offset, error)| sample(offset, error))
    }

    /// A truth, honest servers, and fewer liars, in any order.
    fn company() -> impl Strategy<Value = (i64, Vec<Sample>, Vec<Sample>, usize)> {
        (-90_000..90_000_i64, 1..6_usize).prop_flat_map(|(truth, honests)| {
            (
                Just(truth),
                proptest::collection::vec(honest(truth), honests),
                proptest::collection::vec(prop_oneof![anything(), near_lie(truth)], 0..honests),
                0..=honests,
            )
        })
    }

    proptest! {
        #[test]
        fn a_minority_of_liars_never_leads_out_of_an_honest_interval((truth, honest, liars, place) in company()) {
            let mut samples = honest.clone();
            samples.splice(place..place, liars);
            let choice = majority(&samples);
            let offset = choice.map(|it| it.offset).ok_or(TestCaseError::fail("no choice"))?;
            let around = honest.iter().find(|it| Interval::of(it).has(offset));
            prop_assert!(around.is_some(), "{offset} is in no honest interval");
            // So it is wrong by no more than the width of one.
            let width = honest.iter().map(|it| it.error().as_nanos() as i64 + MARGIN).max().unwrap_or(0);
            prop_assert!((offset - truth * MILLISECOND).abs() <= 2 * width);
        }

        #[test]
        fn quick_liars_are_not_believed_before_the_others_were_heard(
            (_, honest, liars, place) in company(), answered in any::<prop::sample::Index>()
        ) {
            let asked = honest.len() + liars.len();
            let mut samples = honest.clone();
            samples.splice(place..place, liars);
            samples.truncate(answered.index(asked) + 1);
            if patience(&samples, asked) != Patience::Full {
                let offset = majority(&samples).map(|it| it.offset).ok_or(TestCaseError::fail("no choice"))?;
                prop_assert!(honest.iter().any(|it| Interval::of(it).has(offset)), "{offset}");
            }
        }

        #[test]
        fn liars_that_are_far_away_are_found(
            (truth, honest, liars, place) in company(), far in 100_000..9_000_000_i64
        ) {
            let mut samples = honest.clone();
            let away = liars.iter().zip(1..).map(|(_, number)| sample(truth + far * number, 5));
            let liars = away.collect::<Vec<_>>();
            samples.splice(place..place, liars.clone());
            let choice = majority(&samples).ok_or(TestCaseError::fail("no choice"))?;
            prop_assert_eq!(choice.outvoted, (place..place + liars.len()).collect::<Vec<_>>());
            prop_assert!(honest.iter().all(|it| Interval::of(it).has(choice.offset)));
        }

        #[test]
        fn the_order_does_not_matter(samples in proptest::collection::vec(near_lie(0), 0..6)) {
            let mut turned = samples.clone();
            turned.reverse();
            let agreeing = |samples: &[Sample]| majority(samples).map(|it| it.agreeing);
            prop_assert_eq!(agreeing(&samples), agreeing(&turned));
        }

        #[test]
        fn nothing_overflows(samples in proptest::collection::vec(anything(), 0..6)) {
            let _ = (majority(&samples), nearest(&samples));
        }
    }
}
