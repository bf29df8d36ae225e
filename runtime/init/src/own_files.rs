//! The small files that init keeps for its next boot, in `/persistent/.tinyboot`.
//!
//! A disk may have been prepared by somebody else, and an app that is not root may write beside that directory. So nothing
//! there leads elsewhere: each directory on the way is one of root alone and is held open from its check on, no link is
//! followed, only a regular file is read, and not more of it than such a file can have.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{Uid, UnlinkatFlags, unlinkat};

/// The directory, below where `/persistent` is mounted.
pub const DIRECTORY: &str = ".tinyboot";
/// A file is this long at most; anything longer is not ours.
const LONGEST: u64 = 4096;

const DIRECTORY_ONLY: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_DIRECTORY)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const READ: OFlag = OFlag::O_RDONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);
const WRITE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_NONBLOCK)
    .union(OFlag::O_CLOEXEC);
const CREATE: OFlag = OFlag::O_WRONLY
    .union(OFlag::O_CREAT)
    .union(OFlag::O_EXCL)
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// What the file `name` says, a path below [`DIRECTORY`].
///
/// # Errors
///
/// What the file system says, also that there is none; or it is not a file of init's.
pub fn read(persistent: &Path, name: &str) -> io::Result<Vec<u8>> {
    read_up_to(persistent, name, LONGEST)
}

/// As [`read`], for a file that may have `longest` bytes.
///
/// # Errors
///
/// As above.
pub fn read_up_to(persistent: &Path, name: &str, longest: u64) -> io::Result<Vec<u8>> {
    let (directory, name) = open(persistent, name, false)?;
    let file = File::from(openat(&directory, name, READ, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other(format!("{name} is not a file")));
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > longest {
        return Err(io::Error::other(format!(
            "{name} has more than {longest} bytes"
        )));
    }
    Ok(bytes)
}

/// When the disk has to have a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before anything else is done: after a power failure there is the old file or the new one.
    Now,
    /// When the kernel finds the time. It is no harm if a power failure takes it.
    Later,
}

/// Replaces the file `name` as a whole, and makes it and the directories before it if need be. Two at the same time with one
/// name disturb each other.
///
/// # Errors
///
/// What the file system says, or a directory is not init's. The old file is still there then.
pub fn replace(persistent: &Path, name: &str, text: &[u8], sync: Sync) -> io::Result<()> {
    let (directory, name) = open(persistent, name, true)?;
    let beside = format!("{name}.new");
    remove_from(&directory, &beside)?;
    let mode = Mode::from_bits_truncate(0o644);
    let mut file = File::from(openat(&directory, beside.as_str(), CREATE, mode)?);
    file.write_all(text)?;
    if sync == Sync::Now {
        file.sync_all()?;
    }
    renameat(&directory, beside.as_str(), &directory, name)?;
    if sync == Sync::Now {
        File::from(directory).sync_all()?;
    }
    Ok(())
}

/// Writes the short file `name` in its place, so that a full disk takes it. Only a file that is as long
/// and that nobody else may have a hand in is written over; else it is replaced as a whole.
///
/// # Errors
///
/// What the file system says, or a directory is not init's.
pub fn overwrite(persistent: &Path, name: &str, text: &[u8], sync: Sync) -> io::Result<()> {
    let in_place = || -> io::Result<bool> {
        let (directory, name) = open(persistent, name, false)?;
        let file = File::from(openat(&directory, name, WRITE, Mode::empty())?);
        let metadata = file.metadata()?;
        let ours = metadata.is_file()
            && metadata.nlink() == 1
            && metadata.uid() == Uid::effective().as_raw()
            && metadata.len() == text.len() as u64;
        if ours {
            file.write_all_at(text, 0)?;
            if sync == Sync::Now {
                file.sync_all()?;
            }
        }
        Ok(ours)
    };
    match in_place() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => replace(persistent, name, text, sync),
    }
}

/// Removes the file `name`, if there is one.
///
/// # Errors
///
/// What the file system says, or a directory is not init's.
pub fn remove(persistent: &Path, name: &str) -> io::Result<()> {
    match open(persistent, name, false) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => {
            let (directory, name) = other?;
            remove_from(&directory, name)
        }
    }
}

/// Makes [`DIRECTORY`] if it is not there.
///
/// # Errors
///
/// What the file system says, or what is there is not init's.
pub fn make(persistent: &Path) -> io::Result<()> {
    open(persistent, "", true).map(drop)
}

