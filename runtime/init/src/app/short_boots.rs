//! How many boots in a row ended early, kept where it outlives them. Best effort: without a disk each boot is the first.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::own_files::{self, Sync};

const FILE: &str = "boot-failures";
/// A disk that hangs must not hold up the reboot that may cure it.
const PATIENCE: Duration = Duration::from_secs(3);

/// Counts one more below `persistent`; the new number, 1 when nothing is known.
pub async fn count(persistent: Option<PathBuf>) -> u32 {
    let Some(persistent) = persistent else {
        return 1;
    };
    let work = tokio::task::spawn_blocking(move || add_one(&persistent));
    match tokio::time::timeout(PATIENCE, work).await {
        Ok(Ok(Ok(count))) => count,
        Ok(Ok(Err(error))) => {
            log::warn!("app: the number of short boots cannot be kept: {error}");
            1
        }
        _ => 1,
    }
}

/// Forgets them.
pub fn forget(persistent: Option<PathBuf>) {
    if let Some(persistent) = persistent {
        // Whether it is gone matters to no one here.
        drop(tokio::task::spawn_blocking(move || {
            own_files::remove(&persistent, FILE)
        }));
    }
}

fn add_one(persistent: &Path) -> io::Result<u32> {
    // A file with other content counts as none.
    let before: u32 = own_files::read(persistent, FILE)
        .ok()
        .and_then(|text| std::str::from_utf8(&text).ok()?.trim().parse().ok())
        .unwrap_or(0);
    let count = before.saturating_add(1);
    own_files::replace(persistent, FILE, format!("{count}\n").as_bytes(), Sync::Now)?;
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn file(persistent: &Path) -> PathBuf {
        persistent.join(own_files::DIRECTORY).join(FILE)
    }

    #[tokio::test]
    async fn no_link_on_a_disk_is_followed() -> io::Result<()> {
        let (directory, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let persistent = || Some(directory.path().to_owned());
        symlink(other.path(), directory.path().join(".tinyboot"))?;
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(fs::read_dir(other.path())?.count(), 0);

        fs::remove_file(directory.path().join(".tinyboot"))?;
        assert_eq!(count(persistent()).await, 1);
        let victim = other.path().join("victim");
        fs::write(&victim, "9")?;
        symlink(&victim, file(directory.path()).with_extension("new"))?;
        assert_eq!(count(persistent()).await, 2);
        assert_eq!(fs::read(&victim)?, b"9");
        Ok(())
    }

    #[tokio::test]
    async fn the_count_goes_on_and_garbage_starts_it_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let persistent = || Some(directory.path().to_owned());
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(count(persistent()).await, 2);
        fs::write(file(directory.path()), "many")?;
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(count(None).await, 1);
        Ok(())
    }
}
