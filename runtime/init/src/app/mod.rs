//! The app: started when the machine is ready, watched, told to stop, and followed by what the settings say.

mod cgroup;
mod links;
pub(crate) mod liveness;
pub(crate) mod notify;
mod policy;
mod process;
mod ready;
mod sandbox;
mod seccomp;
mod short_boots;
mod spawn;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tinyboot::status::{Action, Shutdown};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::console::since_boot;
use crate::drivers::{self, Progress};
use crate::mounts;
use crate::power::Request;
use crate::settings::Settings;
use crate::status::Board;
use crate::threads;
use cgroup::Group;
use liveness::{Deadline, Failure, Liveness, Step};
use notify::{Family, Listener, Notice};
use policy::{GOOD_RUN, Next, Policy};
use process::{Exit, Process};

pub use process::any_left;

const NOT_STARTED: &str = "the app cannot be started";
/// How long the log waits for an app's last words when a process that it left behind keeps the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// For killed processes to go before what they had in memory is taken away.
const KILL: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(10);

/// How the machine's work ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// What the machine does next.
    pub action: Action,
    /// The grace period in seconds, if it is over and processes are left.
    pub expired: Option<u32>,
}

/// What the app needs from the rest of init.
pub struct Surroundings {
    /// Where the app's state is published.
    pub board: Board,
    /// How far the drivers are.
    pub drivers: watch::Receiver<Progress>,
    /// Where `/persistent` is as long as it can be written.
    pub persistent: watch::Receiver<Option<PathBuf>>,
    /// Whether a host froze `/persistent`.
    pub frozen: watch::Receiver<bool>,
}

/// Runs the app until the machine is to stop, and stops it then. `requests` may still be asked afterwards: the last one
/// counts.
pub async fn supervise(
    settings: &Settings,
    surroundings: Surroundings,
    requests: &mut mpsc::UnboundedReceiver<Request>,
) -> Ending {
    let Surroundings {
        board,
        drivers,
        persistent,
        frozen,
    } = surroundings;
    let exits = process::reap().unwrap_or_else(|error| {
        log::error!("app: the ends of processes go unnoticed: {error}");
        mpsc::unbounded_channel().1
    });
    let mut supervisor = Supervisor {
        settings,
        board: board.clone(),
        persistent,
        frozen,
        requests,
        exits,
        group: None,
        listener: None,
        process: None,
        family: None,
        liveness: None,
        failure: None,
        stop: None,
    };
    supervisor
        .until_stop(ready::wait(settings, &board, drivers.clone()))
        .await;
    if settings.app.on_exit == crate::settings::OnExit::Reboot {
        short_boots::reserve(supervisor.persistent.clone());
    }
    links::make(&settings.app.links);
    if let Some(sandbox) = &settings.app.sandbox {
        sandbox::prepare(sandbox);
        sandbox::make_home(sandbox);
    }
    supervisor.group = Group::new();
    // Once: a driver that hangs is waited for by one task, however often the app starts.
    let mut to_seal = Some(drivers);
    let mut policy = Policy::up_to(Duration::from_secs(settings.app.longest_pause.into()));
    loop {
        // Also before it is started again: the medium may have been taken away.
        supervisor
            .until_stop(async {
                ready::closure(settings, &board).await;
                if let Some(drivers) = to_seal.take() {
                    drivers::seal(&settings.drivers, drivers).await;
                }
            })
            .await;
        if supervisor.stop.is_some() {
            break;
        }
        let (ran, reason) = supervisor.run().await;
        if supervisor.stop.is_none() {
            supervisor.follow(&mut policy, ran, &reason).await;
        }
    }
    supervisor.stop_the_rest().await
}

/// Takes away what the killed app left in memory: it would count as its successor's, for ever.
async fn empty(app: &crate::settings::App) {
    let deadline = Instant::now() + KILL;
    while any_left() && Instant::now() < deadline {
        tokio::time::sleep(PAUSE).await;
    }
    let sandbox = app.sandbox.clone();
    // To free much memory takes its time.
    let work = threads::END.run(move || {
        mounts::renew();
        if let Some(sandbox) = sandbox {
            sandbox::make_home(&sandbox);
        }
    });
    work.await;
}

/// A shutdown that is under way.
struct Stop {
    action: Action,
    deadline: Deadline,
}

struct Supervisor<'a> {
    settings: &'a Settings,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    frozen: watch::Receiver<bool>,
    requests: &'a mut mpsc::UnboundedReceiver<Request>,
    exits: mpsc::UnboundedReceiver<(Pid, Exit)>,
    /// Made before the first start: what is free then is the app's.
    group: Option<Group>,
    listener: Option<Listener>,
    process: Option<Process>,
    /// Who may speak for the app that runs or ran last.
    family: Option<Family>,
    liveness: Option<Liveness>,
    /// What the app that runs did not do.
    failure: Option<Failure>,
    stop: Option<Stop>,
}

