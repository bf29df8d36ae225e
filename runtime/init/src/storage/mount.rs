//! Mounts what was chosen.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::sys::statvfs::{FsFlags, statvfs};
use sys_mount::{MountFlags, UnmountFlags};

use super::closure;
use super::probe::{FileSystem, Kind};
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

/// What has to be mounted.
#[derive(Clone, Debug)]
pub struct Job {
    pub place: Place,
    /// The device.
    pub name: String,
    pub file_system: FileSystem,
    /// Files of another medium may be open still. As long as they are, the kernel would mount that one instead: it knows a
    /// file system by its device.
    pub after_another: bool,
}

/// Mounts, and says whether the result is read-only: a medium that is write-protected is mounted all the same.
///
/// # Errors
///
/// The kernel does not mount it, or the medium has not what the app needs.
pub fn mount(job: &Job, options: &Options) -> io::Result<bool> {
    let (place, kind) = (job.place, job.file_system.kind);
    let device = Path::new("/dev").join(&job.name);
    if job.after_another {
        wait_until_unused(&device)?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let attempt = |flags: MountFlags, data: &str| {
        sys_mount::Mount::builder()
            .fstype(kind.name())
            .flags(flags)
            .data(data)
            .mount(&device, place.path())
            .map(drop)
    };
    if place == Place::Iso {
        attempt(flags | MountFlags::RDONLY, "")?;
        options.closure.as_deref().map_or(Ok(()), closure::enter)?;
        return Ok(true);
    }
    let (flags, data) = (flags | MountFlags::NOATIME, options.persistent(kind));
    let foreign = job.file_system.foreign.join(", ");
    let read_only = match attempt(flags, &data) {
        Ok(()) => false,
        Err(error) if is_protected(&error) => {
            attempt(flags | MountFlags::RDONLY, &data).or_else(|error| {
                without_replay(&job.name, kind, &data, error, |data| {
                    attempt(flags | MountFlags::RDONLY, data)
                })
            })?;
            true
        }
        Err(error) if foreign.is_empty() => return Err(error),
        Err(error) => {
            let (features, them) = if job.file_system.foreign.len() == 1 {
                ("feature", "it")
            } else {
                ("features", "them")
            };
            attempt(flags | MountFlags::RDONLY, &data).map_err(|_| {
                io::Error::new(
                    error.kind(),
                    format!("this kernel does not have its {features} {foreign}: {error}"),
                )
            })?;
            log::warn!(
                "storage: the {kind} on /dev/{} can be read alone, since this kernel does not have its {features} {foreign}; \"tune2fs -O ^{}\" removes {them}",
                job.name,
                job.file_system.foreign.join(",^")
            );
            true
        }
    };
    if job.file_system.wants_check {
        log::warn!(
            "storage: the {kind} on /dev/{} says that it has errors or was not unmounted; e2fsck has to look at it",
            job.name
        );
    }
    if options.compress.is_some() && kind != Kind::Btrfs {
        log::warn!(
            "storage: {kind} cannot compress: what is written to /persistent is not compressed"
        );
    }
    Ok(read_only)
}

fn is_protected(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(nix::libc::EROFS | nix::libc::EACCES)
    )
}

/// Mounts a write-protected file system that was not unmounted: what stands in its journal cannot be written to its place.
fn without_replay(
    name: &str,
    kind: Kind,
    data: &str,
    error: io::Error,
    attempt: impl FnOnce(&str) -> io::Result<()>,
) -> io::Result<()> {
    let Some(option) = no_replay(kind) else {
        return Err(error);
    };
    // The first error is the one that tells something.
    attempt(&format!("{data},{option}")).map_err(|_| error)?;
    log::warn!(
        "storage: the {kind} on /dev/{name} was not unmounted, and its disk is write-protected: it is mounted without its journal, and its last changes are missing"
    );
    Ok(())
}

/// The option with which a file system is read as if it had no journal.
fn no_replay(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Btrfs => Some("rescue=nologreplay"),
        Kind::Ext3 | Kind::Ext4 => Some("noload"),
        Kind::Ext2 | Kind::Iso9660 => None,
    }
}

/// How long files of the medium before are waited for in one attempt.
const UNUSED: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until no file system lies on the device.
fn wait_until_unused(device: &Path) -> io::Result<()> {
    let begin = Instant::now();
    loop {
        let opened = OpenOptions::new()
            .read(true)
            .custom_flags(nix::libc::O_EXCL)
            .open(device);
        match opened {
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {
                if begin.elapsed() > UNUSED {
                    return Err(io::Error::new(
                        error.kind(),
                        "files of the medium that was in it before are open still",
                    ));
                }
                std::thread::sleep(PAUSE);
            }
            other => return other.map(drop),
        }
    }
}

/// Takes what is mounted at `path` out of the tree, at once whatever its device does. What the kernel has to do for it
/// after that, it does when the result is dropped, which takes as long as the device does.
pub fn detach(path: &Path) -> Option<OwnedFd> {
    let root = nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).ok();
    // What the app has open fails with EIO; what it opens from now on meets the empty place.
    if let Err(error) = sys_mount::unmount(path, UnmountFlags::DETACH) {
        log::error!("storage: {} cannot be unmounted: {error}", path.display());
    }
    root
}

/// How many errors an ext2, ext3 or ext4 on this device has counted.
pub fn errors(name: &str) -> Option<u64> {
    let path = Path::new("/sys/fs/ext4").join(name).join("errors_count");
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Whether a file system that could be written cannot be any more. ext4 of Linux 6.12 does not say so itself; with our
/// options, each error that it counts makes it read-only.
pub fn is_read_only(path: &Path, name: &str, errors_before: Option<u64>) -> bool {
    let flagged =
        statvfs(path).is_ok_and(|file_system| file_system.flags().contains(FsFlags::ST_RDONLY));
    flagged || errors(name).is_some_and(|errors| errors > errors_before.unwrap_or_default())
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
