//! Lets `/persistent` fill its disk: the partition first, when it is the last one of its table ([`super::gpt`]), then the
//! file system, which is mounted meanwhile.
//!
//! Each step is done again at the next boot when the power went before its end, and does nothing when it was done.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::libc::{c_int, c_void};
use nix::sys::statvfs::statvfs;

use super::gpt::{HEAD, Refusal, SECTOR, Table};
use super::probe::Kind;

/// The kernel refuses to give a btrfs any size below this one, also the one that it has (`btrfs_ioctl_resize` in
/// `fs/btrfs/ioctl.c`).
const LEAST_BTRFS: u64 = 256 << 20;

/// Why a disk is not filled.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0} cannot be read: {1}")]
    Unreadable(String, io::Error),
    #[error("{0}")]
    Refused(#[from] Refusal),
    #[error("it has sectors of {0} bytes instead of 512")]
    Sectors(u64),
    #[error("its partition table cannot be written: {0}")]
    Table(io::Error),
    #[error("the kernel did not take the partition's new size: {0}")]
    Kernel(nix::Error),
    #[error("the file system did not take the new size: {0}")]
    FileSystem(nix::Error),
}

/// `struct blkpg_partition` of `include/uapi/linux/blkpg.h`.
#[repr(C)]
struct Partition {
    start: i64,
    length: i64,
    number: c_int,
    names: [u8; 128],
}

/// `struct blkpg_ioctl_arg`.
#[repr(C)]
struct Change {
    operation: c_int,
    flags: c_int,
    length: c_int,
    data: *const c_void,
}
const RESIZE: c_int = 3;

nix::ioctl_write_ptr_bad!(
    /// BLKPG: tells the kernel of a partition.
    blkpg,
    0x1269,
    Change
);

/// `struct btrfs_ioctl_vol_args` of `include/uapi/linux/btrfs.h`: a descriptor, and a size as text.
type BtrfsArguments = [u8; 4096];

nix::ioctl_write_ptr!(
    /// BTRFS_IOC_RESIZE.
    btrfs_resize,
    0x94,
    3,
    BtrfsArguments
);
nix::ioctl_write_ptr!(
    /// EXT4_IOC_RESIZE_FS: a number of blocks.
    ext4_resize,
    b'f',
    16,
    u64
);

/// Lets the file system on `/dev/<name>`, which is mounted at `path`, fill its disk when it is to or its partition asks for
/// it. Says in the log what became of it; whatever that is, the file system can be used.
pub fn fill_disk(name: &str, kind: Kind, path: &Path, is_to: bool) {
    let before = capacity(path);
    match attempt(name, kind, path, is_to) {
        Ok(()) => {
            let after = capacity(path);
            if after != before {
                log::info!(
                    "storage: {} grew from {before} to {after} MiB",
                    path.display()
                );
            }
        }
        Err(error) => log::warn!(
            "storage: {} is not extended on /dev/{name}: {error}",
            path.display()
        ),
    }
}

fn attempt(name: &str, kind: Kind, path: &Path, is_to: bool) -> Result<(), Error> {
    let class = Path::new("/sys/class/block").join(name);
    if class.join("partition").exists() {
        match extend_partition(&class, is_to) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            // Nobody asked for this disk.
            Err(Error::Refused(_) | Error::Sectors(_)) if !is_to => return Ok(()),
            Err(error) => return Err(error),
        }
    } else if !is_to {
        return Ok(());
    }
    extend_file_system(kind, path, attribute(&class, "size")?).map_err(Error::FileSystem)
}

