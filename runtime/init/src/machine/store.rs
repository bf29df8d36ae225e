//! Credentials as files in memory, for the app's user alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown, fchown};
use std::path::Path;

use sys_mount::{Mount, MountFlags};

const FLAGS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Makes the directory, a file system of its own in memory.
///
/// # Errors
///
/// What the kernel says.
pub fn mount(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    Mount::builder()
        .fstype("tmpfs")
        .flags(FLAGS)
        .data("mode=0700")
        .mount("credentials", directory)
        .map(drop)
}

/// Writes a file for each, and gives them and the directory to `user` and `group`.
///
/// # Errors
///
/// What the kernel says.
pub fn write(
    directory: &Path,
    credentials: &BTreeMap<String, Vec<u8>>,
    user: u32,
    group: u32,
) -> io::Result<()> {
    for (name, value) in credentials {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(directory.join(name))?;
        file.write_all(value)?;
        fchown(&file, Some(user), Some(group))?;
    }
    chown(directory, Some(user), Some(group))
}

/// Has it read-only from now on.
///
/// # Errors
///
/// What the kernel says.
pub fn close(directory: &Path) -> io::Result<()> {
    Mount::builder()
        .fstype("tmpfs")
        .flags(FLAGS | MountFlags::REMOUNT | MountFlags::RDONLY)
        .mount("credentials", directory)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn nobody_else_can_read_the_files() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let credentials = BTreeMap::from([
            ("a".to_owned(), b"1".to_vec()),
            ("b.key".to_owned(), vec![0, 255]),
        ]);
        // Only root can give files to others, and a name space may have no other user or group than this process's own.
        let own = fs::metadata(directory.path())?;
        write(directory.path(), &credentials, own.uid(), own.gid())?;
        for (name, value) in credentials {
            let path = directory.path().join(name);
            assert_eq!(fs::read(&path)?, value);
            let metadata = fs::metadata(&path)?;
            assert_eq!(metadata.mode() & 0o777, 0o400);
            assert_eq!((metadata.uid(), metadata.gid()), (own.uid(), own.gid()));
        }
        Ok(())
    }
}
