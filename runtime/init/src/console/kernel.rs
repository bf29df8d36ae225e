//! The kernel's lines. It prints those that matter to the consoles itself until init runs; from then on init does, among its own
//! and the app's lines, and puts each of them into the log. The kernel's own printing is switched off meanwhile
//! (SYSLOG_ACTION_CONSOLE_LEVEL of syslog(2)), so that no line is there twice; a panic or an oops switches it on again by
//! itself, and so does init at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::atomic::{AtomicI32, Ordering};

use nix::errno::Errno;
use nix::libc;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::kmsg::{self, Record};
use super::{Source, tell};

const DEVICE: &str = "/dev/kmsg";
const LEVELS: &str = "/proc/sys/kernel/printk";
/// Longer than any record (`PRINTK_MESSAGE_MAX`); a buffer that is too short for one is an error.
const LONGEST: usize = 8192;
/// After so many records others have their turn.
const ROUND: usize = 64;
/// Not less than that: the least level is for emergencies alone.
const QUIET: i32 = 1;
/// The level that the kernel printed at when init took over; 0 as long as it has not.
static LEVEL: AtomicI32 = AtomicI32::new(0);

/// How the kernel says that the hypervisor gave the machine another generation id: it goes on from a snapshot, perhaps not for the
/// first time. There is no event of it.
const RESTORED: &[u8] = b"random: crng reseeded due to virtual machine fork";

/// Takes the kernel's lines over and follows them; `restored` is told when one says that this machine goes on from a snapshot. Ends
/// when they cannot be read any more.
pub async fn run(restored: watch::Sender<()>) {
    if let Err(error) = follow(&restored).await {
        log::warn!("console: the kernel's lines are no longer read: {error}");
        give_back();
    }
}

/// Lets the kernel print to the consoles again, as it did before init took over.
pub fn give_back() {
    let level = LEVEL.swap(0, Ordering::Relaxed);
    if level > 0 {
        set_level(level);
    }
}

async fn follow(restored: &watch::Sender<()>) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(DEVICE)?;
    // SAFETY: the file is only read; it is neither replaced nor closed while it is registered.
    let device = unsafe { AsyncFd::register_with_interest(file, Interest::READABLE) }?;
    // What the kernel has printed itself.
    while let Some(record) = next(device.get_ref())? {
        say(record, 0);
    }
    let level = current_level();
    LEVEL.store(level, Ordering::Relaxed);
    set_level(QUIET);
    loop {
        let mut ready = device.readable().await?;
        for _ in 0..ROUND {
            match next(device.get_ref())? {
                Some(record) => {
                    let tells = record.as_ref().is_some_and(tells_of_restoring);
                    say(record, level);
                    if tells {
                        restored.send_replace(());
                    }
                }
                None => {
                    ready.clear_ready();
                    break;
                }
            }
        }
        drop(ready);
        tokio::task::yield_now().await;
    }
}

/// Only the kernel's own word counts, and the whole of it: a program chooses names that are in other records.
fn tells_of_restoring(record: &Record) -> bool {
    record.is_kernel && record.text == RESTORED
}

/// Puts a record into the log, and on the consoles if it is more severe than `level` and the kernel does not do that.
fn say(record: Option<Record>, level: i32) {
    let Some(record) = record else { return };
    let severity = i32::from(record.severity);
    let shown = severity < level && severity >= current_level();
    let source = if record.is_kernel {
        Source::Kernel
    } else {
        Source::Kmsg
    };
    // One record is one line, and a line feed in it is shown as `\x0a`: names of processes and files are in there, and whoever chose
    // them is not to choose how a line of the kernel begins.
    tell(record.at, source, record.severity, &record.text, shown);
}

/// The next record, `None` in it if it is not understood; `None` when there is none yet.
fn next(mut device: &File) -> io::Result<Option<Option<Record>>> {
    let mut buffer = [0; LONGEST];
    loop {
        match device.read(&mut buffer) {
            Ok(length) => {
                return Ok(Some(kmsg::parse(buffer.get(..length).unwrap_or_default())));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            // Overwritten before they were read; the next read begins with the oldest that is left.
            Err(error) if error.raw_os_error() == Some(Errno::EPIPE as i32) => {
                log::warn!("console: lines of the kernel were lost, it spoke too fast");
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// More severe messages than this one's number the kernel prints itself.
fn current_level() -> i32 {
    let text = fs::read_to_string(LEVELS).unwrap_or_default();
    let first = text.split_ascii_whitespace().next();
    first.and_then(|level| level.parse().ok()).unwrap_or(QUIET)
}

fn set_level(level: i32) {
    const CONSOLE_LEVEL: i32 = 8;
    // SAFETY: this action takes a number and no buffer.
    if unsafe { libc::klogctl(CONSOLE_LEVEL, std::ptr::null_mut(), level) } < 0 {
        log::warn!(
            "console: the kernel's lines appear twice: {}",
            Errno::last().desc()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::REMOTE;
    use std::time::Duration;

    #[test]
    fn only_the_kernels_own_word_tells_of_a_restored_snapshot() {
        let told = |record: &[u8]| kmsg::parse(record).as_ref().is_some_and(tells_of_restoring);
        assert!(told(
            b"5,300,61000000,-;random: crng reseeded due to virtual machine fork\n"
        ));
        for other in [
            // A process wrote it into /dev/kmsg.
            &b"13,300,61000000,-;random: crng reseeded due to virtual machine fork\n"[..],
            b"6,300,61000000,-;x\\x0arandom: crng reseeded due to virtual machine fork\n",
            b"6,300,61000000,-;random: crng reseeded due to virtual machine fork' started\n",
            b"5,300,61000000,-;random: crng init done\n",
        ] {
            assert!(!told(other), "{}", String::from_utf8_lossy(other));
        }
    }

    #[test]
    fn a_record_is_one_line_whatever_names_are_in_it() {
        let record = Record {
            severity: 3,
            is_kernel: true,
            at: Duration::ZERO,
            text: b"Out of memory: Killed process 61 (x\nmce: CPU0 dead)".to_vec(),
        };
        say(Some(record), 0);
        let line = REMOTE.take().map(|line| (line.source, line.text));
        let text = "Out of memory: Killed process 61 (x\\x0amce: CPU0 dead)";
        assert_eq!(line, Some((Source::Kernel, text.into())));
        assert_eq!(REMOTE.take(), None);
    }
}
