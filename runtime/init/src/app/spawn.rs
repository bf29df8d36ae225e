//! The app's new process, between fork and exec: only system calls, no memory and no locks, for the copy of a process with
//! threads can have neither. Everything that needs memory is prepared before.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc::{self, c_char, c_int};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::sandbox;
use crate::settings::Sandbox;

/// The value of `WATCHDOG_PID` that becomes the new process's id, which nobody knows before.
pub const OWN_PID: &str = "0000000000";
const PLACE_OF_PID: &[u8] = b"WATCHDOG_PID=0000000000\0";
/// How many files the app can have open if it wants to.
const OPEN_FILES: u64 = 524_288;

/// Why the app was not started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The new process could not be made.
    #[error("{0}")]
    Fork(#[from] io::Error),
    /// The program could not be executed.
    #[error("{}", .0.desc())]
    Exec(Errno),
    /// Something before that could not be done.
    #[error("its {step}: {}", .cause.desc())]
    Step {
        /// What.
        step: Step,
        /// What the system said.
        cause: Errno,
    },
    /// A word or a variable has a zero byte in it.
    #[error("{0:?} has a zero byte in it")]
    ZeroByte(String),
}

/// What is done in the new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// dup2(2)
    Files = 1,
    /// setsid(2)
    Session,
    /// setrlimit(2)
    Limits,
    /// unshare(2), and a view of mounts that goes one way
    Namespace,
    /// a `/tmp` of its own
    Tmp,
    /// remounting
    ReadOnly,
    /// dropping, setting and keeping them over execve(2)
    Capabilities,
    /// setgroups(2), setresgid(2), setresuid(2)
    User,
    /// prctl(2)
    NoNewPrivileges,
    /// seccomp(2)
    SystemCalls,
    /// chdir(2)
    Directory,
    /// execve(2)
    Exec,
}

impl Step {
    const ALL: [Self; 12] = [
        Self::Files,
        Self::Session,
        Self::Limits,
        Self::Namespace,
        Self::Tmp,
        Self::ReadOnly,
        Self::Capabilities,
        Self::User,
        Self::NoNewPrivileges,
        Self::SystemCalls,
        Self::Directory,
        Self::Exec,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Files => "standard files cannot be set up",
            Self::Session => "session cannot be made",
            Self::Limits => "limits cannot be set",
            Self::Namespace => "view of the file systems cannot be made",
            Self::Tmp => "own /tmp cannot be mounted",
            Self::ReadOnly => "root directory cannot be made read-only",
            Self::Capabilities => "capabilities cannot be set",
            Self::User => "user cannot be changed",
            Self::NoNewPrivileges => "programs cannot be kept from gaining privileges",
            Self::SystemCalls => "system calls cannot be limited",
            Self::Directory => "directory cannot be entered",
            Self::Exec => "program cannot be executed",
        })
    }
}

/// What the new process says when it cannot go on: the step and the kernel's number of the cause, two bytes each.
const REPORT: usize = 4;

fn failed((step, cause): (Step, Errno)) -> [u8; REPORT] {
    let [a, b] = (step as u16).to_ne_bytes();
    let [c, d] = (cause as u16).to_ne_bytes();
    [a, b, c, d]
}

fn told([a, b, c, d]: [u8; REPORT]) -> Error {
    let cause = Errno::from_raw(u16::from_ne_bytes([c, d]).into());
    let number = u16::from_ne_bytes([a, b]);
    match Step::ALL.into_iter().find(|step| *step as u16 == number) {
        Some(Step::Exec) | None => Error::Exec(cause),
        Some(step) => Error::Step { step, cause },
    }
}

/// A new process on its way to its program, which takes as long as the medium does that the program is on.
#[derive(Debug)]
pub struct Starting {
    /// Its id, from its first moment on.
    pub pid: Pid,
    report: pipe::Receiver,
}

impl Starting {
    /// Waits until the program runs, or the process has ended before. Cancelling loses nothing.
    ///
    /// # Errors
    ///
    /// What could not be done in the new process, up to its execve(2).
    pub async fn outcome(&mut self) -> Result<(), Error> {
        let mut report = [0; REPORT];
        // It is written at once, and comes at once.
        match self.report.read(&mut report).await? {
            0 => Ok(()),
            _ => Err(told(report)),
        }
    }
}

