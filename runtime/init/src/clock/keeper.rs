//! The task that keeps the clock right: from whom it takes the time, and what follows of it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tinyboot::status::Status;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::discipline::{Correction, Discipline};
use super::kernel::{Machine, seconds};
use super::pace::{self, Pace, Round};
use super::resume::{Reading, Watch};
use super::round::{Answers, Servers};
use super::select::{self, Choice};
use super::sntp::Sample;
use super::{NANOSECONDS, floor_of, raise, saved, step};
use crate::console::since_boot;
use crate::settings;
use crate::status::Board;
use crate::threads;

/// Between two looks at the hypervisor's clock and the RTC: the one wake-up that an idle machine has for its clock.
const LOOK: Duration = Duration::from_secs(64);
/// Until the hypervisor's clock is read again when it says that the clock would jump.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two times that the time is saved.
const SAVE: Duration = Duration::from_secs(3600);
/// How long the last save may take before the machine stops.
const LAST_SAVE: Duration = Duration::from_secs(1);
/// How far the clock may be off after it was set by the RTC.
const RTC_ERROR: Duration = Duration::from_secs(2);

pub struct Keeper<M> {
    machine: Arc<M>,
    settings: settings::Clock,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    /// Told when the machine seems to have been paused.
    pauses: watch::Sender<()>,
    pub(super) network: Network,
    servers: Servers,
    discipline: Discipline,
    pace: Pace,
    watch: Watch,
    /// When the links were told of a pause that a correction of the clock is still to come from.
    announced: Option<Instant>,
    synchronised: bool,
    /// True while the hypervisor shows its clock; no server is asked then.
    host: bool,
    /// True if what the clock says is worth keeping: a server said it, or there is nothing better.
    trusted: bool,
    /// Servers that were outvoted the last time that they answered.
    outvoted: Vec<String>,
    /// What was said last of servers that disagree without a majority.
    disagreement: Option<String>,
    /// When the status and the RTC were told of the time last.
    told: Option<Instant>,
    /// Where disks answer. They are not waited for: one that hangs takes for ever.
    answers: mpsc::UnboundedSender<Answer>,
    answered: Option<mpsc::UnboundedReceiver<Answer>>,
    /// A save is under way.
    saving: bool,
    /// The time is to be saved once more, since that save began.
    save_again: bool,
    pub(super) ask_at: Instant,
    look_at: Instant,
}

/// The answer of a disk.
enum Answer {
    Saved(io::Result<()>),
    /// The time that was saved.
    Loaded(Option<i64>),
}

/// What it was time for.
enum Due {
    Look,
    Judge(Answers),
}

impl<M: Machine> Keeper<M> {
    pub fn new(
        machine: M,
        settings: settings::Clock,
        board: Board,
        persistent: watch::Receiver<Option<PathBuf>>,
        pauses: watch::Sender<()>,
    ) -> Self {
        let source = board.snapshot().clock.source;
        // The boot has set the clock already.
        let synchronised = source.starts_with("ptp ");
        board.update(|status| {
            if source.is_empty() {
                status.clock.source = "rtc".into();
            }
            status.clock.synchronized = synchronised;
        });
        let (answers, answered) = mpsc::unbounded_channel();
        Self {
            machine: Arc::new(machine),
            settings,
            board,
            persistent,
            pauses,
            network: Network::default(),
            servers: Servers::default(),
            discipline: if synchronised {
                Discipline::synchronised()
            } else {
                Discipline::default()
            },
            pace: Pace::new(),
            watch: Watch::default(),
            announced: None,
            synchronised,
            host: synchronised,
            trusted: synchronised || source == "floor" || source == "saved",
            outvoted: Vec::new(),
            disagreement: None,
            told: None,
            answers,
            answered: Some(answered),
            saving: false,
            save_again: false,
            ask_at: Instant::now(),
            look_at: Instant::now(),
        }
    }

