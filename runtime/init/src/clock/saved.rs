//! The time as it was last known, kept on `/persistent` for a machine whose RTC forgets it.

use std::io;
use std::path::{Path, PathBuf};

use crate::files;

/// 2100-01-01: a file that says more is damaged.
const LATEST: i64 = 4_102_444_800;

fn path(persistent: &Path) -> PathBuf {
    persistent.join(".tinyboot/clock")
}

/// The time that was saved, in seconds since 1970. `None` if there is none that makes sense.
pub fn load(persistent: &Path) -> Option<i64> {
    parse(&std::fs::read_to_string(path(persistent)).ok()?)
}

/// Reads the file's text.
pub(crate) fn parse(text: &str) -> Option<i64> {
    text.trim()
        .parse()
        .ok()
        .filter(|seconds| (0..LATEST).contains(seconds))
}

/// Saves the time in seconds since 1970. The file is replaced as a whole but not synced: losing an hour is no harm,
/// and waking a disk every hour would be some.
///
/// # Errors
///
/// What the file system says; the earlier file is still there then.
pub fn save(persistent: &Path, seconds: i64) -> io::Result<()> {
    files::replace(&path(persistent), format!("{seconds}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        assert_eq!(load(directory.path()), None);
        for seconds in [1_795_435_200, 1_795_438_800] {
            save(directory.path(), seconds)?;
            assert_eq!(load(directory.path()), Some(seconds));
        }
        Ok(())
    }

    #[test]
    fn what_makes_no_sense_is_nothing() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        save(directory.path(), 1)?;
        for text in ["", "-1", "soon", "99999999999999"] {
            std::fs::write(path(directory.path()), text)?;
            assert_eq!(load(directory.path()), None, "{text}");
        }
        Ok(())
    }
}