fn remove_from(directory: &OwnedFd, name: &str) -> io::Result<()> {
    match unlinkat(directory, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The directory that the file `name` is in, and the last part of its name.
fn open<'a>(persistent: &Path, name: &'a str, make: bool) -> io::Result<(OwnedFd, &'a str)> {
    let (before, last) = name.rsplit_once('/').unwrap_or(("", name));
    let parts = std::iter::once(DIRECTORY).chain(before.split('/').filter(|part| !part.is_empty()));
    let mut directory = OwnedFd::from(File::open(persistent)?);
    let mut path = persistent.to_owned();
    for part in parts {
        path.push(part);
        if make {
            match mkdirat(&directory, part, Mode::from_bits_truncate(0o755)) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
        }
        directory = enter(&directory, part).map_err(|error| match error {
            // A link, or no directory.
            Errno::ELOOP | Errno::ENOTDIR | Errno::EPERM => io::Error::other(format!(
                "{} is not a directory of root alone, and init keeps nothing there",
                path.display()
            )),
            other => other.into(),
        })?;
    }
    Ok((directory, last))
}

fn enter(directory: &OwnedFd, name: &str) -> nix::Result<OwnedFd> {
    let directory = File::from(openat(directory, name, DIRECTORY_ONLY, Mode::empty())?);
    let metadata = directory.metadata().map_err(|_| Errno::EIO)?;
    // Root's, that is, and in the tests of another user that one's.
    if metadata.uid() != Uid::effective().as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(Errno::EPERM);
    }
    Ok(directory.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn a_file_is_replaced_read_and_removed() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        for name in ["clock", "leases/a.json"] {
            assert!(read(path, name).is_err_and(|error| error.kind() == io::ErrorKind::NotFound));
            remove(path, name)?;
            for text in ["one", "two"] {
                replace(path, name, text.as_bytes(), Sync::Now)?;
                assert_eq!(read(path, name)?, text.as_bytes());
            }
            assert_eq!(
                fs::metadata(path.join(DIRECTORY).join(name))?.mode() & 0o7777,
                0o644
            );
            remove(path, name)?;
            assert!(read(path, name).is_err());
        }
        assert_eq!(fs::read_dir(path.join(DIRECTORY))?.count(), 1);
        assert_eq!(
            fs::read_dir(path.join(DIRECTORY).join("leases"))?.count(),
            0
        );
        Ok(())
    }

    #[test]
    fn only_a_short_regular_file_is_read() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        make(path)?;
        let own = path.join(DIRECTORY);
        fs::write(own.join("long"), [b'x'; 4097])?;
        fs::write(own.join("fits"), [b'x'; 4096])?;
        symlink(own.join("fits"), own.join("link"))?;
        symlink("/dev/zero", own.join("device"))?;
        nix::unistd::mkfifo(&own.join("pipe"), Mode::S_IRWXU)?;
        fs::create_dir(own.join("directory"))?;
        assert_eq!(read(path, "fits")?.len(), 4096);
        for name in ["long", "link", "device", "pipe", "directory"] {
            assert!(read(path, name).is_err(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn what_is_in_the_way_is_replaced_and_never_followed() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let own = path.join(DIRECTORY);
        make(path)?;
        let other = path.join("other");
        fs::write(&other, "kept")?;
        fs::hard_link(&other, own.join("a.new"))?;
        symlink(&other, own.join("b.new"))?;
        symlink(&other, own.join("b"))?;
        nix::unistd::mkfifo(&own.join("c.new"), Mode::S_IRWXU)?;
        for name in ["a", "b", "c"] {
            replace(path, name, b"new", Sync::Later)?;
            assert_eq!(read(path, name)?, b"new");
            assert!(!own.join(name).is_symlink());
        }
        assert_eq!(fs::read(&other)?, b"kept");
        Ok(())
    }

    #[test]
    fn a_directory_that_is_not_inits_is_left_alone() -> io::Result<()> {
        let (directory, other) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let path = directory.path();
        let own = path.join(DIRECTORY);
        let refused = |name: &str| {
            let sentence = format!(
                "{} is not a directory of root alone, and init keeps nothing there",
                if name.is_empty() {
                    own.clone()
                } else {
                    own.join(name)
                }
                .display()
            );
            let file = Path::new(name).join("x");
            let file = file.to_str().unwrap_or_default();
            for result in [
                replace(path, file, b"1", Sync::Now),
                read(path, file).map(drop),
                remove(path, file),
            ] {
                assert_eq!(
                    result.map_err(|error| error.to_string()),
                    Err(sentence.clone())
                );
            }
        };
        symlink(other.path(), &own)?;
        refused("");
        fs::remove_file(&own)?;
        fs::write(&own, "")?;
        refused("");
        fs::remove_file(&own)?;
        fs::create_dir(&own)?;
        fs::set_permissions(&own, Permissions::from_mode(0o775))?;
        refused("");
        fs::set_permissions(&own, Permissions::from_mode(0o755))?;
        symlink(other.path(), own.join("leases"))?;
        refused("leases");
        if Uid::effective().is_root() && std::os::unix::fs::chown(&own, Some(1), None).is_ok() {
            refused("");
        }
        assert_eq!(fs::read_dir(other.path())?.count(), 0);
        Ok(())
    }
}