enum Event {
    Exit(Pid, Exit),
    Notices(Vec<Notice>),
    Request(Request),
    /// A host froze `/persistent`, or it was thawed.
    Frozen,
    Time,
}

impl Supervisor<'_> {
    /// The next thing that happens, `time` at the latest. Cancelling it loses nothing.
    async fn event(&mut self, time: Option<Instant>) -> Event {
        tokio::select! {
            Some((pid, exit)) = self.exits.recv() => Event::Exit(pid, exit),
            Some(request) = self.requests.recv() => Event::Request(request),
            Ok((sender, notices)) = heard(self.listener.as_ref()) => {
                let counts = self.family.is_some_and(|family| family.has(sender));
                Event::Notices(if counts { notices } else { Vec::new() })
            }
            // Nobody freezes anything without an agent.
            Ok(()) = self.frozen.changed() => {
                self.hold();
                Event::Frozen
            }
            () = sleep_until(time.unwrap_or_else(Instant::now)), if time.is_some() => Event::Time,
            else => std::future::pending().await,
        }
    }

    /// Stops or resumes the app's deadlines.
    fn hold(&mut self) {
        let frozen = *self.frozen.borrow_and_update();
        if let Some(liveness) = &mut self.liveness {
            if frozen {
                liveness.hold();
            } else {
                liveness.resume(Instant::now());
            }
        }
    }

    /// Lets `work` go on until it is done or a shutdown is asked for.
    async fn until_stop(&mut self, work: impl Future<Output = ()>) {
        tokio::pin!(work);
        while self.stop.is_none() {
            tokio::select! {
                () = &mut work => return,
                event = self.event(None) => match event {
                    Event::Request(request) => self.asked(&request),
                    Event::Notices(notices) => self.noticed(notices),
                    Event::Exit(..) | Event::Frozen | Event::Time => {}
                },
            }
        }
    }

    /// Runs the app once: for how long it ran well, and the reason for what follows. Returns also when its time to stop is over.
    async fn run(&mut self) -> (Duration, String) {
        let Some(command) = process::command(&self.settings.app) else {
            log::error!(
                "app: the settings name no program, and /app does not hold exactly one file"
            );
            return (Duration::ZERO, NOT_STARTED.to_owned());
        };
        let program = command.first().map_or("", String::as_str);
        self.board.write_now(Path::new(tinyboot::status::PATH));
        self.listener = Listener::open(Path::new(notify::SOCKET))
            .inspect_err(|error| log::error!("app: {} cannot be opened: {error}", notify::SOCKET))
            .ok();
        let (pid, mut early) = match self.start(&command).await {
            Ok(Some(started)) => started,
            Ok(None) => return (Duration::ZERO, String::new()),
            Err(error) => {
                self.process = None;
                log::error!("app: {program} cannot be started: {error}");
                let end = format!("cannot be started: {error}");
                self.board
                    .update(|status| status.app.last_exit = Some(end.clone()));
                return (Duration::ZERO, end);
            }
        };
        let begin = Instant::now();
        self.board.update(|status| {
            status.app.pid = Some(pid.as_raw());
            status.app.starts += 1;
            status.app.ready = false;
            status.app.status = None;
        });
        self.liveness = Some(self.liveness());
        self.hold();
        self.failure = None;
        let mut good = Some(begin + GOOD_RUN);
        loop {
            let starting = self.liveness.as_ref().is_some_and(Liveness::is_starting);
            let stop = self.stop.as_ref().map(|stop| stop.deadline.at);
            let alive = self.liveness.as_ref().and_then(Liveness::deadline);
            let well = good.filter(|_| !starting && self.failure.is_none());
            let next = stop.or([alive, well].into_iter().flatten().min());
            let event = match early.take() {
                Some(exit) => Event::Exit(pid, exit),
                None => self.event(next).await,
            };
            match event {
                Event::Exit(ended, exit) if ended == pid => {
                    let reason = self.ended(exit).await;
                    // One that never said that it is ready did not run well, however long it took.
                    let ran = if starting {
                        Duration::ZERO
                    } else {
                        begin.elapsed()
                    };
                    return (ran, reason);
                }
                Event::Exit(..) | Event::Frozen => {}
                Event::Notices(notices) => self.noticed(notices),
                Event::Request(request) => self.asked(&request),
                Event::Time if stop.is_some() => return (begin.elapsed(), String::new()),
                Event::Time => {
                    let now = Instant::now();
                    if well.is_some_and(|at| at <= now) {
                        short_boots::forget(self.persistent.clone());
                        good = None;
                    }
                    if let Some(reason) = self.check(pid, now) {
                        return (Duration::ZERO, reason);
                    }
                }
            }
        }
    }

    /// Starts the app's process, and waits until its program runs: the medium that it is on may take its time, and who asks to
    /// stop meanwhile is heard. The process, and how it ended if it has already; nothing when its time to stop is over before.
    ///
    /// What it says waits in the socket: it counts from the start on.
    async fn start(
        &mut self,
        command: &[String],
    ) -> Result<Option<(Pid, Option<Exit>)>, spawn::Error> {
        let (process, mut starting) =
            process::start(command, &self.settings.app, self.group.as_mut())?;
        let pid = process.pid;
        self.process = Some(process);
        self.family = Some(Family::of(pid));
        let mut early = None;
        loop {
            let stop = self.stop.as_ref().map(|stop| stop.deadline.at);
            tokio::select! {
                outcome = starting.outcome() => {
                    outcome?;
                    let program = command.first().map_or("", String::as_str);
                    log::info!("app: started {program} as process {pid}");
                    return Ok(Some((pid, early)));
                }
                Some((ended, exit)) = self.exits.recv() => if ended == pid {
                    early = Some(exit);
                },
                Some(request) = self.requests.recv() => self.asked(&request),
                () = sleep_until(stop.unwrap_or_else(Instant::now)), if stop.is_some() => {
                    return Ok(None);
                }
            }
        }
    }

    fn liveness(&self) -> Liveness {
        let app = &self.settings.app;
        let seconds = |count: u32| Duration::from_secs(count.into());
        Liveness::new(
            Instant::now(),
            app.ready_timeout.map(seconds),
            app.watchdog.map(seconds),
            seconds(app.grace_period),
        )
    }

    /// Deals with an app that does not say in time what it has to; a reason if it is waited for no longer.
    fn check(&mut self, pid: Pid, now: Instant) -> Option<String> {
        match self.liveness.as_mut()?.due(now)? {
            Step::Fail(failure) => {
                log::error!("app: it {failure}, and gets {}", failure.signal());
                self.failure = Some(failure);
                let _ = kill(pid, failure.signal());
                None
            }
            Step::Kill => {
                let grace = self.settings.app.grace_period;
                log::error!("app: it did not end within {grace} s, and is killed");
                let _ = kill(pid, Signal::SIGKILL);
                None
            }
            Step::GiveUp => {
                log::error!("app: process {pid} was killed and does not end");
                self.process = None;
                let end = self.failure.map_or_else(String::new, |f| f.to_string());
                self.board.update(|status| {
                    status.app.pid = None;
                    status.app.last_exit = Some(end.clone());
                });
                Some(format!("the app {end}"))
            }
        }
    }

    /// Takes note of the app's end; its reason.
    async fn ended(&mut self, exit: Exit) -> String {
        if let Some(process) = self.process.take() {
            // Its last lines come before the line that says how it ended.
            let _ = timeout(LAST_WORDS, process.output).await;
        }
        self.liveness = None;
        let failed = self.failure.take().map(|failure| format!(": it {failure}"));
        let why = failed.or_else(|| {
            let killed = exit == Exit::Signal(nix::libc::SIGKILL);
            let group = self.group.as_ref().filter(|_| killed)?;
            group.out_of_memory().map(|cause| format!(": {cause}"))
        });
        let why = why.unwrap_or_default();
        log::info!("app: {exit}{why}");
        self.board.update(|status| {
            status.app.pid = None;
            status.app.ready = false;
            status.app.last_exit = Some(format!("{exit}{why}"));
        });
        format!("{}{why}", exit.reason())
    }

    /// Does what follows when the app ended by itself.
    async fn follow(&mut self, policy: &mut Policy, ran: Duration, reason: &str) {
        let on_exit = self.settings.app.on_exit;
        let short_boots = if on_exit == crate::settings::OnExit::Reboot && ran < GOOD_RUN {
            let persistent = self.persistent.borrow().clone();
            short_boots::count(persistent).await
        } else {
            1
        };
        let next = policy.next(on_exit, ran, short_boots);
        let (Next::Restart(pause) | Next::Stop(_, pause)) = next;
        self.board
            .update(|status| status.app.backoff = pause.as_secs_f64());
        match next {
            Next::Restart(pause) => {
                // What it left behind would hold its ports and files.
                let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
                self.until_stop(empty(&self.settings.app)).await;
                log::info!("app: starts again in {:.1} s", pause.as_secs_f64());
                self.until_stop(tokio::time::sleep(pause)).await;
            }
            Next::Stop(action, pause) => {
                if !pause.is_zero() {
                    log::warn!(
                        "app: ended within {} s, boot {short_boots} in a row; {} s until the reboot",
                        GOOD_RUN.as_secs(),
                        pause.as_secs()
                    );
                    self.until_stop(tokio::time::sleep(pause)).await;
                }
                if self.stop.is_none() {
                    self.begin(action, reason, "");
                }
            }
        }
    }

    fn noticed(&mut self, notices: Vec<Notice>) {
        let now = Instant::now();
        for notice in notices {
            if let Some(liveness) = &mut self.liveness {
                liveness.hear(now, &notice);
            }
            match notice {
                Notice::Ready => self.board.update(|status| status.app.ready = true),
                Notice::Reloading | Notice::Stopping => {
                    self.board.update(|status| status.app.ready = false);
                }
                Notice::Status(text) => self.board.update(|status| status.app.status = Some(text)),
                Notice::ExtendTimeout(time) => self.extend(now, time),
                Notice::Watchdog | Notice::WatchdogTrigger | Notice::WatchdogTime(_) => {}
            }
        }
    }

    fn extend(&mut self, now: Instant, time: Duration) {
        let Some(stop) = &mut self.stop else { return };
        if stop.deadline.extend(now, time) {
            let deadline = since_boot_at(stop.deadline.at);
            self.board.update(|status| {
                if let Some(shutdown) = &mut status.shutdown {
                    shutdown.deadline = deadline;
                }
            });
        }
    }

    /// Somebody asks to stop: the first one starts the grace period, the last one says how it ends.
    fn asked(&mut self, request: &Request) {
        match &mut self.stop {
            None => {
                let grace = self.settings.app.grace_period;
                let addition = if self.process.is_some() {
                    format!("; the app has {grace} s")
                } else {
                    String::new()
                };
                self.begin(request.action, request.reason, &addition);
                if let Some(process) = &self.process {
                    // The app reads there what it is asked for.
                    self.board.write_now(Path::new(tinyboot::status::PATH));
                    // To the app alone: it knows in which order its helpers have to go.
                    let _ = kill(process.pid, Signal::SIGTERM);
                }
            }
            Some(stop) => {
                if stop.action != request.action {
                    let left = stop
                        .deadline
                        .at
                        .saturating_duration_since(Instant::now())
                        .as_secs();
                    log::info!(
                        "shutdown: {}: {} instead; the app still has {left} s",
                        request.reason,
                        doing(request.action)
                    );
                }
                stop.action = request.action;
                self.board.update(|status| {
                    if let Some(shutdown) = &mut status.shutdown {
                        shutdown.action = request.action;
                        shutdown.reason = request.reason.to_owned();
                    }
                });
            }
        }
    }

    fn begin(&mut self, action: Action, reason: &str, addition: &str) {
        log::info!("shutdown: {reason}: {}{addition}", doing(action));
        let grace = Duration::from_secs(self.settings.app.grace_period.into());
        let deadline = Deadline::new(Instant::now(), grace);
        self.stop = Some(Stop { action, deadline });
        let shutdown = Shutdown {
            action,
            reason: reason.to_owned(),
            deadline: since_boot_at(deadline.at),
        };
        self.board.update(|status| status.shutdown = Some(shutdown));
    }

    /// Tells the processes that the app left behind, and gives them what is left of the grace period.
    async fn stop_the_rest(&mut self) -> Ending {
        if self.process.is_none() && any_left() {
            let _ = kill(Pid::from_raw(-1), Signal::SIGTERM);
        }
        while any_left() {
            let deadline = self
                .stop
                .as_ref()
                .map_or_else(Instant::now, |stop| stop.deadline.at);
            match self.event(Some(deadline)).await {
                Event::Request(request) => self.asked(&request),
                Event::Notices(notices) => self.noticed(notices),
                Event::Exit(..) | Event::Frozen => {}
                Event::Time => break,
            }
        }
        let action = self
            .stop
            .as_ref()
            .map_or(Action::Reboot, |stop| stop.action);
        Ending {
            action,
            expired: any_left().then_some(self.settings.app.grace_period),
        }
    }
}

async fn heard(listener: Option<&Listener>) -> std::io::Result<(Pid, Vec<Notice>)> {
    match listener {
        Some(listener) => listener.next().await,
        None => std::future::pending().await,
    }
}

fn since_boot_at(time: Instant) -> f64 {
    (since_boot() + time.saturating_duration_since(Instant::now())).as_secs_f64()
}

/// How the log says what is going on.
fn doing(action: Action) -> &'static str {
    match action {
        Action::PowerOff => "powering off",
        Action::Reboot => "rebooting",
    }
}