/// Where a new process is from its first moment on.
#[derive(Debug, Default)]
pub struct Place {
    /// Its control group, if not init's.
    pub group: Option<OwnedFd>,
    /// Whether its shared memory, semaphores and message queues of System V are its own, and are gone when its last process is.
    pub own_ipc: bool,
}

/// Starts `command`, whose first word is a path, in `place` and in a session of its own, with `environment` and nothing else,
/// `output` as standard output and error, nothing to read, and shut in by `sandbox`.
///
/// Not by the standard library: that waits for execve(2), and waits for the new process when it fails, which
/// [`reap`](super::process::reap) does for all of them.
///
/// # Errors
///
/// What could not be done before there was a new process.
pub fn spawn(
    command: &[String],
    environment: BTreeMap<String, String>,
    sandbox: Option<Sandbox>,
    output: OwnedFd,
    place: &Place,
) -> Result<Starting, Error> {
    let cell = sandbox.map(sandbox::Cell::new);
    let mut image = Image::new(command, environment)?;
    let (report, writer) = io::pipe()?;
    let report = pipe::Receiver::from_owned_fd(OwnedFd::from(report))?;
    // Copies have numbers from 3 on, out of the way of the standard files.
    let input = OwnedFd::from(File::open("/dev/null")?).try_clone()?;
    let (output, writer) = (output.try_clone()?, OwnedFd::from(writer).try_clone()?);
    // A signal that init catches must end the new process or wait for its program, and not call init's handler there.
    let before = SigSet::all()
        .thread_swap_mask(SigmaskHow::SIG_SETMASK)
        .map_err(io::Error::from)?;
    // SAFETY: the new process makes system calls only, takes neither a lock nor memory, and never returns.
    let child = unsafe { fork(place) };
    if child == Ok(0) {
        let failure = become_program(&mut image, cell.as_ref(), &input, &output);
        let report = failed(failure);
        // SAFETY: as many bytes as there are. The process ends without any of init's own work at its end.
        unsafe {
            libc::write(writer.as_raw_fd(), report.as_ptr().cast(), REPORT);
            libc::_exit(127);
        }
    }
    let result = child.map_err(io::Error::from);
    // It has no way to fail with a mask that was there before.
    let _ = before.thread_set_mask();
    let pid = Pid::from_raw(result?);
    Ok(Starting { pid, report })
}

/// Makes a process in `place`; where the kernel lacks a part of that, without it.
///
/// # Safety
///
/// As for fork(2): in the new process, which gets 0, only system calls may follow.
unsafe fn fork(place: &Place) -> nix::Result<libc::pid_t> {
    // linux/sched.h; the C library's constants are of different types.
    const INTO_CGROUP: u64 = 0x2_0000_0000;
    let ipc = if place.own_ipc {
        libc::CLONE_NEWIPC as u64
    } else {
        0
    };
    let group = place
        .group
        .as_ref()
        .map(|group| (INTO_CGROUP, group.as_raw_fd() as u64));
    for (flags, cgroup) in [
        group.map(|(flag, group)| (flag | ipc, group)),
        group,
        Some((ipc, 0)).filter(|_| ipc != 0),
    ]
    .into_iter()
    .flatten()
    {
        // clone_args of linux/sched.h up to `cgroup`: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
        // set_tid, set_tid_size, cgroup.
        let arguments = [flags, 0, 0, 0, libc::SIGCHLD as u64, 0, 0, 0, 0, 0, cgroup];
        // SAFETY: the kernel reads as many bytes as there are; without a stack of its own the process goes on as after fork(2).
        let result = unsafe {
            libc::syscall(
                libc::SYS_clone3,
                arguments.as_ptr(),
                size_of_val(&arguments),
            )
        };
        match Errno::result(result) {
            Ok(pid) => return Ok(pid as libc::pid_t),
            Err(error @ (Errno::EAGAIN | Errno::ENOMEM)) => return Err(error),
            Err(error) => log::warn!("app: it is not set apart by {flags:#x}: {}", error.desc()),
        }
    }
    // SAFETY: the caller's.
    Errno::result(unsafe { libc::fork() })
}

