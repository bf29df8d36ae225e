//! When servers are asked, without I/O and without a clock.
//!
//! RFC 4330, section 10, forbids to ask more often than every 15 s under any conditions. Two things here do, each only
//! for a few questions, as the bursts of other clients do: a machine that does not know the time yet or may have been
//! paused (after 1, 2, 4 and 8 s), and one answer that would make the clock jump (after 4 and 8 s).

use std::time::Duration;

/// Between two questions once the clock is right.
pub const POLL: Duration = Duration::from_secs(1024);
/// The first pause after a round without a good answer; it doubles up to [`POLL`].
const RETRY: Duration = Duration::from_secs(1);
/// The first pause when a jump awaits its confirmation; it doubles as well.
const CONFIRM: Duration = Duration::from_secs(4);
/// Until the first answers are completed by those that were not waited for or did not answer, or by new servers.
pub const COMPLETE: Duration = Duration::from_secs(16);
/// How long a server is left alone that asked for fewer questions, at first.
const RATE: Duration = Duration::from_secs(2048);
/// How long one is left alone that refused for another reason, at first.
const REFUSED: Duration = Duration::from_secs(3600);
/// How long a server is left alone at most: RFC 5905's longest poll interval, a day and a half.
const LONGEST: Duration = Duration::from_secs(1 << 17);

/// What came of a round of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// The clock was corrected.
    Done,
    /// It was for the first time, and not all servers answered, or no more than half of them agreed.
    Hasty,
    /// It would jump if the same is said again.
    Doubtful,
    /// No answer that can be believed.
    Failed,
}

/// The pauses so far.
#[derive(Debug)]
pub struct Pace(Duration);

impl Pace {
    /// One that begins quickly.
    pub fn new() -> Self {
        Self(RETRY)
    }

    /// How long to wait after a round.
    pub fn after(&mut self, round: Round) -> Duration {
        let pause = match round {
            Round::Done | Round::Hasty => {
                self.0 = RETRY;
                return if round == Round::Done { POLL } else { COMPLETE };
            }
            Round::Doubtful => self.0.max(CONFIRM),
            Round::Failed => self.0,
        };
        self.0 = (pause * 2).min(POLL);
        pause
    }
}

/// How long a server is left alone that sent a kiss-o'-death packet with `code`, the `times`th one in a row (from 1).
/// Each one doubles it (RFC 4330, section 8: back off exponentially).
pub fn refusal(code: [u8; 4], times: u32) -> Duration {
    let first = if &code == b"RATE" { RATE } else { REFUSED };
    first
        .saturating_mul(1 << times.saturating_sub(1).min(16))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(pace: &mut Pace, rounds: &[Round]) -> Vec<u64> {
        rounds
            .iter()
            .map(|round| pace.after(*round).as_secs())
            .collect()
    }

    #[test]
    fn only_a_few_questions_follow_each_other_within_15_seconds() {
        for round in [Round::Failed, Round::Doubtful] {
            let mut pace = Pace::new();
            let pauses = pauses(&mut pace, &[round; 16]);
            let quick = pauses.iter().filter(|pause| **pause < 15).count();
            assert!(quick <= 4, "{pauses:?}");
            assert!(
                pauses.is_sorted() && pauses.last() == Some(&1024),
                "{pauses:?}"
            );
        }
    }

    #[test]
    fn an_answer_ends_the_haste() {
        use Round::{Done, Doubtful, Failed, Hasty};
        let mut pace = Pace::new();
        let rounds = [
            Failed, Failed, Hasty, Failed, Done, Doubtful, Done, Doubtful,
        ];
        assert_eq!(pauses(&mut pace, &rounds), [1, 2, 16, 1, 1024, 4, 1024, 4]);
    }

    #[test]
    fn refusals_in_a_row_are_taken_ever_more_seriously() {
        assert_eq!(refusal(*b"RATE", 1).as_secs(), 2048);
        assert_eq!(refusal(*b"RATE", 2).as_secs(), 4096);
        assert_eq!(refusal(*b"DENY", 1).as_secs(), 3600);
        for times in [0, 6, 40, u32::MAX] {
            assert!(refusal(*b"RSTR", times) <= LONGEST);
        }
        assert_eq!(refusal(*b"RSTR", u32::MAX), LONGEST);
    }
}
