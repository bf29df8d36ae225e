//! Symbolic links that the image wants: programs look for `/bin/sh` and the like where no store is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Makes each link, in the place of a file that is there. One that cannot be made is logged and left out.
pub fn make(links: &BTreeMap<PathBuf, PathBuf>) {
    for (path, target) in links {
        if let Err(error) = make_one(path, target) {
            log::error!(
                "app: the link {} to {} cannot be made: {error}",
                path.display(),
                target.display()
            );
        }
    }
}

fn make_one(path: &Path, target: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(target, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_replaces_a_file_and_no_directory() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("usr/bin/env");
        for target in ["/one", "/two"] {
            make_one(&path, Path::new(target))?;
            assert_eq!(fs::read_link(&path)?, Path::new(target));
        }
        assert!(make_one(&directory.path().join("usr/bin"), Path::new("/one")).is_err());
        assert!(path.is_symlink());
        Ok(())
    }
}