/// Returns only if that fails.
fn become_program(
    image: &mut Image,
    cell: Option<&sandbox::Cell>,
    input: &OwnedFd,
    output: &OwnedFd,
) -> (Step, Errno) {
    let files = [(input, 0), (output, 1), (output, 2)];
    if let Err(cause) = files
        .into_iter()
        .try_for_each(|(from, to)| set_file(from, to))
    {
        return (Step::Files, cause);
    }
    default_signals();
    match prepare(cell) {
        Ok(()) => (Step::Exec, image.execute()),
        Err(failure) => failure,
    }
}

fn set_file(from: &OwnedFd, to: c_int) -> nix::Result<()> {
    // SAFETY: numbers are passed; nothing in this process relies on what was open as `to`.
    Errno::result(unsafe { libc::dup2(from.as_raw_fd(), to) }).map(drop)
}

/// All signals as they are for a program that nobody has prepared anything for.
fn default_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler of this process is set; the C library refuses those that it needs itself.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // It has no way to fail with this argument.
    let _ = SigSet::empty().thread_set_mask();
}

fn prepare(cell: Option<&sandbox::Cell>) -> Result<(), (Step, Errno)> {
    nix::unistd::setsid().map_err(|cause| (Step::Session, cause))?;
    usual_priority();
    // The kernel gives PID 1 a hard limit of 4096 files, too few for a server that has the machine to itself. The soft
    // limit stays: select(2) cannot work with higher numbers, and who can asks for more.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, 1024, OPEN_FILES);
    // The kernel never kills PID 1 for want of memory; among all others the app and what it starts come first.
    write_file(c"/proc/self/oom_score_adj", b"500");
    nix::unistd::chdir(c"/").map_err(|cause| (Step::Directory, cause))?;
    // Init's saved group is another one ([`hardening::guard`](crate::hardening::guard)). It has no way to fail.
    // SAFETY: numbers are passed, of which -1 changes nothing.
    unsafe { libc::syscall(libc::SYS_setresgid, -1, -1, libc::getgid()) };
    match cell {
        Some(cell) => cell.enter(),
        None => Ok(()),
    }
}

/// As a program expects it, whatever the priority of init's threads is. Best effort.
fn usual_priority() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads one structure; else numbers are passed.
    unsafe {
        libc::syscall(
            libc::SYS_sched_setscheduler,
            0,
            libc::SCHED_OTHER,
            &raw const parameters,
        );
        libc::syscall(libc::SYS_setpriority, libc::PRIO_PROCESS, 0, 0);
    }
}

/// Best effort.
fn write_file(path: &std::ffi::CStr, content: &[u8]) {
    // SAFETY: the path ends with a zero byte; the descriptor is the one just opened; the content is as long as said.
    unsafe {
        let file = libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, content.as_ptr().cast(), content.len());
            libc::close(file);
        }
    }
}

/// What execve(2) wants, in memory that is there already.
struct Image {
    words: Vec<CString>,
    /// Each with its zero byte.
    environment: Vec<Vec<u8>>,
    word_pointers: Vec<*const c_char>,
    environment_pointers: Vec<*const c_char>,
}

impl Image {
    fn new(command: &[String], environment: BTreeMap<String, String>) -> Result<Self, Error> {
        let word = |text: &String| {
            CString::new(text.as_str()).map_err(|_| Error::ZeroByte(text.to_owned()))
        };
        let words: Vec<_> = command.iter().map(word).collect::<Result<_, _>>()?;
        let environment: Vec<_> = environment
            .into_iter()
            .map(|(name, value)| Ok(word(&format!("{name}={value}"))?.into_bytes_with_nul()))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            word_pointers: Vec::with_capacity(words.len() + 1),
            environment_pointers: Vec::with_capacity(environment.len() + 1),
            words,
            environment,
        })
    }

    /// Becomes the program. Returns only if that fails.
    fn execute(&mut self) -> Errno {
        for variable in &mut self.environment {
            if variable == PLACE_OF_PID
                && let Some(value) = variable.get_mut(PLACE_OF_PID.len() - OWN_PID.len() - 1..)
            {
                write_number(value, std::process::id());
            }
        }
        // There is room for all of them: nothing is allocated.
        self.word_pointers
            .extend(self.words.iter().map(|word| word.as_ptr()));
        self.word_pointers.push(std::ptr::null());
        self.environment_pointers
            .extend(self.environment.iter().map(|entry| entry.as_ptr().cast()));
        self.environment_pointers.push(std::ptr::null());
        let Some(program) = self.words.first() else {
            return Errno::ENOENT;
        };
        // SAFETY: a path and two lists of strings, all ended as they have to be, and alive.
        unsafe {
            libc::execve(
                program.as_ptr(),
                self.word_pointers.as_ptr(),
                self.environment_pointers.as_ptr(),
            );
        }
        Errno::last()
    }
}

