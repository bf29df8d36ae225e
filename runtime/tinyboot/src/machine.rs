//! The handle that [`configure`] returns.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch::{self, Receiver};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Stopping};
use crate::notify::{self, Notify};
use crate::status::{self, Action, Status};
use crate::watch::Watch;

/// Starts to follow what init says, and returns a handle to it.
///
/// Call it once, at the start, within a tokio runtime that has its I/O driver enabled (`#[tokio::main]` has); one of a
/// single thread will do. A task in that runtime follows the status from then on, as long as the runtime lives, even
/// when all handles are dropped.
///
/// SIGINT and SIGTERM do not end the process by themselves any more: they cancel [`Machine::token`].
///
/// The machine is a tinyboot machine if `TINYBOOT=1` is in the environment and init's status is there; anything else
/// is an ordinary machine, on which nothing is changed.
///
/// # Errors
///
/// Without a tokio runtime, when the system refuses a signal handler or an inotify watch, or when the status is there
/// and cannot be understood.
///
/// # Panics
///
/// tokio panics when the runtime was built without its I/O driver.
///
/// ```no_run
/// # async fn example() -> Result<(), tinyboot::Error> {
/// let machine = tinyboot::configure()?;
/// machine.token().cancelled().await;
/// # Ok(())
/// # }
/// ```
pub fn configure() -> Result<Machine, Error> {
    Machine::start(&Paths::from_environment())
}

/// The machine's last lines; those before them are in the file beside it with the extension `old`.
const LOG: &str = "/run/tinyboot/log";

/// Where init is to be found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Paths {
    pub(crate) log: Option<PathBuf>,
    pub(crate) status: Option<PathBuf>,
    pub(crate) notify: Option<OsString>,
}

impl Paths {
    pub(crate) fn from_environment() -> Self {
        let status = PathBuf::from(status::PATH);
        let on_tinyboot =
            env::var_os("TINYBOOT").is_some_and(|value| value == "1") && status.exists();
        Self {
            log: on_tinyboot.then(|| PathBuf::from(LOG)),
            status: on_tinyboot.then_some(status),
            notify: env::var_os("NOTIFY_SOCKET"),
        }
    }
}

/// The machine that the program is. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Machine {
    on_tinyboot: bool,
    status: Receiver<Status>,
    stop: CancellationToken,
    notify: Notify,
    log: Option<PathBuf>,
}

