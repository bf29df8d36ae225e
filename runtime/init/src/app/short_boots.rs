//! How many boots in a row ended early, kept where it outlives them. Best effort: without a disk each boot is the first.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

const FILE: &str = ".tinyboot/boot-failures";
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
    if let Some(path) = persistent.map(|persistent| persistent.join(FILE)) {
        // Whether it is gone matters to no one here.
        drop(tokio::task::spawn_blocking(move || fs::remove_file(path)));
    }
}

fn add_one(persistent: &Path) -> io::Result<u32> {
    let path = persistent.join(FILE);
    // A file with other content counts as none.
    let before: u32 = fs::read_to_string(&path)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    let count = before.saturating_add(1);
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    writeln!(file, "{count}")?;
    file.sync_all()?;
    fs::rename(&beside, &path)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_count_goes_on_and_garbage_starts_it_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let persistent = || Some(directory.path().to_owned());
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(count(persistent()).await, 2);
        fs::write(directory.path().join(FILE), "many")?;
        assert_eq!(count(persistent()).await, 1);
        assert_eq!(count(None).await, 1);
        Ok(())
    }
}
