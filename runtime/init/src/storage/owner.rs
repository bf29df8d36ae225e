//! Makes `/persistent` writable for an app that is not root.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, chown};

use crate::own_files;

/// Members of the group may add files and change their own; what is another's, init's directory above all, they cannot
/// remove or replace.
const MODE: u32 = 0o1770;

/// Gives the top directory at `path` to the group `group`; root stays its owner. What lies in it keeps its owners. What fails
/// is logged.
pub fn hand_over(path: &Path, group: u32) {
    // Made before anybody else can: what another has made there is not used.
    if let Err(error) = own_files::make(path) {
        log::warn!("storage: {error}");
    }
    if let Err(error) = try_hand_over(path, group) {
        log::error!(
            "storage: {} cannot be given to the app: {error}",
            path.display()
        );
    }
}

fn try_hand_over(path: &Path, group: u32) -> io::Result<()> {
    let root = Uid::effective();
    let metadata = fs::metadata(path)?;
    if (metadata.uid(), metadata.gid()) != (root.as_raw(), group) {
        chown(path, Some(root), Some(Gid::from_raw(group)))?;
    }
    if metadata.mode() & 0o7777 != MODE {
        fs::set_permissions(path, Permissions::from_mode(MODE))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn the_directory_is_shared_and_inits_own_is_not() -> io::Result<()> {
        let group = Gid::effective().as_raw();
        let directory = tempfile::tempdir()?;
        let path = directory.path();
        let own = path.join(own_files::DIRECTORY);
        for _ in 0..2 {
            hand_over(path, group);
            assert_eq!(fs::metadata(path)?.mode() & 0o7777, MODE);
            assert_eq!(fs::metadata(&own)?.mode() & 0o7777, 0o755);
        }
        // The app's own files have nothing to do with what is wrong there.
        fs::remove_dir(&own)?;
        symlink("/etc", &own)?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        hand_over(path, group);
        assert_eq!(fs::metadata(path)?.mode() & 0o7777, MODE);
        Ok(())
    }
}