impl Machine {
    fn start(paths: &Paths) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(Error::NoRuntime)?;
        let (watch, status) = Watch::new(paths.status.as_deref())?;
        let on_tinyboot = watch.has_status();
        let stop = CancellationToken::new();
        if status.shutdown.is_some() {
            stop.cancel();
        }
        let (sender, receiver) = watch::channel(status);
        runtime.spawn(watch.follow(sender, stop.clone()));
        Ok(Self {
            on_tinyboot,
            status: receiver,
            stop,
            notify: Notify::new(paths.notify.clone()),
            log: paths.log.clone(),
        })
    }

    /// True on a tinyboot machine, false where the program runs beside others.
    pub fn on_tinyboot(&self) -> bool {
        self.on_tinyboot
    }

    /// A token that is cancelled when the program is to stop: power-off or reboot was asked for, or SIGTERM or SIGINT
    /// came.
    ///
    /// From then on the program has the grace period (10 s unless the image sets another) to end; what is left of it
    /// then is killed. Each call returns a child token of its own, so that cancelling it stops nothing else.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tinyboot::Error> {
    /// let machine = tinyboot::configure()?;
    /// let listener = tokio::net::TcpListener::bind("[::]:80").await.expect("port 80 is free");
    /// while let Some(connection) = machine.token().run_until_cancelled(listener.accept()).await {
    ///     // Serve the connection.
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// What follows when the program has ended, once that is decided; a later request replaces an earlier one.
    ///
    /// It is known when the token is cancelled, with one exception: a SIGTERM or SIGINT on a tinyboot machine that
    /// somebody else than init has sent stops the program and is no request to the machine; then it stays `None`, and
    /// what follows is what the image says for a program that ends by itself. On an ordinary machine any stop counts as
    /// [`Action::PowerOff`].
    pub fn action(&self) -> Option<Action> {
        action(&self.status.borrow(), self.on_tinyboot, &self.stop)
    }

    /// Where the image's own content is readable: `/iso`, or `None` as long as no such medium was found and on an
    /// ordinary machine.
    ///
    /// A medium may come late or be taken away, so the answer may change; see [`Machine::changes`] for how to wait for
    /// it.
    pub fn iso(&self) -> Option<PathBuf> {
        self.status
            .borrow()
            .storage
            .iso
            .as_ref()
            .map(|mount| mount.path.clone())
    }

    /// Where files outlive a reboot: `/persistent`, or `None` as long as there is no such disk and on an ordinary
    /// machine.
    ///
    /// A disk may come late or be taken away, so the answer may change; see [`Machine::changes`] for how to wait for
    /// it. While there is none the directory refuses writes.
    /// It is not promised that the file system is writable ([`status::Mount::read_only`] says so) or that there is
    /// space left, nor that a file that was not fsynced is still there after a power failure.
    pub fn persistent(&self) -> Option<PathBuf> {
        self.status
            .borrow()
            .storage
            .persistent
            .as_ref()
            .map(|mount| mount.path.clone())
    }

    /// Waits until some link is configured: by DHCP, by IPv6 router advertisement, or by settings
    /// ([`status::Link::configured`] says what counts); at once when one is already.
    ///
    /// It is not promised that there is a router or a resolver, that there is IPv4, that any other machine can be
    /// reached, nor that the link is still configured when the call has returned. On an ordinary machine it returns at once, because there
    /// the operating system looks after the network and nothing is known about it. The wait can be dropped at any time.
    ///
    /// # Errors
    ///
    /// [`Stopping`] when the program is to stop, be there a network or not.
    pub async fn network(&self) -> Result<(), Stopping> {
        self.wait_for(|status| {
            let mut links = status.links.iter();
            links.any(|link| link.configured || link.lease.is_some())
        })
        .await
    }

    /// Waits until the clock was set by somebody who knows the time: a majority of the time servers that answered, the only
    /// one that did, or the hypervisor's own clock (`ptp` in [`status::Clock::source`]); at once when it was already.
    ///
    /// What is promised is that the clock was right once in this boot as far as they know, and is never before the image's
    /// release. It is not promised how exact it is; that it stays so, for servers may vanish and a machine may be paused,
    /// after which its clock stands behind for a minute or longer; that it does not step afterwards, forward or back; or
    /// that the servers told the truth. The RTC, the guest agent and a time saved earlier do not count.
    ///
    /// Without a network or a time server that never happens, unless the hypervisor has a clock: put a bound on it
    /// ([`tokio::time::timeout`](https://docs.rs/tokio/latest/tokio/time/fn.timeout.html)) where the program can go on
    /// with a time that is only not before the image was built. On an ordinary machine it returns at once, because there
    /// the operating system looks after the clock. The wait can be dropped at any time.
    ///
    /// # Errors
    ///
    /// [`Stopping`] when the program is to stop, be the clock right or not.
    pub async fn clock(&self) -> Result<(), Stopping> {
        self.wait_for(|status| status.clock.synchronized).await
    }

    /// Waits until the machine has gone on more often than `seen` times after it stood still ([`status::Machine::resumes`]): after a
    /// pause, from a snapshot, on another host. Returns how often it has.
    ///
    /// A program that holds connections, sessions or random numbers begins anew with them then. Init notices a restored snapshot at
    /// once if the hypervisor gives the machine a new generation id, and other pauses within about a minute or not at all. On an
    /// ordinary machine nothing is ever noticed. The wait can be dropped at any time.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let machine = tinyboot::configure()?;
    /// let mut seen = machine.status().machine.resumes;
    /// loop {
    ///     seen = machine.resumed(seen).await?;
    ///     println!("the machine has gone on: {} times", seen);
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Stopping`] when the program is to stop.
    pub async fn resumed(&self, seen: u64) -> Result<u64, Stopping> {
        // Unlike the others it has to wait on an ordinary machine, too.
        let mut status = self.status.clone();
        let more = status.wait_for(|status| status.machine.resumes > seen);
        match self.stop.run_until_cancelled(more).await {
            Some(Ok(status)) => Ok(status.machine.resumes),
            _ => Err(Stopping),
        }
    }

    /// What init has said last. On an ordinary machine it is [`Status::default`] always.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// The status as it changes: what init says is there within moments, and of several changes in a row at least the
    /// last one is seen.
    ///
    /// The guard that [`Receiver::borrow`] returns must not be held across an `await`.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tinyboot::Error> {
    /// let machine = tinyboot::configure()?;
    /// let mut changes = machine.changes();
    /// let disk = changes.wait_for(|status| status.storage.persistent.is_some());
    /// if let Some(Ok(_)) = machine.token().run_until_cancelled(disk).await {
    ///     println!("a disk was found, late or not: {:?}", machine.persistent());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn changes(&self) -> Receiver<Status> {
        self.status.clone()
    }

    /// Tells init that the program serves (`READY=1`).
    ///
    /// This and the other `notify` methods speak the sd_notify protocol on the socket in `NOTIFY_SOCKET`, and do
    /// nothing when there is none. They never wait.
    ///
    /// # Errors
    ///
    /// [`Error::Notify`] when the socket cannot be reached or its queue is full.
    pub fn notify_ready(&self) -> Result<(), Error> {
        self.notify.send("READY=1")
    }

    /// Tells init in one line what the program is doing (`STATUS=`); line feeds become spaces. It is published in
    /// [`status::App::status`].
    ///
    /// # Errors
    ///
    /// As for [`Machine::notify_ready`].
    pub fn notify_status(&self, text: &str) -> Result<(), Error> {
        self.notify.send(&notify::status(text))
    }

    /// Tells init that the program has begun to stop (`STOPPING=1`).
    ///
    /// # Errors
    ///
    /// As for [`Machine::notify_ready`].
    pub fn notify_stopping(&self) -> Result<(), Error> {
        self.notify.send("STOPPING=1")
    }

    /// Asks init to wait with SIGKILL until `by` from now (`EXTEND_TIMEOUT_USEC=`), for a program that needs longer
    /// than the grace period to stop in order.
    ///
    /// # Errors
    ///
    /// As for [`Machine::notify_ready`].
    pub fn extend_timeout(&self, by: Duration) -> Result<(), Error> {
        self.notify.send(&notify::extend_timeout(by))
    }

    /// How often init wants to hear [`Machine::notify_watchdog`] (`settings.app.watchdog`), or `None` when it does not.
    ///
    /// Say it twice as often, from the place that would stand still if the program did.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), tinyboot::Error> {
    /// let machine = tinyboot::configure()?;
    /// if let Some(interval) = machine.watchdog() {
    ///     let machine = machine.clone();
    ///     tokio::spawn(async move {
    ///         let mut ticks = tokio::time::interval(interval / 2);
    ///         loop {
    ///             ticks.tick().await;
    ///             let _ = machine.notify_watchdog();
    ///         }
    ///     });
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watchdog(&self) -> Option<Duration> {
        let variable = env::var_os;
        notify::watchdog(
            variable("WATCHDOG_USEC"),
            variable("WATCHDOG_PID"),
            std::process::id(),
        )
    }

    /// Tells init that the program is alive (`WATCHDOG=1`). Where [`Machine::watchdog`] gives a time and this is not said for
    /// so long, the program is killed by SIGABRT and counts as failed.
    ///
    /// # Errors
    ///
    /// As for [`Machine::notify_ready`].
    pub fn notify_watchdog(&self) -> Result<(), Error> {
        self.notify.send("WATCHDOG=1")
    }

    /// The last lines of the boot before this one, at most 64 KiB, in the form of [`Machine::log`]: if it was stopped in order
    /// or ended by a fault of init, and had a `/persistent`. Else, and on an ordinary machine, empty. What is known of its end
    /// is [`Status::previous`].
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when the file cannot be read.
    pub fn previous_log(&self) -> Result<String, Error> {
        let Some(path) = &self.log else {
            return Ok(String::new());
        };
        let path = path.with_extension("previous");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
            Err(source) => Err(Error::Read { path, source }),
        }
    }

    /// The machine's last lines, at most 256 KiB: those of the program, of init (`tinyboot`) and of the kernel, as on the
    /// console, `[    1.234567] app: the line`, and the kernel's less important ones too. Empty on an ordinary machine.
    ///
    /// It reads two files, so what is said meanwhile may be missing. It is not promised that the lines are in the order of
    /// their times, nor that a line is there as soon as it was written.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] when the files cannot be read.
    pub fn log(&self) -> Result<String, Error> {
        let Some(path) = &self.log else {
            return Ok(String::new());
        };
        let mut text = Vec::new();
        for path in [path.with_extension("old"), path.clone()] {
            match std::fs::read(&path) {
                Ok(bytes) => text.extend(bytes),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::Read { path, source }),
            }
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    async fn wait_for(&self, condition: impl Fn(&Status) -> bool) -> Result<(), Stopping> {
        let mut status = self.status.clone();
        let condition = async {
            // The sender is gone when the runtime is; then nobody polls this any more.
            self.on_tinyboot && status.wait_for(condition).await.is_err()
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(Stopping),
            gone = condition => if gone { Err(Stopping) } else { Ok(()) },
        }
    }
}

/// What follows, from the status, or on an ordinary machine from the bare fact that the program was asked to stop.
pub(crate) fn action(
    status: &Status,
    on_tinyboot: bool,
    stop: &CancellationToken,
) -> Option<Action> {
    match &status.shutdown {
        Some(shutdown) => Some(shutdown.action),
        None => (!on_tinyboot && stop.is_cancelled()).then_some(Action::PowerOff),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod testing;
#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout
)]
mod tests;
