//! `/init` as another process than PID 1: the program that the kernel starts for its own needs (usermode helpers).
//!
//! The kernel is built so that each of its helpers is `/init`, whatever path it asks for (CONFIG_STATIC_USERMODEHELPER); the
//! path comes as `argv[0]`. Two of them mean something here: modprobe, and the orderly power-off and reboot of a thermal zone, of
//! Hyper-V and of Xen. All others end with a failure: a core dump's pipe, a control group's release agent, request-key.
//!
//! Everybody may run `/init`, and gains nothing by it: a module needs CAP_SYS_MODULE, a signal to process 1 its user or CAP_KILL.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use nix::errno::Errno;
use nix::libc;

use crate::drivers;

/// The kernel's orderly power-off, as a signal to process 1 (the numbers are those of systemd's PID 1: SIGRTMIN+4 and +5).
pub const POWER_OFF: i32 = FIRST_REAL_TIME + 4;
/// Its orderly reboot.
pub const REBOOT: i32 = FIRST_REAL_TIME + 5;
/// SIGRTMIN of the C library, which keeps two for itself.
const FIRST_REAL_TIME: i32 = 34;

/// The capabilities that a helper can have: CAP_SYS_MODULE, in the kernel's two words of 32 bits.
const MODULES_ONLY: &str = "65536 0";
const NONE: &str = "0 0";
const LIMITS: &str = "/proc/sys/kernel/usermodehelper";

/// Work that the kernel asks of a helper.
#[derive(Debug, PartialEq, Eq)]
enum Work<'a> {
    Module(&'a str),
    Signal(i32),
}

/// Does the work that the kernel asks for with these arguments, the program's name first.
pub fn run(arguments: impl Iterator<Item = String>) -> ExitCode {
    let words: Vec<String> = arguments.take(4).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match work(&words) {
        Some(Work::Module(name)) => drivers::load(name).is_ok(),
        Some(Work::Signal(number)) => signal_init(number).is_ok(),
        None => false,
    };
    if done {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn work<'a>(words: &[&'a str]) -> Option<Work<'a>> {
    let (path, rest) = words.split_first()?;
    let name = path.rsplit('/').next().unwrap_or_default();
    match (name, rest) {
        // A kernel that takes other paths is told "/init" and "/init poweroff".
        ("modprobe" | "init", ["-q", "--", module, ..]) => Some(Work::Module(module)),
        ("poweroff", _) | ("init", ["poweroff", ..]) => Some(Work::Signal(POWER_OFF)),
        ("reboot", _) => Some(Work::Signal(REBOOT)),
        _ => None,
    }
}

fn signal_init(number: i32) -> nix::Result<()> {
    // SAFETY: numbers are passed. nix's own has no name for a real-time signal.
    Errno::result(unsafe { libc::kill(1, number) }).map(drop)
}

/// Takes from the kernel's helpers all capabilities but the one for loading modules. A helper that a program could put in
/// the place of `/init` would have no more than that.
pub fn limit() {
    set_limits(Path::new(LIMITS), MODULES_ONLY);
}

/// Takes that one too: no module is loaded any more.
pub fn limit_to_nothing() {
    set_limits(Path::new(LIMITS), NONE);
}

fn set_limits(directory: &Path, value: &str) {
    for name in ["bset", "inheritable"] {
        match fs::write(directory.join(name), value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => log::error!(
                "hardening: the kernel's helpers keep all capabilities: {name} cannot be set to {value}: {error}"
            ),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_of_the_kernel_has_its_work() {
        for (words, expected) in [
            (
                &["/sbin/modprobe", "-q", "--", "net-pf-5"][..],
                Some(Work::Module("net-pf-5")),
            ),
            (
                &["/init", "-q", "--", "fs-xfs"],
                Some(Work::Module("fs-xfs")),
            ),
            (&["/sbin/poweroff"], Some(Work::Signal(POWER_OFF))),
            (&["/init", "poweroff"], Some(Work::Signal(POWER_OFF))),
            (&["/sbin/reboot"], Some(Work::Signal(REBOOT))),
            // mdev, request-key, a release agent, a core dump, a program that somebody set.
            (&["/sbin/hotplug", "block"], None),
            (&["/sbin/request-key", "create", "1", "0", "0"], None),
            (&["/init", "/a/group"], None),
            (&["/sbin/modprobe", "-r", "--", "ext4"], None),
            (&["/run/x", "-q", "--", "ext4"], None),
            (&["/init"], None),
            (&[""], None),
            (&[], None),
        ] {
            assert_eq!(work(words), expected, "{words:?}");
        }
        assert_eq!(FIRST_REAL_TIME, libc::SIGRTMIN());
    }

    #[test]
    fn capabilities_are_two_words_and_a_kernel_without_the_switches_is_left_alone() -> io::Result<()>
    {
        let directory = tempfile::tempdir()?;
        set_limits(directory.path().join("none").as_path(), NONE);
        set_limits(directory.path(), MODULES_ONLY);
        assert_eq!(
            fs::read_to_string(directory.path().join("bset"))?,
            "65536 0"
        );
        assert_eq!(1 << 16, 65536);
        Ok(())
    }
}
