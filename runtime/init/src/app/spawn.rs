//! The app's new process, between fork and exec: only system calls, no memory and no locks, for the copy of a process with
//! threads can have neither. Everything that needs memory is prepared before.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc::{self, c_char};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::Pid;

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
    /// setsid(2)
    Session = 1,
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
    /// chdir(2)
    Directory,
    /// execve(2)
    Exec,
}

impl Step {
    const ALL: [Self; 10] = [
        Self::Session,
        Self::Limits,
        Self::Namespace,
        Self::Tmp,
        Self::ReadOnly,
        Self::Capabilities,
        Self::User,
        Self::NoNewPrivileges,
        Self::Directory,
        Self::Exec,
    ];
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session => "session cannot be made",
            Self::Limits => "limits cannot be set",
            Self::Namespace => "view of the file systems cannot be made",
            Self::Tmp => "own /tmp cannot be mounted",
            Self::ReadOnly => "root directory cannot be made read-only",
            Self::Capabilities => "capabilities cannot be set",
            Self::User => "user cannot be changed",
            Self::NoNewPrivileges => "programs cannot be kept from gaining privileges",
            Self::Directory => "directory cannot be entered",
            Self::Exec => "program cannot be executed",
        })
    }
}

/// `cause` and the step in one number: the standard library brings one number from the new process to its parent.
fn failed(step: Step, cause: Errno) -> io::Error {
    io::Error::from_raw_os_error(((step as i32) << STEP) | cause as i32)
}

/// The kernel's error numbers end at 4095.
const STEP: u32 = 12;

fn told(error: io::Error) -> Error {
    let Some(number) = error.raw_os_error() else {
        return Error::Fork(error);
    };
    let cause = Errno::from_raw(number & ((1 << STEP) - 1));
    match Step::ALL
        .into_iter()
        .find(|step| *step as i32 == number >> STEP)
    {
        None => Error::Fork(error),
        Some(Step::Exec) => Error::Exec(cause),
        Some(step) => Error::Step { step, cause },
    }
}

/// Starts `command`, whose first word is a path, in a session of its own, with `environment` and nothing else, `output` as
/// standard output and error, nothing to read, and shut in by `sandbox`.
///
/// # Errors
///
/// What could not be done before or in the new process, up to its execve(2).
pub fn spawn(
    command: &[String],
    environment: BTreeMap<String, String>,
    sandbox: Option<Sandbox>,
    output: OwnedFd,
) -> Result<Pid, Error> {
    let mut image = Image::new(command, environment)?;
    let program = command.first().map_or("", String::as_str);
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output);
    // SAFETY: the closure makes system calls only and takes neither a lock nor memory.
    unsafe {
        command.pre_exec(move || {
            prepare(sandbox.as_ref())?;
            Err(failed(Step::Exec, image.execute()))
        })
    };
    // The standard library makes the process, sets its standard files and its signals up and tells of the closure's error. The
    // pipe's writing end lives in `command`: it must not outlive this call, or the output would never end.
    let child = command.spawn().map_err(told)?;
    Ok(Pid::from_raw(child.id().cast_signed()))
}

fn prepare(sandbox: Option<&Sandbox>) -> io::Result<()> {
    nix::unistd::setsid().map_err(|cause| failed(Step::Session, cause))?;
    // The kernel gives PID 1 a hard limit of 4096 files, too few for a server that has the machine to itself. The soft
    // limit stays: select(2) cannot work with higher numbers, and who can asks for more.
    let _ = setrlimit(Resource::RLIMIT_NOFILE, 1024, OPEN_FILES);
    // The kernel never kills PID 1 for want of memory; among all others the app and what it starts come first.
    write_file(c"/proc/self/oom_score_adj", b"500");
    if let Some(sandbox) = sandbox {
        sandbox::enter_sandbox(sandbox).map_err(|(step, cause)| failed(step, cause))?;
    }
    nix::unistd::chdir(c"/").map_err(|cause| failed(Step::Directory, cause))
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

// SAFETY: the pointers are written and read in the same call of `execute`, and point to what the value itself owns.
unsafe impl Send for Image {}
// SAFETY: as above; `execute` has the value for itself.
unsafe impl Sync for Image {}

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
    use std::io::Read;

    fn output(words: &[&str], environment: &[(&str, &str)]) -> Result<(Pid, String), Error> {
        let (mut reader, writer) = io::pipe()?;
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let environment = environment
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let pid = spawn(&words, environment, None, writer.into())?;
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        let _ = nix::sys::wait::waitpid(pid, None);
        Ok((pid, text))
    }

    #[test]
    fn the_program_has_its_words_and_variables_and_knows_its_id() -> Result<(), Error> {
        let variables = [("A", OWN_PID), ("WATCHDOG_PID", OWN_PID)];
        let script = "echo $0 $$ $A $WATCHDOG_PID; read line || pwd";
        let (pid, text) = output(&["/bin/sh", "-c", script, "name"], &variables)?;
        assert_eq!(text, format!("name {pid} 0000000000 {pid}\n/\n"));
        Ok(())
    }

    #[test]
    fn what_failed_is_named() {
        let sentence = |words: &[&str]| {
            output(words, &[]).map_or_else(|error| error.to_string(), |(_, text)| text)
        };
        assert_eq!(sentence(&["/nowhere"]), "No such file or directory");
        assert_eq!(sentence(&["/"]), "Permission denied");
        assert_eq!(
            sentence(&["/bin/a\0b"]),
            "\"/bin/a\\0b\" has a zero byte in it"
        );
        let words = ["/bin/true".to_owned()];
        let limits = r#"{"limits":{"NOFILE":18446744073709551615}}"#;
        let refused = || -> Result<Pid, Error> {
            let sandbox = serde_json::from_str(limits).map_err(io::Error::from)?;
            let (_, writer) = io::pipe()?;
            spawn(&words, BTreeMap::new(), Some(sandbox), writer.into())
        };
        assert_eq!(
            refused().map_err(|error| error.to_string()),
            Err("its limits cannot be set: Operation not permitted".to_owned())
        );
        assert_eq!(
            told(failed(Step::Session, Errno::EPERM)).to_string(),
            "its session cannot be made: Operation not permitted"
        );
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
