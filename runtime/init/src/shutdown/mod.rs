//! The end: kill, sync, unmount in reverse order, reboot(2). Every step has a bound; that of what disks have to write is on
//! their progress ([`patience`]) and not on the time: a slow disk gets what it needs, one that hangs is given up.
//!
//! The event loop goes on meanwhile, so the watchdog is fed; steps that the hardware can hold up are done by threads
//! that exist already, and that are left alone when their time is over.

mod kept;
mod loops;
pub(crate) mod mountinfo;
mod patience;
mod processes;

use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use sys_mount::{Mount, MountFlags, UnmountFlags};
use tinyboot::status::Action;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::app::{Ending, any_left};
use crate::power::{Request, firmware};
use crate::{console, limits, previous, threads};
use mountinfo::Mounted;
use patience::Patience;

/// For killed processes to go: one that the hardware holds does not.
const KILL: Duration = Duration::from_secs(2);
/// For init's own tasks to end.
const TASKS: Duration = Duration::from_secs(2);
/// How long the disks may write nothing of what they were given. A throttled disk answers a merged request of many MiB only when
/// all of it is written.
const SYNC: Duration = Duration::from_secs(60);
/// For one file system: the retries while it is busy, and a single call without any progress of the disks.
const UNMOUNT: Duration = Duration::from_secs(3);
const ONE_CALL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// For the list of those who keep a file system busy.
const USERS: Duration = Duration::from_secs(2);
/// Between two looks at what the disks have written, and until the log says that they are waited for.
const LOOK: Duration = Duration::from_millis(500);
const TELL: Duration = Duration::from_secs(5);
const TELL_AGAIN: Duration = Duration::from_secs(30);
/// For the last lines to get out on a slow serial console.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a panic's message can be read before the machine starts again.
const READING_TIME: Duration = Duration::from_secs(5);

/// Opens what the end needs. Needs `/proc`.
pub fn prepare() {
    limits::remember();
    kept::open();
}

/// Ends everything in order, and the machine with it. `tasks` are told to stop already or stop when `stop` is called; `record`
/// is what is to be done when nothing but init is left, before the disks are synced.
pub async fn run(
    ending: Ending,
    requests: &mut mpsc::UnboundedReceiver<Request>,
    stop: impl FnOnce(),
    tasks: Vec<JoinHandle<()>>,
    record: impl Future<Output = ()>,
) -> ! {
    limits::restore();
    kill_the_rest(ending.expired).await;
    stop();
    let all = async {
        for task in tasks {
            // One that panicked would have ended the machine.
            let _ = task.await;
        }
    };
    if timeout(TASKS, all).await.is_err() {
        log::warn!(
            "shutdown: not all of init's tasks ended within {} s",
            TASKS.as_secs()
        );
    }
    record.await;
    if patient(SYNC, nix::unistd::sync).await.is_none() {
        log::error!(
            "shutdown: a disk wrote nothing for {} s of what it was given",
            SYNC.as_secs()
        );
    }
    for mounted in kept::to_unmount() {
        unmount(mounted).await;
    }
    let mut action = ending.action;
    while let Ok(request) = requests.try_recv() {
        action = request.action;
    }
    leave(action)
}

async fn kill_the_rest(expired: Option<u32>) {
    if !any_left() {
        return;
    }
    let count = processes::count();
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    if let (Some(grace), 1..) = (expired, count) {
        let noun = if count == 1 { "process" } else { "processes" };
        log::warn!("shutdown: killed {count} {noun} that did not stop within {grace} s");
    }
    let deadline = Instant::now() + KILL;
    while any_left() && Instant::now() < deadline {
        sleep(PAUSE).await;
    }
    if any_left() {
        log::error!(
            "shutdown: of the killed processes {} are still there",
            processes::count()
        );
    }
}

