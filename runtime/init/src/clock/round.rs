//! Several servers, asked at the same time, each with a bound of its own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::kernel::Machine;
use super::sntp::{Reject, Sample};
use super::{exchange, pace, select};

/// No more are asked at the same time; it takes three to outvote one.
const MOST: usize = 4;
/// How long the others are waited for once one has answered, where the machine has no time yet.
const GRACE: Duration = Duration::from_secs(1);
/// Of so many servers is kept how they behaved.
const MOST_RECORDS: usize = 64;

/// What servers said.
#[derive(Debug, Default)]
pub struct Answers {
    /// Who said what, in the order in which they are named.
    pub good: Vec<(String, Sample)>,
    /// True if everyone who was asked has answered or failed.
    pub complete: bool,
}

/// How servers behaved so far.
#[derive(Debug, Default)]
pub struct Servers {
    records: HashMap<String, Record>,
    rounds: u64,
}

#[derive(Debug, Default)]
struct Record {
    /// The number of the round in which it failed, if that was the last time that it was asked, or 0.
    failed: u64,
    refusals: u32,
    left_alone_until: Option<Instant>,
    complaint: Option<String>,
}

impl Servers {
    /// Whom to ask next of all that are named, in order. Those that want to be left alone are left out, and those that
    /// failed come last, the longest ago first, so that of many each one has its turn.
    pub fn next(&self, named: impl Iterator<Item = String>) -> Vec<String> {
        let now = Instant::now();
        let mut all: Vec<String> = Vec::new();
        for server in named {
            let record = self.records.get(&server);
            let left_alone = record
                .and_then(|it| it.left_alone_until)
                .is_some_and(|it| it > now);
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
    /// who cannot change the result, nor for more than a second after the first good answer. Dropping the future ends all
    /// exchanges.
    pub async fn ask<M: Machine>(
        &mut self,
        machine: &Arc<M>,
        servers: &[String],
        is_possible: impl Fn(i64) -> bool,
        haste: bool,
    ) -> Answers {
        self.rounds += 1;
        let mut asked = JoinSet::new();
        for (index, server) in servers.iter().cloned().enumerate() {
            let machine = machine.clone();
            asked.spawn(async move { (index, exchange::ask(machine.as_ref(), &server).await) });
        }
        let mut good: Vec<(usize, IpAddr, Sample)> = Vec::new();
        let mut until = None;
        let complete = loop {
            let next = match until {
                Some(until) => match timeout_at(until, asked.join_next()).await {
                    Ok(next) => next,
                    Err(_) => break false,
                },
                None => asked.join_next().await,
            };
            let Some(next) = next else { break true };
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
                Err(error) => {
                    self.failed(server, format!("gives no time: {error}"));
                    if let exchange::Error::Rejected(Reject::Refused(code)) = error {
                        self.refused(server, code);
                    }
                }
            }
            if haste && !good.is_empty() {
                let samples: Vec<Sample> = good.iter().map(|(_, _, sample)| *sample).collect();
                if select::majority(&samples).is_some_and(|it| it.agreeing * 2 > servers.len()) {
                    break asked.is_empty();
                }
                until.get_or_insert_with(|| Instant::now() + GRACE);
            }
        };
        good.sort_by_key(|(index, _, _)| *index);
        let named = |(index, _, sample): (usize, _, _)| Some((servers.get(index)?.clone(), sample));
        Answers {
            good: good.into_iter().filter_map(named).collect(),
            complete,
        }
    }

    /// Says why, unless that was said last of this server.
    fn failed(&mut self, server: &str, why: String) {
        if self.records.len() >= MOST_RECORDS && !self.records.contains_key(server) {
            self.records.clear();
        }
        let record = self.records.entry(server.to_owned()).or_default();
        record.failed = self.rounds;
        if record.complaint.as_ref() != Some(&why) {
            log::warn!("clock: {server} {why}");
            record.complaint = Some(why);
        }
    }

    fn refused(&mut self, server: &str, code: [u8; 4]) {
        if let Some(record) = self.records.get_mut(server) {
            record.refusals = record.refusals.saturating_add(1);
            record.left_alone_until = Some(Instant::now() + pace::refusal(code, record.refusals));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[tokio::test(start_paused = true)]
    async fn who_refuses_is_left_alone_for_longer_each_time() {
        let mut servers = Servers::default();
        let named = || ["a".to_owned(), "b".to_owned(), "a".to_owned()].into_iter();
        assert_eq!(servers.next(named()), ["a", "b"]);
        for hours in [1, 2, 4] {
            servers.failed("a", "refuses".into());
            servers.refused("a", *b"DENY");
            assert_eq!(servers.next(named()), ["b"]);
            tokio::time::advance(Duration::from_secs(hours * 3600 - 1)).await;
            assert_eq!(servers.next(named()), ["b"]);
            tokio::time::advance(Duration::from_secs(2)).await;
            assert_eq!(servers.next(named()), ["a", "b"]);
        }
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
