//! The clock: never before the image was built nor before the machine was last switched off, and right as soon as a
//! time server answers.
//!
//! Only a server's word sets it back, and no word sets it before the image's floor.

mod calendar;
mod discipline;
mod exchange;
mod kernel;
mod outside;
mod saved;
mod sntp;
#[cfg(test)]
mod tests;

pub use calendar::Date;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tinyboot::status::Status;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::settings;
use crate::status::Board;
use discipline::{Correction, Discipline};
use kernel::{Kernel, Machine, seconds};
use sntp::{Reject, Sample};

pub use outside::{now, set};

const NANOSECONDS: i64 = 1_000_000_000;
/// Between two questions once the clock is right.
const POLL: Duration = Duration::from_secs(1024);
/// Between two questions when one sample awaits its confirmation.
const CONFIRM: Duration = Duration::from_secs(4);
/// The first pause after a round of servers without an answer; it doubles up to [`POLL`].
const RETRY: Duration = Duration::from_secs(1);
/// How long a server is left alone that said that it wants no requests.
const REFUSED: Duration = Duration::from_secs(3600);
/// Between two times that the time is saved.
const SAVE: Duration = Duration::from_secs(3600);

/// Sets the clock forward if it is before the floor of the settings or before the time saved below `persistent`, and
/// says where the time comes from, in the words of [`tinyboot::status::Clock::source`]. Never sets it back; blocks
/// for no more than a read of a small file.
#[must_use = "the status says where the time comes from"]
pub fn floor(settings: &settings::Clock, persistent: Option<&Path>) -> &'static str {
    raise(&Kernel, settings, persistent)
}

fn raise(
    machine: &impl Machine,
    settings: &settings::Clock,
    persistent: Option<&Path>,
) -> &'static str {
    let floor = i64::try_from(settings.floor).unwrap_or(0);
    let saved = persistent.and_then(saved::load).unwrap_or(0);
    let now = machine.now().div_euclid(NANOSECONDS);
    let least = floor.max(saved);
    if now >= least {
        return "rtc";
    }
    // What is saved is known when the clock may have been raised already, so it is not the RTC's word any longer.
    let (source, whose, what) = if saved > floor {
        ("saved", "clock: it", "the time saved on /persistent")
    } else {
        ("floor", "clock: the RTC", "the image's floor")
    };
    let (now, then) = (Date::of(now), Date::of(least));
    match machine.set(least.saturating_mul(NANOSECONDS)) {
        Ok(()) => log::info!("{whose} says {now}, before {what}; set to {then}"),
        Err(error) => {
            log::error!("{whose} says {now}, before {what}, but cannot be set to {then}: {error}")
        }
    }
    source
}

/// Keeps the clock right until `stop` is cancelled: asks the servers that DHCP names and then those of the settings,
/// as soon as a link is configured, and again every 17 minutes. The time is saved below `persistent` after each first
/// answer, every hour, and at the end.
pub async fn run(
    settings: settings::Clock,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) {
    Keeper::new(Kernel, settings, board, persistent)
        .run(stop)
        .await;
}

struct Keeper<M> {
    machine: Arc<M>,
    settings: settings::Clock,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    discipline: Discipline,
    synchronised: bool,
    /// True if what the clock says is worth keeping: a server said it, or there is nothing better.
    trusted: bool,
    refused: HashMap<String, Instant>,
    complaint: Option<String>,
}

impl<M: Machine> Keeper<M> {
    fn new(
        machine: M,
        settings: settings::Clock,
        board: Board,
        persistent: watch::Receiver<Option<PathBuf>>,
    ) -> Self {
        let source = board.snapshot().clock.source;
        if source.is_empty() {
            board.update(|status| status.clock.source = "rtc".into());
        }
        Self {
            machine: Arc::new(machine),
            settings,
            board,
            persistent,
            discipline: Discipline::default(),
            synchronised: false,
            trusted: source == "floor" || source == "saved",
            refused: HashMap::new(),
            complaint: None,
        }
    }

    async fn run(mut self, stop: CancellationToken) {
        let mut status = self.board.subscribe();
        let mut storage = self.persistent.clone();
        let mut network = Network::default();
        self.found_persistent().await;
        let mut ask_at = Instant::now();
        let mut save_at = Instant::now() + SAVE;
        let mut pause = RETRY;
        loop {
            let servers = self.servers(&network);
            tokio::select! {
                () = stop.cancelled() => break,
                // Other changes must not break off a question that is under way.
                Ok(now) = async { status.wait_for(|now| Network::of(now) != network).await.map(|now| Network::of(&now)) } => {
                    if !self.synchronised {
                        ask_at = Instant::now();
                        pause = RETRY;
                    }
                    network = now;
                }
                Ok(()) = storage.changed() => self.found_persistent().await,
                () = sleep_until(save_at) => {
                    self.save().await;
                    save_at = Instant::now() + SAVE;
                }
                answer = self.question(&servers, &network, ask_at) => {
                    let next = match answer {
                        Some((server, sample)) => {
                            pause = RETRY;
                            self.take(&server, sample).await
                        }
                        None => {
                            pause = (pause * 2).min(POLL);
                            pause / 2
                        }
                    };
                    ask_at = Instant::now() + next;
                }
            }
        }
        self.save().await;
    }

    /// The servers to ask, in order, without those that want to be left alone.
    fn servers(&mut self, network: &Network) -> Vec<String> {
        let now = Instant::now();
        self.refused.retain(|_, until| *until > now);
        let mut servers: Vec<String> = Vec::new();
        for server in network.servers.iter().chain(&self.settings.servers) {
            if !servers.contains(server) && !self.refused.contains_key(server) {
                servers.push(server.clone());
            }
        }
        servers
    }

