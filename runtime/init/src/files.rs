//! Files that others read while they are written.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Replaces the file at `path` as a whole, and makes its directory if there is none: a reader sees the old text or the
/// new one. Nothing is synced, so that a disk need not wake: what a power cut leaves is up to the file system.
///
/// Who may write the same file at the same time takes turns: the new text is first in a file beside it.
///
/// # Errors
///
/// What the file system says; the old file is still there then.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Never by a link that another process of root has put there.
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(&beside)?
        .write_all(text)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("etc/resolv.conf");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes())?;
            assert_eq!(fs::read_to_string(&path)?, text);
        }
        assert_eq!(fs::read_dir(directory.path().join("etc"))?.count(), 1);
        Ok(())
    }

    #[test]
    fn what_cannot_be_replaced_stays() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("clock");
        replace(&path, b"old")?;
        fs::create_dir(directory.path().join("clock.new"))?;
        assert!(replace(&path, b"new").is_err());
        assert_eq!(fs::read_to_string(&path)?, "old");
        Ok(())
    }
}
