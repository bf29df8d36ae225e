//! Makes `/persistent` writable for an app that is not root.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use nix::unistd::{Gid, Uid, chown};

/// Where init keeps its own files.
const OWN: &str = ".tinyboot";
/// Members of the group may add files and change their own; what is another's, init's directory above all, they cannot
/// remove or replace.
const MODE: u32 = 0o1770;

/// Gives the top directory at `path` to the group `group`; root stays its owner. What lies in it keeps its owners. What fails
/// is logged.
pub fn hand_over(path: &Path, group: u32) {
    if let Err(error) = try_hand_over(path, group) {
        log::error!(
            "storage: {} cannot be given to the app: {error}",
            path.display()
        );
    }
}

fn try_hand_over(path: &Path, group: u32) -> io::Result<()> {
    let root = Uid::effective();
    let own = path.join(OWN);
    match DirBuilder::new().mode(0o755).create(&own) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // Init writes there as root, so nobody else may choose what is there.
    let metadata = fs::symlink_metadata(&own)?;
    if !metadata.is_dir() || metadata.uid() != root.as_raw() || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other(format!(
            "{} is not a directory of root alone",
            own.display()
        )));
    }
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
        try_hand_over(path, group)?;
        try_hand_over(path, group)?;
        assert_eq!(fs::metadata(path)?.mode() & 0o7777, MODE);
        assert_eq!(fs::metadata(path.join(OWN))?.mode() & 0o7777, 0o755);

        fs::remove_dir(path.join(OWN))?;
        symlink("/etc", path.join(OWN))?;
        let error = try_hand_over(path, group).map_err(|error| error.to_string());
        assert!(error.is_err_and(|error| error.ends_with("is not a directory of root alone")));
        Ok(())
    }
}