/// Writes a decimal number and a zero byte into `place`, which is long enough for any.
fn write_number(place: &mut [u8], number: u32) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut rest = number;
    if let Some(end) = place.get_mut(digits) {
        *end = 0;
    }
    for digit in place.iter_mut().take(digits).rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::WaitStatus;
    use std::io::Read;
    use std::path::Path;
    use std::time::{Duration, Instant};
    use tokio::time::timeout;

    async fn output(words: &[&str], environment: &[(&str, &str)]) -> Result<(Pid, String), Error> {
        let (mut reader, writer) = io::pipe()?;
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut starting = spawn(&words, environment, None, writer.into(), &Place::default())?;
        let outcome = starting.outcome().await;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        let _ = nix::sys::wait::waitpid(starting.pid, None);
        outcome.map(|()| (starting.pid, text))
    }

    #[tokio::test]
    async fn the_program_has_its_words_and_variables_and_knows_its_id() -> Result<(), Error> {
        let variables = [("A", OWN_PID), ("WATCHDOG_PID", OWN_PID)];
        let script = "echo $0 $$ $A $WATCHDOG_PID; read line || pwd";
        let (pid, text) = output(&["/bin/sh", "-c", script, "name"], &variables).await?;
        assert_eq!(text, format!("name {pid} 0000000000 {pid}\n/\n"));
        Ok(())
    }

    #[tokio::test]
    async fn no_signal_is_blocked_or_ignored_in_it() -> Result<(), Error> {
        // Rust has SIGPIPE ignored in this process.
        for name in ["PIPE", "TERM", "HUP"] {
            let script = format!("echo {name}; kill -{name} $$; echo it is still there");
            let (_, text) = output(&["/bin/sh", "-c", &script], &[]).await?;
            assert_eq!(text, format!("{name}\n"));
        }
        Ok(())
    }

    #[tokio::test]
    async fn its_priority_is_the_usual_one() -> Result<(), Error> {
        // What any process may do and undo: SCHED_BATCH, as field 41 of proc_pid_stat(5) tells.
        let parameters = libc::sched_param { sched_priority: 0 };
        // SAFETY: the kernel reads one structure. The thread is this test's own.
        let result =
            unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
        Errno::result(result).map_err(io::Error::from)?;
        let script = "read line < /proc/$$/stat; set -- ${line##*) }; echo ${17} ${39}";
        let (_, text) = output(&["/bin/sh", "-c", script], &[]).await?;
        assert_eq!(text, "0 0\n");
        Ok(())
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_had_is_done_without() -> Result<(), Error> {
        let (mut reader, writer) = io::pipe()?;
        let place = Place {
            group: Some(File::open("/")?.into()),
            own_ipc: false,
        };
        let words = ["/bin/sh", "-c", "echo here"].map(str::to_owned);
        let mut starting = spawn(&words, BTreeMap::new(), None, writer.into(), &place)?;
        starting.outcome().await?;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        let _ = nix::sys::wait::waitpid(starting.pid, None);
        assert_eq!(text, "here\n");
        Ok(())
    }

    #[tokio::test]
    async fn what_failed_is_named() -> Result<(), Error> {
        for (word, expected) in [
            ("/nowhere", "No such file or directory"),
            ("/", "Permission denied"),
            ("/bin/a\0b", "\"/bin/a\\0b\" has a zero byte in it"),
        ] {
            let result = output(&[word], &[]).await;
            let sentence = result.map_or_else(|error| error.to_string(), |(_, text)| text);
            assert_eq!(sentence, expected);
        }
        let words = ["/bin/true".to_owned()];
        let limits = r#"{"limits":{"NOFILE":18446744073709551615}}"#;
        let sandbox = serde_json::from_str(limits).map_err(io::Error::from)?;
        let (_, writer) = io::pipe()?;
        let mut starting = spawn(
            &words,
            BTreeMap::new(),
            Some(sandbox),
            writer.into(),
            &Place::default(),
        )?;
        assert_eq!(
            starting.outcome().await.map_err(|error| error.to_string()),
            Err("its limits cannot be set: Operation not permitted".to_owned())
        );
        let _ = nix::sys::wait::waitpid(starting.pid, None);
        assert_eq!(
            told(failed((Step::Session, Errno::EPERM))).to_string(),
            "its session cannot be made: Operation not permitted"
        );
        Ok(())
    }

    /// F_SETSIG (include/uapi/asm-generic/fcntl.h), which the crate has not.
    const SET_SIGNAL: c_int = 10;

    /// Has each open(2) of the file wait, as if the medium stalled.
    async fn stalled(path: &Path) -> io::Result<OwnedFd> {
        let file = OwnedFd::from(File::open(path)?);
        // The kernel says by a signal that somebody waits, by default one that kills.
        // SAFETY: numbers are passed.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), SET_SIGNAL, libc::SIGWINCH) })?;
        for _ in 0..100 {
            // SAFETY: numbers are passed.
            let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
            match Errno::result(result) {
                // A process that another test has just forked has the file too, until it executes its program.
                Err(Errno::EAGAIN) => tokio::time::sleep(Duration::from_millis(50)).await,
                other => return other.map(|_| file).map_err(io::Error::from),
            }
        }
        Err(Errno::EAGAIN.into())
    }

    /// Not by closing it: the new process has a copy.
    fn goes_on(medium: &OwnedFd) -> io::Result<()> {
        // SAFETY: numbers are passed.
        let result = unsafe { libc::fcntl(medium.as_raw_fd(), libc::F_SETLEASE, libc::F_UNLCK) };
        Errno::result(result)?;
        Ok(())
    }

    #[tokio::test]
    async fn a_medium_that_stalls_holds_up_only_the_program_on_it() -> Result<(), Error> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("sh");
        std::fs::copy("/bin/sh", &path)?;
        let words = [path.display().to_string(), "-c".into(), "exit 0".into()];
        let start = || {
            let (_, writer) = io::pipe()?;
            spawn(
                &words,
                BTreeMap::new(),
                None,
                writer.into(),
                &Place::default(),
            )
        };
        let begin = Instant::now();
        let medium = stalled(&path).await?;
        let mut starting = start()?;
        let waited = timeout(Duration::from_millis(300), starting.outcome()).await;
        assert!(waited.is_err(), "{waited:?}");
        goes_on(&medium)?;
        starting.outcome().await?;
        assert_eq!(
            nix::sys::wait::waitpid(starting.pid, None),
            Ok(WaitStatus::Exited(starting.pid, 0))
        );

        drop(medium);
        let _medium = stalled(&path).await?;
        let mut starting = start()?;
        let waited = timeout(Duration::from_millis(300), starting.outcome()).await;
        assert!(waited.is_err(), "{waited:?}");
        // Who is asked to stop before its program runs stops.
        kill(starting.pid, Signal::SIGTERM).map_err(io::Error::from)?;
        starting.outcome().await?;
        assert_eq!(
            nix::sys::wait::waitpid(starting.pid, None),
            Ok(WaitStatus::Signaled(starting.pid, Signal::SIGTERM, false))
        );
        // The kernel lets a lease be broken after 45 s anyway.
        assert!(begin.elapsed() < Duration::from_secs(30));
        Ok(())
    }

    #[test]
    fn a_number_is_written_with_its_end() {
        for number in [0, 7, 10, 4_194_304, u32::MAX] {
            let mut place = *b"0000000000\0";
            write_number(&mut place, number);
            let text = std::ffi::CStr::from_bytes_until_nul(&place).map(|text| text.to_str());
            assert_eq!(text, Ok(Ok(number.to_string().as_str())));
        }
    }
}
