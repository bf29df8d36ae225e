//! Several servers, asked at the same time, each with a bound of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::exchange;
use super::kernel::Machine;
use super::refusals::Refusals;
use super::select::{self, Patience};
use super::sntp::Sample;

/// No more are asked at the same time; it takes three to outvote one.
const MOST: usize = 4;
/// How long the others are waited for once half of them agree, where the machine has no time yet.
const GRACE: Duration = Duration::from_secs(1);
/// Of so many servers is kept how they behaved.
const MOST_RECORDS: usize = 64;

/// What came of the exchange with the server of this index.
type Outcome = (usize, Result<(IpAddr, Sample), exchange::Error>);

/// What servers said.
#[derive(Debug, Default)]
pub struct Answers {
    /// Who said what, in the order in which they are named.
    pub good: Vec<(String, Sample)>,
    /// How many were asked.
    pub asked: usize,
}

/// How servers behaved so far.
#[derive(Debug, Default)]
pub struct Servers {
    records: HashMap<String, Record>,
    refusals: Refusals,
    rounds: u64,
}

#[derive(Debug, Default)]
struct Record {
    /// The number of the round in which it failed, if that was the last time that it was asked, or 0.
    failed: u64,
    complaint: Option<String>,
}

impl Servers {
    /// Whom to ask next of all that are named, in order. Addresses that want to be left alone are left out (those of a
    /// name are not known before it is resolved), and those that failed come last, the longest ago first, so that of many
    /// each one has its turn.
    pub fn next(&self, named: impl Iterator<Item = String>) -> Vec<String> {
        let mut all: Vec<String> = Vec::new();
        for server in named {
            let address = server.parse();
            let left_alone = address.is_ok_and(|address| self.refusals.holds(address));
            if !left_alone && !all.contains(&server) {
                all.push(server);
            }
        }
        let mut chosen = all.clone();
        chosen.sort_by_key(|server| self.records.get(server).map_or(0, |it| it.failed));
        chosen.truncate(MOST);
        all.retain(|server| chosen.contains(server));
        all
    }

    /// Asks servers. `is_possible` says whether an offset in nanoseconds may be right. In `haste` nobody is waited for
    /// longer than [`select::patience`] says. Dropping the future ends all exchanges.
    pub async fn ask<M: Machine>(
        &mut self,
        machine: &Arc<M>,
        servers: &[String],
        is_possible: impl Fn(i64) -> bool,
        haste: bool,
    ) -> Answers {
        let mut asked = JoinSet::new();
        for (index, server) in servers.iter().cloned().enumerate() {
            let (machine, refusals) = (machine.clone(), self.refusals.clone());
            asked.spawn(async move {
                let result = exchange::ask(machine.as_ref(), &server, &refusals).await;
                (index, result)
            });
        }
        self.gather(asked, servers, is_possible, haste).await
    }

