//! The closure of an app that lies on the medium: `/iso/nix/store` is `/nix/store` too. It is read in place and costs no
//! memory but the page cache, which the kernel takes back when it wants to.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sys_mount::{Mount, MountFlags, UnmountFlags};

const MEDIUM: &str = "/iso";
const STORE: &str = "/nix/store";

/// Makes the store of the medium on `/iso` the machine's, if it has `needed`, a path below `/nix/store`.
///
/// # Errors
///
/// The medium does not have it, or the store cannot be mounted; the medium is unmounted again then.
pub fn enter(needed: &Path) -> io::Result<()> {
    let result = find(needed).and_then(|store| {
        fs::create_dir_all(STORE)?;
        // A bind mount is as read-only as what it was made from.
        Mount::builder()
            .fstype("none")
            .flags(MountFlags::BIND)
            .mount(store, STORE)
            .map(drop)
    });
    if result.is_err() {
        let _ = sys_mount::unmount(MEDIUM, UnmountFlags::DETACH);
    }
    result
}

/// Takes the store away before its medium.
pub fn leave() {
    drop(super::mount::detach(Path::new(STORE)));
}

/// The store on the medium.
fn find(needed: &Path) -> io::Result<PathBuf> {
    let on_medium = inside(needed);
    // Not followed: an absolute link leads into the store that is not there yet.
    match fs::symlink_metadata(&on_medium) {
        Ok(_) => Ok(inside(Path::new(STORE))),
        Err(error) => Err(io::Error::new(
            error.kind(),
            format!("it does not have the app's {}: {error}", needed.display()),
        )),
    }
}

fn inside(path: &Path) -> PathBuf {
    Path::new(MEDIUM).join(path.strip_prefix("/").unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_store_is_looked_for_on_the_medium() {
        assert_eq!(
            inside(Path::new("/nix/store/x/bin/y")),
            Path::new("/iso/nix/store/x/bin/y")
        );
        assert_eq!(inside(Path::new(STORE)), Path::new("/iso/nix/store"));
    }

    #[test]
    fn what_the_medium_lacks_is_named() {
        let error = find(Path::new("/nix/store/none/bin/none")).map_err(|error| error.to_string());
        assert!(error.is_err_and(|text| {
            text.starts_with("it does not have the app's /nix/store/none/bin/none: ")
        }));
    }
}
