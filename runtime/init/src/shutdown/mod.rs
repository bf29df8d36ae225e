//! The end: kill, sync, unmount in reverse order, reboot(2). Every step has a bound.
//!
//! The event loop goes on meanwhile, so the watchdog is fed; steps that the hardware can hold up are done by threads
//! that are left alone when their time is over.

mod loops;
pub(crate) mod mountinfo;
mod processes;

use std::fs;
use std::panic::PanicHookInfo;
use std::sync::mpsc as threads;
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
use crate::console;
use crate::power::Request;
use mountinfo::Mounted;

/// For killed processes to go: one that the hardware holds does not.
const KILL: Duration = Duration::from_secs(2);
/// For init's own tasks to end.
const TASKS: Duration = Duration::from_secs(2);
/// For what was written to reach the disks.
const SYNC: Duration = Duration::from_secs(20);
/// For one file system: the retries while it is busy, and a single call.
const UNMOUNT: Duration = Duration::from_secs(3);
const ONE_CALL: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// For the last lines to get out on a slow serial console.
const FLUSH: Duration = Duration::from_secs(5);
/// How long a panic's message can be read before the machine starts again.
const READING_TIME: Duration = Duration::from_secs(5);

/// Ends everything in order, and the machine with it. `tasks` are told to stop already or stop when `stop` is called.
pub async fn run(
    ending: Ending,
    requests: &mut mpsc::UnboundedReceiver<Request>,
    stop: impl FnOnce(),
    tasks: Vec<JoinHandle<()>>,
) -> ! {
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
    if bounded(SYNC, nix::unistd::sync).await.is_none() {
        log::error!(
            "shutdown: a disk took more than {} s to write what it was given",
            SYNC.as_secs()
        );
    }
    let mounted = fs::read("/proc/self/mountinfo").unwrap_or_default();
    for mounted in mountinfo::to_unmount(&mounted) {
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
        match bounded(ONE_CALL, move || {
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
    let users = processes::using(&path).join(", ");
    let users = if users.is_empty() {
        String::new()
    } else {
        format!("; it is used by {users}")
    };
    log::error!(
        "shutdown: {} cannot be unmounted: {error}{users}",
        path.display()
    );
    // What is written so far stays consistent at least.
    let target = path.clone();
    let flags = MountFlags::REMOUNT | MountFlags::RDONLY;
    let remounted = bounded(ONE_CALL, move || {
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

async fn bounded<T: Send + 'static>(
    limit: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    timeout(limit, tokio::task::spawn_blocking(work))
        .await
        .ok()?
        .ok()
}

/// Ends the machine at once. What was to be saved has been saved.
pub fn leave(action: Action) -> ! {
    let (text, mode) = match action {
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

/// What happens when init itself has a fault: the message, a bounded sync, a reboot. Never returns.
pub fn panicked(info: &PanicHookInfo<'_>) {
    let text = info.to_string().replace('\n', " ");
    log::error!("init has a fault and restarts the machine: {text}");
    console::flush(FLUSH);
    thread::sleep(READING_TIME);
    let (done, synced) = threads::channel();
    let spawned = thread::Builder::new().spawn(move || {
        nix::unistd::sync();
        let _ = done.send(());
    });
    if spawned.is_ok() {
        let _ = synced.recv_timeout(SYNC);
    }
    leave(Action::Reboot);
}