    /// Keeps the clock right until `stop` is cancelled; `restored` is told when the machine goes on from a snapshot.
    pub async fn run(mut self, mut restored: watch::Receiver<()>, stop: CancellationToken) {
        let mut status = self.board.subscribe();
        let mut storage = self.persistent.clone();
        let Some(mut answered) = self.answered.take() else {
            return;
        };
        self.found_persistent();
        let mut save_at = Instant::now() + SAVE;
        loop {
            let known = self.network.clone();
            tokio::select! {
                () = stop.cancelled() => break,
                // Other changes must not break off a question that is under way.
                Ok(now) = async { status.wait_for(|now| Network::of(now) != known).await.map(|now| Network::of(&now)) } => {
                    if !self.synchronised {
                        self.hurry();
                    } else if now.servers != self.network.servers {
                        // The others may know better than the one that was there first.
                        self.ask_at = self.ask_at.min(Instant::now() + pace::COMPLETE);
                    }
                    self.network = now;
                }
                Ok(()) = restored.changed() => self.restored().await,
                Ok(()) = storage.changed() => self.found_persistent(),
                () = sleep_until(save_at) => {
                    self.save();
                    save_at = Instant::now() + SAVE;
                }
                Some(answer) = answered.recv() => self.hear(answer),
                due = self.due() => match due {
                    Due::Look => self.look().await,
                    Due::Judge(answers) => {
                        let round = self.judge(answers).await;
                        if round == Round::Failed {
                            self.catch_up().await;
                        }
                        self.ask_at = Instant::now() + self.pace.after(round);
                    }
                }
            }
        }
        self.save();
        let last = async {
            while self.saving
                && let Some(answer) = answered.recv().await
            {
                self.hear(answer);
            }
        };
        if timeout(LAST_SAVE, last).await.is_err() {
            log::warn!(
                "clock: the time was not saved on /persistent within {} s",
                LAST_SAVE.as_secs()
            );
        }
    }

    /// Asks at once, and as often as at the beginning.
    fn hurry(&mut self) {
        self.pace = Pace::new();
        self.ask_at = Instant::now();
    }

    /// Who is named: nobody without a network.
    fn named(&self) -> impl Iterator<Item = &String> {
        let named = self.network.servers.iter().chain(&self.settings.servers);
        named.filter(|_| self.network.up)
    }

    /// Whom to ask now.
    pub fn to_ask(&self) -> Vec<String> {
        self.servers.next(self.named().cloned())
    }

    /// True if there is somebody to ask, and nobody who knows better.
    pub fn asks_servers(&self) -> bool {
        !self.host && self.named().next().is_some()
    }

    /// Waits for what is to be done next. Servers are asked unless the hypervisor's clock makes them needless; when it
    /// is time for a look meanwhile, the look waits.
    async fn due(&mut self) -> Due {
        let asks = self.asks_servers();
        tokio::select! {
            biased;
            () = sleep_until(self.look_at) => return Due::Look,
            () = sleep_until(self.ask_at), if asks => {}
        }
        let servers = self.to_ask();
        Due::Judge(self.ask(&servers).await)
    }

    pub async fn ask(&mut self, servers: &[String]) -> Answers {
        let (machine, settings) = (self.machine.clone(), self.settings.clone());
        let is_possible = |offset| is_possible(machine.as_ref(), &settings, offset);
        let haste = !self.synchronised;
        self.servers
            .ask(&self.machine, servers, is_possible, haste)
            .await
    }

    /// Decides whom of those that answered to believe.
    pub async fn judge(&mut self, answers: Answers) -> Round {
        let samples: Vec<Sample> = answers.good.iter().map(|(_, sample)| *sample).collect();
        let choice = match select::majority(&samples) {
            Some(choice) => {
                self.report_outvoted(&answers, &choice);
                self.disagreement = None;
                Some(choice)
            }
            None if samples.is_empty() => None,
            None => self.without_majority(&answers, &samples),
        };
        let Some((choice, (server, sample))) =
            choice.and_then(|choice| answers.good.get(choice.best).map(|best| (choice, best)))
        else {
            return Round::Failed;
        };
        let hasty = answers.good.len() < answers.asked || choice.agreeing * 2 <= answers.asked;
        let first = !self.synchronised;
        let source = format!("ntp {server}");
        let round = self
            .take(&source, server, choice.offset, sample.error())
            .await;
        if first && hasty { Round::Hasty } else { round }
    }

    /// Two servers that disagree, or two pairs: a clock that was right once is the one that decides, and is not made to
    /// jump; before that, who is named first is believed, as if it were alone.
    fn without_majority(&mut self, answers: &Answers, samples: &[Sample]) -> Option<Choice> {
        let choice = if self.synchronised {
            select::nearest(samples)
        } else {
            samples.first().map(|sample| Choice {
                best: 0,
                offset: sample.offset,
                agreeing: 1,
                outvoted: Vec::new(),
            })
        };
        let best = choice
            .as_ref()
            .and_then(|choice| answers.good.get(choice.best));
        let follows = match best {
            Some((server, _)) if self.synchronised => format!("the clock agrees with {server}"),
            Some((server, _)) => format!("{server} is named first and is believed"),
            None => "the clock is left as it is".into(),
        };
        if self.disagreement.as_ref() != Some(&follows) {
            let said = answers
                .good
                .iter()
                .map(|(server, sample)| format!("{server} says {:+.3} s", seconds(sample.offset)));
            let said: Vec<String> = said.collect();
            log::warn!(
                "clock: the servers disagree and none has a majority: {}; {follows}",
                said.join(", ")
            );
            self.disagreement = Some(follows);
        }
        choice
    }

