//! Starting the app's process and waiting for all processes: every orphan of the machine is a child of PID 1.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::cgroup::Group;
use super::{notify, sandbox, spawn};
use crate::console;
use crate::settings;

/// Where the image keeps the app's executable.
const DIRECTORY: &str = "/app";
/// After so many ends others have their turn: orphans may come faster than they can be reaped.
const ROUND: usize = 64;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It called exit(2).
    Status(i32),
    /// The number of the signal that killed it.
    Signal(i32),
}

impl Exit {
    /// What happened to the app, as the reason of a shutdown.
    pub fn reason(self) -> String {
        match self {
            Self::Status(_) => format!("the app {self}"),
            Self::Signal(_) => format!("the app was {self}"),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "exited with status {status}"),
            Self::Signal(number) => match Signal::try_from(*number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// The app's running process.
#[derive(Debug)]
pub struct Process {
    /// Its id, also that of its session and process group.
    pub pid: Pid,
    /// Ends when nobody can write to the app's standard output and error any more, and all of it has been logged.
    pub output: JoinHandle<()>,
}

/// What is to be run: the settings' command, or else the only file in [`DIRECTORY`]; and its arguments.
pub fn command(app: &settings::App) -> Option<Vec<String>> {
    let mut words = program(app)?;
    words.extend(app.arguments.iter().cloned());
    Some(words)
}

fn program(app: &settings::App) -> Option<Vec<String>> {
    if !app.command.is_empty() {
        return Some(app.command.clone());
    }
    let mut files = std::fs::read_dir(DIRECTORY)
        .ok()?
        .flatten()
        .map(|entry| entry.path());
    let only: Option<PathBuf> = files.next();
    only.filter(|_| files.next().is_none())
        .and_then(|path| Some(vec![path.to_str()?.to_owned()]))
}

/// An app's process on its way to its program. Until this is dropped nothing that it writes is logged, so that the line about its
/// start comes first.
#[derive(Debug)]
pub struct Starting {
    process: spawn::Starting,
    _begun: oneshot::Sender<()>,
}

impl Starting {
    /// As [`spawn::Starting::outcome`].
    ///
    /// # Errors
    ///
    /// What could not be done in the new process.
    pub async fn outcome(&mut self) -> Result<(), spawn::Error> {
        self.process.outcome().await
    }
}

/// Makes a process for `command` in a session of its own, its output going to the console.
///
/// # Errors
///
/// What could not be done before there was a new process.
pub fn start(
    command: &[String],
    app: &settings::App,
    group: Option<&mut Group>,
) -> Result<(Process, Starting), spawn::Error> {
    let group = group.and_then(|group| {
        let opened = group.open();
        opened
            .inspect_err(|error| log::error!("app: it is not in its control group: {error}"))
            .ok()
    });
    let place = spawn::Place {
        group,
        own_ipc: true,
    };
    // One pipe for both, so that their lines stay in order.
    let (reader, writer) = io::pipe()?;
    for_everybody(&writer)?;
    let reader = pipe::Receiver::from_owned_fd(OwnedFd::from(reader))?;
    let process = spawn::spawn(
        command,
        environment(app),
        app.sandbox.clone(),
        writer.into(),
        &place,
    )?;
    let pid = process.pid;
    let (begun, begins) = oneshot::channel();
    let output = tokio::spawn(async move {
        // It ends by being dropped, which is an error here.
        let _ = begins.await;
        log_output(reader).await;
    });
    let starting = Starting {
        process,
        _begun: begun,
    };
    Ok((Process { pid, output }, starting))
}

/// Has any user write to the pipe by its name, which is `/dev/stdout` for who has it open: a program may have given up root.
fn for_everybody(pipe: &impl AsFd) -> io::Result<()> {
    nix::sys::stat::fchmod(pipe, Mode::S_IWUSR | Mode::S_IWGRP | Mode::S_IWOTH)?;
    Ok(())
}

/// The contract's variables and the settings'.
fn environment(app: &settings::App) -> BTreeMap<String, String> {
    let (user, home) = match app.user() {
        0 => ("root", "/"),
        _ => (sandbox::NAME, sandbox::HOME),
    };
    let mut all = BTreeMap::from(
        [
            ("PATH", DIRECTORY),
            ("HOME", home),
            ("USER", user),
            ("LOGNAME", user),
            ("TINYBOOT", "1"),
            // The console's lines have no colours.
            ("NO_COLOR", "1"),
            ("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
            ("NOTIFY_SOCKET", notify::SOCKET),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    if let Some(seconds) = app.watchdog {
        let microseconds = u64::from(seconds) * 1_000_000;
        all.insert("WATCHDOG_USEC".into(), microseconds.to_string());
        all.insert("WATCHDOG_PID".into(), spawn::OWN_PID.into());
    }
    all.extend(app.environment.clone());
    all
}

async fn log_output(mut pipe: pipe::Receiver) {
    let mut splitter = console::Splitter::default();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        for line in splitter.push(buffer.get(..length).unwrap_or_default()) {
            console::app_line(&line).await;
        }
    }
    if let Some(line) = splitter.finish() {
        console::app_line(&line).await;
    }
}

/// Takes the status of every child that ends from now on, and reports it.
///
/// # Errors
///
/// SIGCHLD cannot be caught.
pub fn reap() -> io::Result<mpsc::UnboundedReceiver<(Pid, Exit)>> {
    let mut children = signal(SignalKind::child())?;
    let (exits, receiver) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        loop {
            let mut round = 0;
            while let Some(exit) = reap_one() {
                // After the last one who is interested they still have to be reaped.
                let _ = exits.send(exit);
                round += 1;
                if round % ROUND == 0 {
                    tokio::task::yield_now().await;
                }
            }
            if children.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn reap_one() -> Option<(Pid, Exit)> {
    loop {
        let mut status = 0;
        // Not nix's: it takes the status of a child that died of a real-time signal and returns an error for it.
        // SAFETY: the kernel writes one int at the address of `status`.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        match pid {
            1.. if libc::WIFEXITED(status) => {
                return Some((Pid::from_raw(pid), Exit::Status(libc::WEXITSTATUS(status))));
            }
            1.. if libc::WIFSIGNALED(status) => {
                return Some((Pid::from_raw(pid), Exit::Signal(libc::WTERMSIG(status))));
            }
            1.. => {}
            0 => return None,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}

/// Whether any process but init and the kernel's own is left, dead ones that were not reaped yet included.
pub fn any_left() -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, flags) != Err(Errno::ECHILD)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_follow_the_command() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let app = settings::App {
            command: words(&["/bin/server", "run"]),
            arguments: words(&["--port", "1"]),
            ..settings::App::default()
        };
        assert_eq!(
            command(&app),
            Some(words(&["/bin/server", "run", "--port", "1"]))
        );
    }

    #[test]
    fn the_settings_variables_come_before_the_contracts() {
        let mut app = settings::App::default();
        let no_colour = |app: &settings::App| environment(app).get("NO_COLOR").cloned();
        assert_eq!(no_colour(&app).as_deref(), Some("1"));
        app.environment.insert("NO_COLOR".into(), String::new());
        assert_eq!(no_colour(&app).as_deref(), Some(""));
    }

    #[test]
    fn any_user_can_open_the_output_by_its_name_and_none_can_read_it() -> io::Result<()> {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::PermissionsExt;
        let (_reader, writer) = io::pipe()?;
        for_everybody(&writer)?;
        let name = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let mode = std::fs::metadata(&name)?.permissions().mode();
        assert_eq!(mode & 0o777, 0o222);
        std::fs::OpenOptions::new().write(true).open(name).map(drop)
    }

    #[test]
    fn an_end_is_told_as_the_log_has_it() {
        assert_eq!(Exit::Status(3).to_string(), "exited with status 3");
        assert_eq!(Exit::Status(0).reason(), "the app exited with status 0");
        assert_eq!(Exit::Signal(11).to_string(), "killed by SIGSEGV");
        assert_eq!(Exit::Signal(11).reason(), "the app was killed by SIGSEGV");
        assert_eq!(Exit::Signal(40).to_string(), "killed by signal 40");
    }
}