    async fn gather(
        &mut self,
        mut asked: JoinSet<Outcome>,
        servers: &[String],
        is_possible: impl Fn(i64) -> bool,
        haste: bool,
    ) -> Answers {
        self.rounds += 1;
        let mut good: Vec<(usize, IpAddr, Sample)> = Vec::new();
        let mut until = None;
        loop {
            let next = match until {
                Some(until) => match timeout_at(until, asked.join_next()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
                None => asked.join_next().await,
            };
            let Some(next) = next else { break };
            // A task that panicked has said so.
            let Ok((index, result)) = next else { continue };
            let Some(server) = servers.get(index) else {
                continue;
            };
            match result {
                Ok((address, sample)) if is_possible(sample.offset) => {
                    self.records.remove(server);
                    // Who is named twice has one vote.
                    if !good.iter().any(|(_, known, _)| *known == address) {
                        good.push((index, address, sample));
                    }
                }
                Ok(_) => self.failed(
                    server,
                    "gives a time before the image's floor; it is ignored".into(),
                ),
                // That it refuses was said when it did.
                Err(exchange::Error::LeftAlone) => self.record(server).failed = self.rounds,
                Err(error) => self.failed(server, format!("gives no time: {error}")),
            }
            if haste && !good.is_empty() {
                let samples: Vec<Sample> = good.iter().map(|(_, _, sample)| *sample).collect();
                match select::patience(&samples, servers.len()) {
                    Patience::Over => break,
                    Patience::Short => {
                        until.get_or_insert_with(|| Instant::now() + GRACE);
                    }
                    Patience::Full => {}
                }
            }
        }
        good.sort_by_key(|(index, _, _)| *index);
        let named = |(index, _, sample): (usize, _, _)| Some((servers.get(index)?.clone(), sample));
        Answers {
            good: good.into_iter().filter_map(named).collect(),
            asked: servers.len(),
        }
    }

    /// Says why, unless that was said last of this server.
    fn failed(&mut self, server: &str, why: String) {
        let round = self.rounds;
        let record = self.record(server);
        record.failed = round;
        if record.complaint.as_ref() != Some(&why) {
            log::warn!("clock: {server} {why}");
            record.complaint = Some(why);
        }
    }

    fn record(&mut self, server: &str) -> &mut Record {
        if self.records.len() >= MOST_RECORDS && !self.records.contains_key(server) {
            self.records.clear();
        }
        self.records.entry(server.to_owned()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::sntp::Reject;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("server{number}")).collect()
    }

    #[tokio::test]
    async fn of_many_servers_each_has_its_turn() {
        let mut servers = Servers::default();
        let all = names(7);
        let mut seen = Vec::new();
        for _ in 0..4 {
            let next = servers.next(all.iter().cloned());
            assert_eq!(next.len(), MOST);
            servers.rounds += 1;
            for server in &next {
                servers.failed(server, "fails".into());
            }
            seen.push(next);
        }
        assert!(all.iter().take(4).eq(seen.iter().flatten().take(4)));
        let second: Vec<&String> = seen.iter().flatten().skip(4).take(4).collect();
        assert_eq!(second, ["server0", "server4", "server5", "server6"]);
        for server in &all {
            let turns = seen.iter().filter(|next| next.contains(server)).count();
            assert!(turns >= 2, "{server}: {seen:?}");
        }
    }

    /// What comes in haste of servers that say a time in seconds, or fail with `None`, after some milliseconds: what most
    /// of those agree on that were heard, and after how many tenths of a second.
    async fn heard(all: &[(u64, Option<i64>)]) -> (Option<i64>, u128) {
        heard_in(true, all).await
    }

    async fn heard_in(haste: bool, all: &[(u64, Option<i64>)]) -> (Option<i64>, u128) {
        let mut asked = JoinSet::new();
        for (index, &(after, time)) in all.iter().enumerate() {
            asked.spawn(async move {
                tokio::time::sleep(Duration::from_millis(after)).await;
                let sample = |time| Sample {
                    offset: time * super::super::NANOSECONDS,
                    delay: Duration::ZERO,
                    root: Duration::ZERO,
                };
                let address = IpAddr::from([10, 0, 0, u8::try_from(index).unwrap_or(0)]);
                let failed = exchange::Error::Rejected(Reject::Unsynchronised);
                (
                    index,
                    time.map(|time| (address, sample(time))).ok_or(failed),
                )
            });
        }
        let began = Instant::now();
        let mut servers = Servers::default();
        let answers = servers
            .gather(asked, &names(all.len()), |_| true, haste)
            .await;
        let tenths = began.elapsed().as_millis() / 100;
        assert_eq!(answers.asked, all.len());
        let samples: Vec<Sample> = answers.good.iter().map(|(_, sample)| *sample).collect();
        let time = select::majority(&samples).map(|it| it.offset / super::super::NANOSECONDS);
        (time, tenths)
    }

    #[tokio::test(start_paused = true)]
    async fn of_three_or_more_the_quickest_does_not_win_by_being_quick() {
        let liar = (1, Some(9000));
        let (late, later) = ((1500, Some(5)), (1600, Some(5)));
        assert_eq!(heard(&[liar, late, later]).await, (Some(5), 16));
        // Nor when it and an honest one are all that answer soon.
        let (soon, last) = ((2, Some(5)), (12_000, Some(5)));
        assert_eq!(heard(&[liar, soon, last]).await, (Some(5), 120));
        assert_eq!(heard(&[liar, late, later, last]).await, (Some(5), 26));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_longer_than_it_may_help() {
        let (quick, mute) = ((1, Some(5)), (13_000, None));
        assert_eq!(heard(&[quick]).await, (Some(5), 0));
        assert_eq!(heard(&[quick, mute]).await, (Some(5), 10));
        assert_eq!(heard(&[quick, mute, quick]).await, (Some(5), 0));
        let two_of_four = [quick, mute, quick, mute];
        assert_eq!(heard(&two_of_four).await, (Some(5), 10));
        // Alone among three it is believed once the others have failed, and not later.
        assert_eq!(heard(&[mute, quick, mute]).await, (Some(5), 130));
        let refused = (3, None);
        assert_eq!(heard(&[refused, quick, refused]).await, (Some(5), 0));
        // A machine that has the time already waits for everybody.
        assert_eq!(heard_in(false, &[quick, mute]).await, (Some(5), 130));
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_that_refuses_is_not_asked() {
        let servers = Servers::default();
        let named = || ["10.0.0.1", "b", "10.0.0.1"].map(String::from).into_iter();
        assert_eq!(servers.next(named()), ["10.0.0.1", "b"]);
        servers.refusals.refused([10, 0, 0, 1].into(), *b"DENY");
        assert_eq!(servers.next(named()), ["b"]);
        tokio::time::advance(Duration::from_secs(3601)).await;
        assert_eq!(servers.next(named()), ["10.0.0.1", "b"]);
    }

    #[test]
    fn what_is_kept_of_servers_is_bounded() {
        let mut servers = Servers::default();
        for server in names(1000) {
            servers.failed(&server, "fails".into());
        }
        assert!(servers.records.len() <= MOST_RECORDS);
    }
}