    /// Says who is outvoted, when that changes.
    fn report_outvoted(&mut self, answers: &Answers, choice: &Choice) {
        for (index, (server, sample)) in answers.good.iter().enumerate() {
            let known = self.outvoted.iter().position(|it| it == server);
            match (choice.outvoted.contains(&index), known) {
                (true, None) => {
                    let apart = seconds(sample.offset.saturating_sub(choice.offset));
                    let side = if apart < 0.0 { "behind" } else { "ahead of" };
                    log::warn!(
                        "clock: {server} is {:.3} s {side} the {} servers that agree; it is not believed",
                        apart.abs(),
                        choice.agreeing
                    );
                    // Names that come and go must not pile up.
                    if self.outvoted.len() >= 16 {
                        self.outvoted.clear();
                    }
                    self.outvoted.push(server.clone());
                }
                (false, Some(place)) => {
                    log::info!("clock: {server} agrees with the other servers again");
                    self.outvoted.remove(place);
                }
                _ => {}
            }
        }
    }

    /// Reads the hypervisor's clock; where there is none, looks whether the machine was paused.
    pub async fn look(&mut self) {
        self.look_at = Instant::now() + LOOK;
        let host = self.machine.host().filter(|host| {
            let possible = is_possible(self.machine.as_ref(), &self.settings, host.offset);
            if !possible && self.host {
                log::warn!(
                    "clock: the hypervisor's clock is before the image's floor; it is ignored"
                );
            }
            possible
        });
        let had_one = std::mem::replace(&mut self.host, host.is_some());
        if let Some(host) = host {
            let by = format!("the hypervisor's clock ({})", host.source);
            if self.take(host.source, &by, host.offset, host.error).await == Round::Doubtful {
                self.look_at = Instant::now() + LOOK_AGAIN;
            }
            return;
        }
        if had_one {
            log::warn!("clock: the hypervisor does not show its clock any longer");
            self.hurry();
        }
        let reading = self.reading().await;
        let jump = reading.and_then(|now| self.watch.see(now));
        if let Some(jump) = jump {
            let (jump, what) = (seconds(jump), "this machine was paused, or its RTC was set");
            let way = if jump < 0.0 { "back" } else { "ahead" };
            log::info!("clock: the RTC went {:.0} s {way}: {what}", jump.abs());
            if jump > 0.0 && !self.is_announced() {
                self.resumed();
            }
            self.hurry();
        }
        if self.to_ask().is_empty() {
            self.catch_up().await;
        }
    }

    /// The machine goes on from a snapshot: its clock is behind, and its leases may be another machine's by now.
    async fn restored(&mut self) {
        log::info!(
            "clock: this machine goes on from a snapshot; the time is asked for and leases are verified"
        );
        self.board.update(|status| status.machine.restores += 1);
        self.resumed();
        self.announced = Some(Instant::now());
        self.hurry();
        self.look().await;
    }

    fn is_announced(&self) -> bool {
        self.announced.is_some_and(|at| at.elapsed() < LOOK)
    }

    /// The machine stood still: tells the links and the app.
    fn resumed(&self) {
        self.pauses.send_replace(());
        self.board.update(|status| {
            status.machine.resumes += 1;
            status.machine.resumed = Some(since_boot().as_secs_f64());
        });
    }

    /// After a pause, without anybody else to ask: sets the clock forward by what the RTC went on meanwhile, as the RTC
    /// was believed when the machine started.
    async fn catch_up(&mut self) {
        if !self.watch.is_open() {
            return;
        }
        let Some(now) = self.reading().await else {
            return;
        };
        if let Some(lacking) = self.watch.lacking(now) {
            if let Err(error) = step(self.machine.as_ref(), lacking, "the RTC") {
                log::error!("clock: it cannot be set: {error}");
            }
            if self.synchronised {
                self.trusted = false;
                self.vouch(RTC_ERROR);
                self.board.update(|status| {
                    status.clock.source = "rtc".into();
                    status.clock.offset = seconds(lacking);
                });
            }
        }
        self.watch.settle();
        self.announced = None;
    }

