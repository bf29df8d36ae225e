//! Mounts what was chosen.

use std::io;
use std::path::{Path, PathBuf};

use sys_mount::MountFlags;

use super::closure;
use super::probe::Kind;
use super::slot::Place;

/// What the settings say about mounting.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What the medium has to have besides a file system.
    pub closure: Option<PathBuf>,
    /// How new data on a btrfs is compressed.
    pub compress: Option<String>,
    /// Whether the disk is told which blocks are not used any more.
    pub discard: bool,
}

impl Options {
    /// The file system's own options for `/persistent`.
    ///
    /// Without an order btrfs discards where the disk can (`discard=async`), and ext4 does what its superblock says
    /// (`s_default_mount_opts`, `s_errors`, `s_mount_opts`): also to panic at an error, and to write without barriers. So each
    /// of these is said. The other two file systems keep no options of this kind on the disk.
    fn persistent(&self, kind: Kind) -> String {
        let mut options = vec![match (self.discard, kind) {
            (false, _) => "nodiscard".to_owned(),
            (true, Kind::Btrfs) => "discard=async".to_owned(),
            (true, _) => "discard".to_owned(),
        }];
        match (kind, &self.compress) {
            (Kind::Btrfs, Some(compress)) => options.push(format!("compress={compress}")),
            (Kind::Btrfs, None) => {}
            _ => options.push("errors=remount-ro,barrier".to_owned()),
        }
        options.join(",")
    }
}

/// Mounts, and says whether the result is read-only: a medium that is write-protected is mounted all the same.
///
/// # Errors
///
/// The kernel does not mount it, or the medium has not what the app needs.
pub fn mount(place: Place, name: &str, kind: Kind, options: &Options) -> io::Result<bool> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let data = match place {
        Place::Iso => String::new(),
        Place::Persistent => options.persistent(kind),
    };
    let attempt = |flags: MountFlags| {
        sys_mount::Mount::builder()
            .fstype(kind.name())
            .flags(flags)
            .data(&data)
            .mount(Path::new("/dev").join(name), place.path())
            .map(drop)
    };
    if place == Place::Iso {
        attempt(flags | MountFlags::RDONLY)?;
        options.closure.as_deref().map_or(Ok(()), closure::enter)?;
        return Ok(true);
    }
    let flags = flags | MountFlags::NOATIME;
    let read_only = match attempt(flags) {
        Ok(()) => false,
        Err(error)
            if matches!(
                error.raw_os_error(),
                Some(nix::libc::EROFS | nix::libc::EACCES)
            ) =>
        {
            attempt(flags | MountFlags::RDONLY)?;
            true
        }
        Err(error) => return Err(error),
    };
    if options.compress.is_some() && kind != Kind::Btrfs {
        log::warn!(
            "storage: {kind} cannot compress: what is written to /persistent is not compressed"
        );
    }
    Ok(read_only)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_system_is_told_in_its_own_words() {
        let options = |compress: Option<&str>, discard| Options {
            compress: compress.map(str::to_owned),
            discard,
            ..Options::default()
        };
        let none = options(None, false);
        assert_eq!(none.persistent(Kind::Btrfs), "nodiscard");
        assert_eq!(
            none.persistent(Kind::Ext4),
            "nodiscard,errors=remount-ro,barrier"
        );
        let both = options(Some("zstd:3"), true);
        assert_eq!(
            both.persistent(Kind::Btrfs),
            "discard=async,compress=zstd:3"
        );
        assert_eq!(
            both.persistent(Kind::Ext2),
            "discard,errors=remount-ro,barrier"
        );
    }
}
