//! Makes the file system for `/persistent` on a disk that is provably blank: every one of its bytes was read and is zero.
//!
//! The disk is looked through and written to by one exclusive descriptor, so that nothing else has it mounted meanwhile. Who
//! writes to it without asking, as the app may, is noticed: what is about to be overwritten is read once more, and the
//! kernel's count of written sectors must not have changed. That reading is one of the disk itself and not of the kernel's
//! copy of it, so that it shows what another machine wrote to a disk that both have.
//!
//! What is written is the image's template ([`super::template`]), the superblock last: when the power goes before, the next
//! boot finds a disk that has nothing but parts of the template on it and begins again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::libc::O_EXCL;
use tokio_util::sync::CancellationToken;

use super::sysfs;
use super::template::Template;

nix::ioctl_none_bad!(
    /// BLKFLSBUF of `include/uapi/linux/fs.h`: the kernel forgets what it has read of a disk.
    forget_copies,
    0x1261
);

/// Where the image has its template.
const TEMPLATE: &str = "/etc/tinyboot/persistent.template";
/// How much is read at once.
const BLOCK: usize = 1 << 20;
/// How often the log says how far it is: a large disk takes minutes.
const PROGRESS: Duration = Duration::from_secs(30);

/// Why a disk does not become `/persistent`. It is as it was, unless writing had begun: then it has parts of the template, which
/// are as good as nothing.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("it cannot be opened: {0}")]
    Closed(io::Error),
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    #[error("it has {0} bytes, and {1} are needed")]
    TooSmall(u64, u64),
    #[error("it is not blank: there is something at byte {0}")]
    Used(u64),
    #[error("something was written to it meanwhile")]
    Changed,
    #[error("another disk may be it, or the machine stops")]
    Stopped,
    #[error("it cannot be written: {0}")]
    Written(io::Error),
}

/// A disk of which every byte is zero, held so that nobody mounts it.
#[derive(Debug)]
pub struct Blank {
    name: String,
    device: File,
    template: Arc<Template>,
    /// How many sectors had been written to it before it was looked through.
    written: Option<u64>,
}

/// Looks through whole disks that nobody uses: those that are blank. Of the others the log says why they are not. Blocks as
/// long as the disks take, or until `stop` is cancelled.
pub fn look_through(names: &[String], stop: &CancellationToken) -> Vec<(String, Blank)> {
    let template = fs::read(TEMPLATE)
        .and_then(|bytes| Template::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into()));
    let template = match template {
        Ok(template) => Arc::new(template),
        Err(error) => {
            log::error!(
                "storage: this image cannot make a file system, which storage.create asks for: {TEMPLATE}: {error}; the image has to be built with that setting"
            );
            return Vec::new();
        }
    };
    let mut blank = Vec::new();
    for name in names {
        log::info!(
            "storage: /dev/{name} is looked through, since it becomes /persistent if it is blank"
        );
        match look_through_one(name, &template, stop) {
            Ok(disk) => blank.push((name.clone(), disk)),
            Err(error) => {
                refuse(name, &error);
                if matches!(error, Error::Stopped) {
                    return Vec::new();
                }
            }
        }
    }
    blank
}

fn look_through_one(
    name: &str,
    template: &Arc<Template>,
    stop: &CancellationToken,
) -> Result<Blank, Error> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_EXCL)
        .open(Path::new("/dev").join(name))
        .map_err(Error::Closed)?;
    // What somebody wrote before is written now, and not counted later.
    device.sync_all().map_err(Error::Unreadable)?;
    let written = sysfs::written(name);
    let mut spoke = Instant::now();
    prove_blank(&device, template, |at, size| {
        if spoke.elapsed() >= PROGRESS {
            spoke = Instant::now();
            log::info!(
                "storage: {} of the {} MiB of /dev/{name} are blank so far",
                at >> 20,
                size >> 20
            );
        }
        !stop.is_cancelled()
    })?;
    Ok(Blank {
        name: name.to_owned(),
        device,
        template: Arc::clone(template),
        written,
    })
}