    /// Waits until it is time, then asks the servers one after the other. `None` if none has a good answer. Never
    /// returns while there is no network or nobody to ask: the status tells when that changes.
    async fn question(
        &mut self,
        servers: &[String],
        network: &Network,
        at: Instant,
    ) -> Option<(String, Sample)> {
        if !network.up || servers.is_empty() {
            std::future::pending::<()>().await;
        }
        sleep_until(at).await;
        for server in servers {
            match exchange::ask(self.machine.as_ref(), server).await {
                Ok(sample) if self.is_possible(sample) => {
                    self.complaint = None;
                    return Some((server.clone(), sample));
                }
                Ok(_) => self.complain(format!(
                    "clock: {server} gives a time before the image's floor; it is ignored"
                )),
                Err(error) => {
                    if matches!(error, exchange::Error::Rejected(Reject::Refused(_))) {
                        self.refused
                            .insert(server.clone(), Instant::now() + REFUSED);
                    }
                    self.complain(format!("clock: {server} gives no time: {error}"));
                }
            }
        }
        None
    }

    /// Says it, unless it was the last thing that was said.
    fn complain(&mut self, text: String) {
        if self.complaint.as_ref() != Some(&text) {
            log::warn!("{text}");
            self.complaint = Some(text);
        }
    }

    /// False for a time before the image was built.
    fn is_possible(&self, sample: Sample) -> bool {
        let floor = i64::try_from(self.settings.floor)
            .unwrap_or(0)
            .saturating_mul(NANOSECONDS);
        self.machine
            .now()
            .checked_add(sample.offset)
            .is_some_and(|time| time >= floor)
    }

    /// Corrects the clock by a sample and says when to ask again.
    async fn take(&mut self, server: &str, sample: Sample) -> Duration {
        let offset = seconds(sample.offset);
        let correction = self.discipline.correct(sample.offset);
        let done = match correction {
            Correction::Confirm => {
                log::warn!("clock: {offset:+.3} s off according to {server}; asking again");
                return CONFIRM;
            }
            Correction::Step => self
                .machine
                .set(self.machine.now().saturating_add(sample.offset)),
            Correction::Slew => self.machine.slew(sample.offset),
        };
        if let Err(error) = done {
            log::error!("clock: it cannot be set: {error}");
            return POLL;
        }
        if correction == Correction::Step {
            let now = Date::of(self.machine.now().div_euclid(NANOSECONDS));
            let side = if sample.offset < 0 { "behind" } else { "ahead" };
            log::info!(
                "clock: set to {now}, {:.3} s {side} of what it was, by {server}",
                offset.abs()
            );
        } else {
            log::debug!(
                "clock: {offset:+.6} s off according to {server}, {:?} away",
                sample.delay
            );
        }
        if let Err(error) = self.machine.vouch(sample.delay / 2) {
            log::debug!("clock: the kernel does not take it as synchronised: {error}");
        }
        let first = !std::mem::replace(&mut self.synchronised, true);
        self.trusted = true;
        self.board.update(|status| {
            status.clock.synchronized = true;
            status.clock.source = format!("ntp {server}");
            status.clock.offset = offset;
        });
        self.write_rtc();
        if first || correction == Correction::Step {
            self.save().await;
        }
        POLL
    }

    /// `/persistent` is there: it may know a later time than the clock, unless a server told the time already.
    async fn found_persistent(&mut self) {
        let Some(persistent) = self.persistent.borrow().clone() else {
            return;
        };
        if self.synchronised {
            return self.save().await;
        }
        let (machine, settings) = (self.machine.clone(), self.settings.clone());
        let raised = tokio::task::spawn_blocking(move || {
            raise(machine.as_ref(), &settings, Some(&persistent))
        });
        if let Ok(source @ ("saved" | "floor")) = raised.await {
            self.trusted = true;
            self.board
                .update(|status| status.clock.source = source.into());
        }
    }

    /// Saves the time if it is worth it, on a thread of its own: a slow disk must not hold up anything.
    async fn save(&self) {
        let Some(persistent) = self.persistent.borrow().clone().filter(|_| self.trusted) else {
            return;
        };
        let now = self.machine.now().div_euclid(NANOSECONDS);
        let saved = tokio::task::spawn_blocking(move || saved::save(&persistent, now)).await;
        if let Ok(Err(error)) = saved {
            log::warn!("clock: the time cannot be saved on /persistent: {error}");
        }
    }

    /// Machines without an RTC are many, so a failure is no news.
    fn write_rtc(&self) {
        let machine = self.machine.clone();
        tokio::task::spawn_blocking(move || {
            if let Err(error) = machine.write_rtc() {
                log::debug!("clock: the RTC cannot be set: {error}");
            }
        });
    }
}

/// What the status says of the network that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Network {
    up: bool,
    servers: Vec<String>,
}

impl Network {
    fn of(status: &Status) -> Self {
        let leases = status.links.iter().filter_map(|link| link.lease.as_ref());
        let leases6 = status.links.iter().filter_map(|link| link.lease6.as_ref());
        let servers = leases.flat_map(|lease| &lease.ntp).map(ToString::to_string);
        let servers6 = leases6.flat_map(|lease| &lease.ntp);
        Self {
            up: status
                .links
                .iter()
                .any(|link| link.configured || link.lease.is_some()),
            servers: servers.chain(servers6.map(ToString::to_string)).collect(),
        }
    }
}