async fn unmount(mounted: Mounted) {
    let Mounted { path, kind, source } = mounted;
    let deadline = Instant::now() + UNMOUNT;
    let error = loop {
        let target = path.clone();
        match patient(ONE_CALL, move || {
            loops::detach(&target);
            sys_mount::unmount(target, UnmountFlags::empty())
        })
        .await
        {
            Some(Ok(())) => return log::info!("shutdown: {} unmounted", path.display()),
            Some(Err(error))
                if error.raw_os_error() == Some(nix::libc::EBUSY) && Instant::now() < deadline =>
            {
                sleep(PAUSE).await
            }
            Some(Err(error)) => break error,
            // The name is gone from the tree, or the disk hangs: nothing more can be done in either case.
            None => {
                return log::error!(
                    "shutdown: {} did not answer within {} s",
                    path.display(),
                    ONE_CALL.as_secs()
                );
            }
        }
    };
    let place = path.clone();
    // A process that a disk holds does not show its files.
    let users = timeout(USERS, threads::END.run(move || processes::using(&place))).await;
    let users = match users.unwrap_or_default().join(", ") {
        none if none.is_empty() => none,
        users => format!("; it is used by {users}"),
    };
    log::error!(
        "shutdown: {} cannot be unmounted: {error}{users}",
        path.display()
    );
    // What is written so far stays consistent at least.
    let target = path.clone();
    let flags = MountFlags::REMOUNT | MountFlags::RDONLY;
    let remounted = patient(ONE_CALL, move || {
        Mount::builder()
            .fstype(kind.as_str())
            .flags(flags)
            .mount(source, target)
            .map(drop)
    })
    .await;
    match remounted {
        Some(Ok(())) => log::warn!("shutdown: {} is read-only now", path.display()),
        Some(Err(error)) => log::error!("shutdown: {} stays writable: {error}", path.display()),
        None => log::error!(
            "shutdown: {} stays writable: it does not answer",
            path.display()
        ),
    }
}

/// Has a thread do `work`, and waits as long as disks get on with their writing, and for `limit` when they do not.
async fn patient<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let mut work = threads::END.run(work);
    let mut waiting = Waiting::begin(limit);
    loop {
        match timeout(LOOK, &mut work).await {
            Ok(value) => return Some(value),
            Err(_) if waiting.goes_on() => {}
            Err(_) => return None,
        }
    }
}

/// Waiting for disks, and what the log says of it.
struct Waiting {
    patience: Patience,
    tell_at: std::time::Instant,
}

impl Waiting {
    fn begin(limit: Duration) -> Self {
        let now = std::time::Instant::now();
        Self {
            patience: Patience::new(limit, now, kept::progress()),
            tell_at: now + TELL,
        }
    }

    fn goes_on(&mut self) -> bool {
        let (now, progress) = (std::time::Instant::now(), kept::progress());
        if now >= self.tell_at {
            self.tell_at = now + TELL_AGAIN;
            log::info!(
                "shutdown: waiting for the disks; {} KiB are left to write",
                progress.left
            );
        }
        self.patience.see(now, progress)
    }
}

/// Ends the machine at once. What was to be saved has been saved.
pub fn leave(action: Action) -> ! {
    let (text, mode) = match action {
        Action::PowerOff if !firmware::can_power_off() => {
            log::warn!("power: this machine cannot switch itself off; it is reset instead");
            ("reset", RebootMode::RB_AUTOBOOT)
        }
        Action::PowerOff => ("power off", RebootMode::RB_POWER_OFF),
        Action::Reboot => ("reboot", RebootMode::RB_AUTOBOOT),
    };
    log::info!("shutdown: {text}");
    console::kernel::give_back();
    console::flush(FLUSH);
    let Err(error) = reboot(mode);
    log::error!("shutdown: {text} failed: {}", error.desc());
    console::flush(FLUSH);
    // PID 1 must not return. The watchdog, which nobody feeds any more, is what is left.
    loop {
        thread::park();
    }
}

/// What happens when init itself has a fault: the message, SIGTERM to the app and a few seconds for both, a sync that is
/// waited for as long as disks get on, a reboot. Never returns, and needs no new thread.
pub fn panicked(info: &PanicHookInfo<'_>) {
    static ONCE: AtomicBool = AtomicBool::new(false);
    if ONCE.swap(true, Ordering::SeqCst) {
        // Another thread is at it.
        loop {
            thread::park();
        }
    }
    let text = info.to_string().replace('\n', " ");
    log::error!("init has a fault and restarts the machine: {text}");
    let everybody = Pid::from_raw(-1);
    let _ = kill(everybody, Signal::SIGTERM);
    console::flush(FLUSH);
    thread::sleep(READING_TIME);
    // Who goes on writing would be waited for.
    let _ = kill(everybody, Signal::SIGKILL);
    let synced = threads::END.run_beside(move || {
        previous::fault(&text);
        nix::unistd::sync();
    });
    let mut waiting = Waiting::begin(SYNC);
    while synced.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) && waiting.goes_on() {}
    leave(Action::Reboot);
}