/// Makes a file system on a blank disk, unless it is not blank any more or `stop` is cancelled: its name. What becomes of it is
/// logged.
pub fn fill(disk: Blank, stop: &CancellationToken) -> Option<String> {
    let name = disk.name;
    let unchanged = || {
        disk.device.sync_all().map_err(Error::Unreadable)?;
        if sysfs::written(&name) != disk.written {
            return Err(Error::Changed);
        }
        // SAFETY: the descriptor is open, and the call takes no argument.
        unsafe { forget_copies(disk.device.as_raw_fd()) }
            .map(drop)
            .map_err(|error| Error::Unreadable(error.into()))
    };
    match unchanged().and_then(|()| write(&disk.device, &disk.template, stop)) {
        Ok(()) => {
            log::info!("storage: /dev/{name} was blank and has a new btrfs for /persistent");
            Some(name)
        }
        Err(error) => {
            refuse(&name, &error);
            None
        }
    }
}

fn refuse(name: &str, error: &Error) {
    let level = match error {
        Error::Written(_) => log::Level::Error,
        _ => log::Level::Info,
    };
    log::log!(
        level,
        "storage: /dev/{name} does not become /persistent: {error}"
    );
}

/// Reads everything. `go_on` is told how far it is and of how much, and says whether to continue.
fn prove_blank(
    device: &File,
    template: &Template,
    mut go_on: impl FnMut(u64, u64) -> bool,
) -> Result<(), Error> {
    // A device's metadata do not tell its length.
    let size = io::Seek::seek(&mut &*device, io::SeekFrom::End(0)).map_err(Error::Unreadable)?;
    if size < template.size() {
        return Err(Error::TooSmall(size, template.size()));
    }
    let mut block = vec![0; BLOCK];
    let mut at = 0;
    while at < size {
        if !go_on(at, size) {
            return Err(Error::Stopped);
        }
        let length = usize::try_from(size - at).map_or(BLOCK, |rest| rest.min(BLOCK));
        let bytes = block.get_mut(..length).unwrap_or_default();
        device.read_exact_at(bytes, at).map_err(Error::Unreadable)?;
        if let Some(at) = template.first_foreign(at, bytes) {
            return Err(Error::Used(at));
        }
        at += length as u64;
    }
    Ok(())
}

/// Writes the template to a disk that was blank when it was read, and without its superblock if `stop` is cancelled
/// meanwhile.
fn write(device: &File, template: &Template, stop: &CancellationToken) -> Result<(), Error> {
    let mut id = [0; 16];
    fill_random(&mut id).map_err(Error::Written)?;
    let superblock = [template.superblock(id)];
    for (at, bytes) in template.pieces().iter().chain(&superblock) {
        let mut there = vec![0; bytes.len()];
        device
            .read_exact_at(&mut there, *at)
            .map_err(Error::Unreadable)?;
        if let Some(at) = template.first_foreign(*at, &there) {
            return Err(Error::Used(at));
        }
    }
    for pieces in [template.pieces(), &superblock] {
        if stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        pieces
            .iter()
            .try_for_each(|(at, bytes)| device.write_all_at(bytes, *at))
            .and_then(|()| device.sync_all())
            .map_err(Error::Written)?;
    }
    Ok(())
}

/// A random UUID (RFC 9562, version 4).
fn fill_random(id: &mut [u8; 16]) -> io::Result<()> {
    // SAFETY: the kernel fills as many bytes as there are, and says how many.
    let filled = unsafe { nix::libc::getrandom(id.as_mut_ptr().cast(), id.len(), 0) };
    if usize::try_from(filled) != Ok(id.len()) {
        return Err(io::Error::last_os_error());
    }
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::indexing_slicing)]
mod tests {
    use super::super::template::tests::file;
    use super::*;

