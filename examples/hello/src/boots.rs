//! What outlives a reboot: how often the machine was booted, and how it was stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tinyboot::Machine;

use crate::page::Page;
use crate::say::{say, warn};

/// What can go wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written or synced.
    #[error("{} cannot be kept: {source}.", .path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The thread that waits for the disk is gone.
    #[error("The thread for the disk ended early: {0}.")]
    Thread(#[from] tokio::task::JoinError),
}

/// Counts this boot as soon as there is a disk; none may ever come.
pub async fn count(machine: Machine, page: Arc<Page>) {
    let mut changes = machine.changes();
    let disk = changes.wait_for(|status| status.storage.persistent.is_some());
    let Some(Ok(_)) = machine.token().run_until_cancelled(disk).await else {
        return;
    };
    let Some(directory) = machine.persistent() else {
        return;
    };
    if let Some(number) = warn(blocking(move || increment(&directory)).await) {
        say(format_args!("boot number {number}"));
        warn(machine.notify_status(&format!("boot number {number}")));
        page.set_boot(number);
    }
}

/// Runs what waits for a disk on a thread of its own, so that it holds up nothing else.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await?
}

/// Adds one to the number in the file `boots` and returns it. After a crash the file holds the old number or the new.
fn increment(directory: &Path) -> Result<u64, Error> {
    let path = directory.join("boots");
    let number = read(&path)
        .map_err(|source| Error::Io {
            path: path.clone(),
            source,
        })?
        .saturating_add(1);
    replace(directory, "boots", format!("{number}\n").as_bytes())?;
    Ok(number)
}

/// The number in the file; 0 if there is none.
fn read(path: &Path) -> io::Result<u64> {
    let mut text = String::new();
    match File::open(path) {
        Ok(file) => file.take(64).read_to_string(&mut text)?,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    text.trim().parse().map_err(|_| {
        io::Error::new(
            ErrorKind::InvalidData,
            format!("it holds {text:?} and no number"),
        )
    })
}

/// Replaces a file as a whole: the content reaches the disk before the name, and the name before this returns.
fn replace(directory: &Path, name: &str, content: &[u8]) -> Result<(), Error> {
    let new = directory.join(format!(".{name}.new"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, directory.join(name))?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| Error::Io {
        path: directory.join(name),
        source,
    })
}

/// Appends a line to the file `log`; it is on the disk when this returns.
pub fn append(directory: &Path, line: &str) -> Result<(), Error> {
    let path = directory.join("log");
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).create(true).open(&path)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_all()?;
        File::open(directory)?.sync_all()
    };
    write().map_err(|source| Error::Io {
        path: path.clone(),
        source,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn boots_are_counted_from_one() {
        let directory = tempfile::tempdir().unwrap();
        let numbers: Vec<_> = (0..3)
            .map(|_| increment(directory.path()).unwrap())
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        assert_eq!(
            fs::read_to_string(directory.path().join("boots")).unwrap(),
            "3\n"
        );
        assert_eq!(
            fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing else is left"
        );
    }

    #[test]
    fn what_is_no_number_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("boots");
        fs::write(&path, "many").unwrap();
        let error = increment(directory.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} cannot be kept: it holds \"many\" and no number.",
                path.display()
            )
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "many");
    }

    #[test]
    fn the_greatest_number_does_not_overflow() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("boots"), u64::MAX.to_string()).unwrap();
        assert_eq!(increment(directory.path()).unwrap(), u64::MAX);
    }

    #[test]
    fn a_directory_that_is_not_there_is_one_sentence() {
        let error = increment(Path::new("/nonexistent")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/nonexistent/boots cannot be kept: No such file or directory (os error 2)."
        );
    }

    #[test]
    fn lines_are_appended() {
        let directory = tempfile::tempdir().unwrap();
        append(directory.path(), "one").unwrap();
        append(directory.path(), "two").unwrap();
        assert_eq!(
            fs::read_to_string(directory.path().join("log")).unwrap(),
            "one\ntwo\n"
        );
    }
}
