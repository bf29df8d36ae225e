//! How the boot before this one ended, and its last lines: told after the next boot, on the console, in the status and in two
//! files below `/run/tinyboot`.
//!
//! A record on `/persistent` says that the machine runs; at its end, or when init has a fault, the cause replaces that. A record
//! that still says so at the next boot means that nobody could write another one: the power went, the machine was reset, or the
//! kernel panicked. The kernel tells the last by pstore, where the machine has a place for it, and the watchdog whether it was the
//! one who reset.

pub(crate) mod pstore;
pub(crate) mod record;

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tinyboot::status::{Ended, Previous, Status};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::own_files::{self, Sync};
use crate::power::watchdog;
use crate::status::Board;
use crate::{console, files, threads};
use pstore::Panic;

/// Where the app reads the last lines of the boot before, and what the kernel said in its panic.
const LOG: &str = "/run/tinyboot/log.previous";
const KERNEL: &str = "/run/tinyboot/kernel.previous";
const PERSISTENT: &str = "/persistent";
/// In init's directory on `/persistent`.
const RECORD: &str = "ending";
const SAVED_LOG: &str = "log";
/// How much of the log is kept.
const LOG_LENGTH: u64 = 64 * 1024;
/// For the firmware's variables.
const PSTORE: Duration = Duration::from_secs(20);
/// For the end's record: a disk that hangs must not hold up the machine.
const PATIENCE: Duration = Duration::from_secs(2);
/// For the last lines to reach the log.
const LAST_LINES: Duration = Duration::from_millis(100);

/// Finds out how the boot before ended, as soon as there is somebody who tells it, and begins the record of this one.
pub async fn run(board: Board, mut persistent: watch::Receiver<Option<PathBuf>>) {
    let panic = timeout(PSTORE, threads::DEVICES.run(pstore::take)).await;
    let panic = panic.ok().flatten();
    let told = if let Some(panic) = &panic {
        Some(of_panic(panic))
    } else {
        watchdog::has_restarted().then(|| Previous {
            ended: Ended::Watchdog,
            ..Previous::default()
        })
    };
    if let Some(told) = &told {
        tell(&board, told.clone());
    }
    let place = match persistent.wait_for(Option::is_some).await {
        Ok(place) => place.clone(),
        Err(_) => return,
    };
    let Some(place) = place else { return };
    match threads::FILES.run(move || begin(&place)).await {
        Ok(Some(recorded)) if told.is_none() => tell(&board, recorded),
        Ok(_) => {}
        Err(error) => log::warn!("boot: its end cannot be recorded on /persistent: {error}"),
    }
}

fn of_panic(panic: &Panic) -> Previous {
    if let Err(error) = files::replace(Path::new(KERNEL), panic.text.as_bytes()) {
        log::warn!("boot: {KERNEL} cannot be written: {error}");
    }
    Previous {
        ended: Ended::KernelPanic,
        reason: panic.cause.clone(),
        app_exit: None,
    }
}

fn tell(board: &Board, previous: Previous) {
    log::info!("boot: the one before {}", record::sentence(&previous));
    board.update(|status| status.previous = Some(previous));
}

/// Reads the record of the boot before and its log, and begins this one's.
fn begin(persistent: &Path) -> io::Result<Option<Previous>> {
    let recorded = match own_files::read(persistent, RECORD) {
        Ok(text) => Some(record::parse(&text)),
        Err(_) => None,
    };
    if let Ok(log) = own_files::read_up_to(persistent, SAVED_LOG, LOG_LENGTH) {
        files::replace(Path::new(LOG), record::lines(&log).as_bytes())?;
        // It is that of one boot.
        own_files::remove(persistent, SAVED_LOG)?;
    }
    let running = record::format(&Previous::default());
    own_files::overwrite(persistent, RECORD, &running, Sync::Now)?;
    Ok(recorded)
}

/// Records an end in order, and keeps the last lines. To be called when the app has ended, before the disks are synced.
pub async fn stopped(status: &Status, persistent: Option<PathBuf>) {
    let Some(persistent) = persistent else { return };
    let reason = status
        .shutdown
        .as_ref()
        .map(|shutdown| format!("{}: {}", shutdown.reason, shutdown.action));
    let previous = Previous {
        ended: Ended::Stopped,
        reason,
        app_exit: status.app.last_exit.clone(),
    };
    let work = threads::FILES.run(move || {
        console::flush(LAST_LINES);
        keep(&persistent, &previous)
    });
    match timeout(PATIENCE, work).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => log::warn!("boot: its end cannot be recorded on /persistent: {error}"),
        Err(_) => log::warn!(
            "boot: its end was not recorded on /persistent within {} s",
            PATIENCE.as_secs()
        ),
    }
}

/// Records a fault of init. Blocks as long as the disk does.
pub fn fault(text: &str) {
    let previous = Previous {
        ended: Ended::InitFault,
        reason: Some(text.to_owned()),
        app_exit: None,
    };
    // There is nobody left to tell.
    let _ = keep(Path::new(PERSISTENT), &previous);
}

fn keep(persistent: &Path, previous: &Previous) -> io::Result<()> {
    // All of the disk is synced right afterwards.
    own_files::overwrite(persistent, RECORD, &record::format(previous), Sync::Later)?;
    own_files::replace(persistent, SAVED_LOG, &last_lines()?, Sync::Later)
}

/// The end of the machine's log.
fn last_lines() -> io::Result<Vec<u8>> {
    let mut text = tail(Path::new(console::LOG), LOG_LENGTH)?;
    let missing = LOG_LENGTH.saturating_sub(text.len() as u64);
    if missing > 0
        && let Ok(mut older) = tail(&Path::new(console::LOG).with_extension("old"), missing)
    {
        older.append(&mut text);
        text = older;
    }
    Ok(text)
}

fn tail(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let begin = fs::metadata(path)?.len().saturating_sub(length);
    file.seek(SeekFrom::Start(begin))?;
    let mut text = Vec::new();
    file.take(length).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stopped(reason: &str) -> Previous {
        Previous {
            ended: Ended::Stopped,
            reason: Some(reason.to_owned()),
            app_exit: Some("exited with status 3".to_owned()),
        }
    }

    #[test]
    fn an_end_is_told_once_and_then_one_that_nobody_recorded() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let place = directory.path();
        assert_eq!(begin(place)?, None);
        assert_eq!(begin(place)?, Some(Previous::default()));
        let end = stopped("power button: poweroff");
        own_files::overwrite(place, RECORD, &record::format(&end), Sync::Now)?;
        assert_eq!(begin(place)?, Some(end));
        assert_eq!(begin(place)?, Some(Previous::default()));
        Ok(())
    }

    #[test]
    fn the_end_of_a_file_is_its_last_bytes() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("log");
        fs::write(&path, "0123456789")?;
        assert_eq!(tail(&path, 4)?, b"6789");
        assert_eq!(tail(&path, 40)?, b"0123456789");
        Ok(())
    }
}