/// Whether the partition was to be extended.
fn extend_partition(class: &Path, is_to: bool) -> Result<bool, Error> {
    let unreadable = |what: &Path| {
        let what = what.display().to_string();
        move |cause| Error::Unreadable(what, cause)
    };
    // A partition lies in its disk.
    let class = fs::canonicalize(class).map_err(unreadable(class))?;
    let disk = class.parent().ok_or(Refusal::NotLast)?;
    let block = attribute(disk, "queue/logical_block_size")?;
    if block != SECTOR as u64 {
        return Err(Error::Sectors(block));
    }
    let (sectors, partition, start, known) = (
        attribute(disk, "size")?,
        attribute(&class, "partition")?,
        attribute(&class, "start")?,
        attribute(&class, "size")?,
    );
    let partition = usize::try_from(partition).unwrap_or_default();
    let path = Path::new("/dev").join(disk.file_name().unwrap_or_default());
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .map_err(unreadable(&path))?;
    let mut head = vec![0; HEAD];
    device
        .read_exact_at(&mut head, 0)
        .map_err(unreadable(&path))?;
    let table = Table::read(&head)?;
    if !is_to && !table.asks_to_grow(partition) {
        return Ok(false);
    }
    let mut backup = [0; SECTOR];
    let at = table
        .backup()
        .checked_mul(SECTOR as u64)
        .ok_or(Refusal::NoBackup)?;
    if device.read_exact_at(&mut backup, at).is_err() {
        return Err(Refusal::NoBackup.into());
    }
    let Some(extension) = table.extend(&backup, sectors, partition, start)? else {
        return Ok(true);
    };
    for (at, bytes) in &extension.writes {
        device
            .write_all_at(bytes, *at)
            .and_then(|()| device.sync_data())
            .map_err(Error::Table)?;
    }
    if extension.sectors != known {
        tell_kernel(&device, partition, start, extension.sectors).map_err(Error::Kernel)?;
    }
    Ok(true)
}

fn tell_kernel(disk: &File, number: usize, start: u64, sectors: u64) -> nix::Result<()> {
    let bytes = |sectors: u64| i64::try_from(sectors * SECTOR as u64).unwrap_or(i64::MAX);
    let partition = Partition {
        start: bytes(start),
        length: bytes(sectors),
        number: c_int::try_from(number).unwrap_or_default(),
        names: [0; 128],
    };
    let change = Change {
        operation: RESIZE,
        flags: 0,
        length: size_of::<Partition>() as c_int,
        data: (&raw const partition).cast(),
    };
    // SAFETY: the descriptor is open; the structure and what it points to live until the call returns.
    unsafe { blkpg(disk.as_raw_fd(), &change) }.map(drop)
}

fn extend_file_system(kind: Kind, path: &Path, sectors: u64) -> nix::Result<()> {
    let directory = File::open(path)
        .map_err(|error| nix::Error::from_raw(error.raw_os_error().unwrap_or_default()))?;
    if kind == Kind::Btrfs {
        if !can_extend(capacity(path), sectors) {
            return Ok(());
        }
        let mut arguments = [0; size_of::<BtrfsArguments>()];
        if let Some(field) = arguments.get_mut(8..11) {
            field.copy_from_slice(b"max");
        }
        // SAFETY: the descriptor is open, and the kernel reads as many bytes as the structure has.
        return unsafe { btrfs_resize(directory.as_raw_fd(), &arguments) }.map(drop);
    }
    let block = statvfs(path)?.block_size();
    let blocks = (sectors * SECTOR as u64)
        .checked_div(block)
        .unwrap_or_default();
    // SAFETY: the descriptor is open, and the kernel reads one number.
    unsafe { ext4_resize(directory.as_raw_fd(), &blocks) }.map(drop)
}

/// Whether a btrfs of so many mebibytes can be extended to so many sectors.
fn can_extend(capacity: u64, sectors: u64) -> bool {
    let bytes = sectors.saturating_mul(SECTOR as u64);
    bytes >= LEAST_BTRFS && capacity < bytes >> 20
}

fn attribute(device: &Path, name: &str) -> Result<u64, Error> {
    let path = device.join(name);
    let unreadable = |cause| Error::Unreadable(path.display().to_string(), cause);
    let text = fs::read_to_string(&path).map_err(unreadable)?;
    text.trim()
        .parse()
        .map_err(|_| unreadable(io::ErrorKind::InvalidData.into()))
}

/// In mebibytes.
fn capacity(path: &Path) -> u64 {
    statvfs(path).map_or(0, |file_system| {
        (file_system.blocks() * file_system.fragment_size()) >> 20
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_btrfs_is_extended_where_the_kernel_does_that() {
        let sectors = |mebibytes: u64| mebibytes << 11;
        for disk in [128, 200, 255] {
            assert!(!can_extend(128, sectors(disk)), "{disk}");
        }
        assert!(!can_extend(128, sectors(256) - 1));
        assert!(can_extend(128, sectors(256)));
        assert!(!can_extend(300, sectors(300)));
        assert!(can_extend(300, u64::MAX));
    }
}