    /// Corrects the clock by an offset in nanoseconds that is right within `error`.
    async fn take(&mut self, source: &str, by: &str, offset: i64, error: Duration) -> Round {
        let off = seconds(offset);
        let correction = self.discipline.correct(offset);
        let done = match correction {
            Correction::Confirm => {
                log::warn!("clock: {off:+.3} s off according to {by}; asking again");
                return Round::Doubtful;
            }
            Correction::Step => step(self.machine.as_ref(), offset, by),
            Correction::Slew => self.machine.slew(offset),
        };
        if let Err(error) = done {
            log::error!("clock: it cannot be set: {error}");
            return Round::Done;
        }
        if correction == Correction::Slew {
            log::debug!("clock: {off:+.6} s off according to {by}, within {error:?}");
        }
        self.vouch(error);
        let first = !std::mem::replace(&mut self.synchronised, true);
        self.trusted = true;
        // A clock that was right and is behind stood still, unless the RTC has told so already.
        let told = self.is_announced() || self.watch.is_open();
        self.announced = None;
        if !first && correction == Correction::Step && offset > 0 && !told {
            self.resumed();
        }
        self.watch.settle();
        let news = first || correction == Correction::Step;
        // The hypervisor's clock is read every minute: that need not wake whoever follows the status.
        let told = self.told.is_some_and(|at| at.elapsed() < pace::POLL / 2)
            && self.board.snapshot().clock.source == source;
        if news || !told {
            self.board.update(|status| {
                status.clock.synchronized = true;
                status.clock.source = source.into();
                status.clock.offset = off;
            });
            self.write_rtc().await;
            self.told = Some(Instant::now());
        }
        if news {
            self.save();
        }
        Round::Done
    }

    fn vouch(&self, error: Duration) {
        if let Err(error) = self.machine.vouch(error) {
            log::debug!("clock: the kernel does not take it as synchronised: {error}");
        }
    }

    /// `/persistent` is there: it may know a later time than the clock, unless a server told the time already.
    fn found_persistent(&mut self) {
        let Some(persistent) = self.persistent.borrow().clone() else {
            return;
        };
        if self.synchronised {
            return self.save();
        }
        let answers = self.answers.clone();
        threads::FILES.run(move || {
            // The receiver may be gone at the machine's end.
            let _ = answers.send(Answer::Loaded(saved::load(&persistent)));
        });
    }

    /// Begins to save the time if it is worth it. A disk that has not answered yet is not asked again meanwhile.
    fn save(&mut self) {
        let Some(persistent) = self.persistent.borrow().clone().filter(|_| self.trusted) else {
            return;
        };
        self.save_again = self.saving;
        if std::mem::replace(&mut self.saving, true) {
            return;
        }
        let now = self.machine.now().div_euclid(NANOSECONDS);
        let answers = self.answers.clone();
        threads::FILES.run(move || {
            let _ = answers.send(Answer::Saved(saved::save(&persistent, now)));
        });
    }

    fn hear(&mut self, answer: Answer) {
        match answer {
            Answer::Saved(result) => {
                self.saving = false;
                if let Err(error) = result {
                    log::warn!("clock: the time cannot be saved on /persistent: {error}");
                }
                if self.save_again {
                    self.save();
                }
            }
            Answer::Loaded(saved) if !self.synchronised => {
                let source = raise(self.machine.as_ref(), &self.settings, saved);
                if matches!(source, "saved" | "floor") {
                    self.trusted = true;
                    self.board
                        .update(|status| status.clock.source = source.into());
                }
            }
            Answer::Loaded(_) => {}
        }
    }

    async fn reading(&self) -> Option<Reading> {
        let machine = self.machine.clone();
        M::beside(move || machine.reading()).await.flatten()
    }

    /// Machines without an RTC are many, so a failure is no news. What the RTC said before counts no longer.
    async fn write_rtc(&mut self) {
        let machine = self.machine.clone();
        let written = M::beside(move || machine.write_rtc()).await;
        if let Some(Err(error)) = written {
            log::debug!("clock: the RTC cannot be set: {error}");
        }
        self.watch.forget();
        if let Some(now) = self.reading().await {
            self.watch.see(now);
        }
    }
}

/// False for a time before the image was built.
pub fn is_possible(machine: &impl Machine, settings: &settings::Clock, offset: i64) -> bool {
    machine
        .now()
        .checked_add(offset)
        .is_some_and(|time| time >= floor_of(settings).saturating_mul(NANOSECONDS))
}

/// What the status says of the network that matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    pub up: bool,
    pub servers: Vec<String>,
}

impl Network {
    pub fn of(status: &Status) -> Self {
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
