//! The time as it was last known, kept on `/persistent` for a machine whose RTC forgets it.

use std::io;
use std::path::Path;

use crate::own_files::{self, Sync};

/// 2100-01-01: a file that says more is damaged.
const LATEST: i64 = 4_102_444_800;
const FILE: &str = "clock";

/// The time that was saved, in seconds since 1970. `None` if there is none that makes sense.
pub fn load(persistent: &Path) -> Option<i64> {
    let text = own_files::read(persistent, FILE).ok()?;
    parse(std::str::from_utf8(&text).ok()?)
}

/// Reads the file's text.
pub(crate) fn parse(text: &str) -> Option<i64> {
    text.trim()
        .parse()
        .ok()
        .filter(|seconds| (0..LATEST).contains(seconds))
}

/// Saves the time in seconds since 1970. It is not synced: losing an hour is no harm, and the last save, when the machine stops,
/// would wait for all that the app has just written.
///
/// # Errors
///
/// What the file system says; the earlier file is still there then.
pub fn save(persistent: &Path, seconds: i64) -> io::Result<()> {
    own_files::replace(
        persistent,
        FILE,
        format!("{seconds}\n").as_bytes(),
        Sync::Later,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    fn path(persistent: &Path) -> PathBuf {
        persistent.join(own_files::DIRECTORY).join(FILE)
    }

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
    fn a_link_on_a_disk_leads_nowhere() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let other = directory.path().join("other");
        std::fs::write(&other, "7")?;
        save(directory.path(), 1)?;
        let path = path(directory.path());
        for name in ["clock", "clock.new"] {
            let _ = std::fs::remove_file(path.with_file_name(name));
            symlink(&other, path.with_file_name(name))?;
        }
        assert_eq!(load(directory.path()), None);
        save(directory.path(), 2)?;
        assert_eq!(load(directory.path()), Some(2));
        assert_eq!(std::fs::read_to_string(&other)?, "7");
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
