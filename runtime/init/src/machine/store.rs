//! Credentials as files in memory, for the app's user alone.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
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

/// Writes a file for each.
///
/// # Errors
///
/// What the kernel says.
pub fn write(directory: &Path, credentials: &BTreeMap<String, Vec<u8>>) -> io::Result<()> {
    for (name, value) in credentials {
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o400)
            .open(directory.join(name))?
            .write_all(value)?;
    }
    Ok(())
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
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn nobody_else_can_read_the_files() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let credentials = BTreeMap::from([
            ("a".to_owned(), b"1".to_vec()),
            ("b.key".to_owned(), vec![0, 255]),
        ]);
        write(directory.path(), &credentials)?;
        for (name, value) in credentials {
            let path = directory.path().join(name);
            assert_eq!(fs::read(&path)?, value);
            assert_eq!(fs::metadata(&path)?.permissions().mode() & 0o777, 0o400);
        }
        Ok(())
    }
}