    fn proved(disk: &File) -> Result<(), String> {
        let template = Template::parse(&file(1 << 20)).ok_or("no template")?;
        prove_blank(disk, &template, |_, _| true).map_err(|error| error.to_string())
    }

    fn blank(size: u64) -> io::Result<File> {
        let disk = tempfile::tempfile()?;
        disk.set_len(size)?;
        Ok(disk)
    }

    #[test]
    fn a_blank_disk_is_one_up_to_its_last_byte() -> Result<(), Box<dyn std::error::Error>> {
        let size = (3 << 20) + 512;
        let disk = blank(size)?;
        assert_eq!(proved(&disk), Ok(()));
        for at in [0, 511, (1 << 20) - 1, 1 << 20, size - 1] {
            disk.write_all_at(&[1], at)?;
            let sector = at / 512 * 512;
            let expected = format!("it is not blank: there is something at byte {sector}");
            assert_eq!(proved(&disk), Err(expected));
            disk.write_all_at(&[0], at)?;
        }
        assert_eq!(
            proved(&blank(4096)?),
            Err("it has 4096 bytes, and 1048576 are needed".into())
        );
        Ok(())
    }

    #[test]
    fn what_was_written_is_not_blank_but_for_its_superblock()
    -> Result<(), Box<dyn std::error::Error>> {
        let template = Template::parse(&file(1 << 20)).ok_or("no template")?;
        let (one, other) = (blank(2 << 20)?, blank(2 << 20)?);
        for disk in [&one, &other] {
            write(disk, &template, &CancellationToken::new())?;
        }
        let id = |disk: &File| -> io::Result<[u8; 16]> {
            let mut id = [0; 16];
            disk.read_exact_at(&mut id, 0x1_0020).map(|()| id)
        };
        assert_ne!(id(&one)?, id(&other)?);
        // A second attempt, as after a power cut, overwrites nothing but its own.
        assert_eq!(proved(&one), Ok(()));
        one.write_all_at(&[1], 0x3_0000)?;
        assert!(proved(&one).is_err());
        Ok(())
    }

    #[test]
    fn what_was_written_since_the_reading_is_not_overwritten()
    -> Result<(), Box<dyn std::error::Error>> {
        let template = Template::parse(&file(1 << 20)).ok_or("no template")?;
        // In the superblock's place, and in that of the last piece.
        for at in [0x1_0fff, 0x2_0800] {
            let disk = blank(2 << 20)?;
            assert_eq!(proved(&disk), Ok(()));
            disk.write_all_at(b"raw", at)?;
            let result = write(&disk, &template, &CancellationToken::new());
            assert!(matches!(result, Err(Error::Used(_))), "{result:?}");
            let mut bytes = vec![0; 2 << 20];
            disk.read_exact_at(&mut bytes, 0)?;
            assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 3);
        }
        Ok(())
    }

    #[test]
    fn nothing_is_written_when_another_disk_has_come() -> Result<(), Box<dyn std::error::Error>> {
        let template = Template::parse(&file(1 << 20)).ok_or("no template")?;
        let disk = blank(2 << 20)?;
        let stop = CancellationToken::new();
        stop.cancel();
        let result = write(&disk, &template, &stop);
        assert!(matches!(result, Err(Error::Stopped)), "{result:?}");
        let mut bytes = vec![0; 2 << 20];
        disk.read_exact_at(&mut bytes, 0)?;
        assert!(bytes.iter().all(|byte| *byte == 0));
        Ok(())
    }

    #[test]
    fn a_machine_that_stops_does_not_wait() -> Result<(), Box<dyn std::error::Error>> {
        let template = Template::parse(&file(1 << 20)).ok_or("no template")?;
        let result = prove_blank(&blank(1 << 30)?, &template, |at, _| at < 2 << 20);
        assert!(matches!(result, Err(Error::Stopped)));
        Ok(())
    }
}
