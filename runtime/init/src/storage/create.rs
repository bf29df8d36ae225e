//! Makes the file system for `/persistent` on a disk that is provably blank: every one of its bytes was read and is zero.
//!
//! The disk is looked through and written to by one exclusive descriptor, so that nothing else has it mounted meanwhile.
//! What is written is the image's template ([`super::template`]), the superblock last: when the power goes before, the next
//! boot finds a disk that has nothing but parts of the template on it and begins again.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::libc::O_EXCL;
use tokio_util::sync::CancellationToken;

use super::template::Template;

/// Where the image has its template.
const TEMPLATE: &str = "/etc/tinyboot/persistent.template";
/// How much is read at once.
const BLOCK: usize = 1 << 20;
/// How often the log says how far it is: a large disk takes minutes.
const PROGRESS: Duration = Duration::from_secs(30);

/// Why a disk does not become `/persistent`. It is as it was, but for [`Error::Written`].
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
    #[error("the machine stops")]
    Stopped,
    #[error("it cannot be written: {0}")]
    Written(io::Error),
}

/// Looks through whole disks that nobody uses, and makes a file system on the one that is blank: its name. Of several that are
/// blank, none is taken. What becomes of each is logged. Blocks as long as the disks take, or until `stop` is cancelled.
pub fn on_one_of(names: &[String], stop: &CancellationToken) -> Option<String> {
    let template = fs::read(TEMPLATE)
        .and_then(|bytes| Template::parse(&bytes).ok_or_else(|| io::ErrorKind::InvalidData.into()));
    let template = match template {
        Ok(template) => template,
        Err(error) => {
            log::error!(
                "storage: this image cannot make a file system, which storage.create asks for: {TEMPLATE}: {error}; the image has to be built with that setting"
            );
            return None;
        }
    };
    let mut blank = Vec::new();
    for name in names {
        log::info!(
            "storage: /dev/{name} is looked through, since it becomes /persistent if it is blank"
        );
        match look_through(name, &template, stop) {
            Ok(device) => blank.push((name, device)),
            Err(Error::Stopped) => return None,
            Err(error) => log::info!("storage: /dev/{name} does not become /persistent: {error}"),
        }
    }
    match blank.as_slice() {
        [] => None,
        [(name, device)] => match write(device, &template) {
            Ok(()) => {
                log::info!("storage: /dev/{name} was blank and has a new btrfs for /persistent");
                Some((*name).clone())
            }
            Err(error) => {
                log::error!("storage: /dev/{name} does not become /persistent: {error}");
                None
            }
        },
        _ => {
            let names: Vec<_> = blank
                .iter()
                .map(|(name, _)| format!("/dev/{name}"))
                .collect();
            log::warn!(
                "storage: {} are blank; none of them becomes /persistent, since nothing says which one",
                names.join(", ")
            );
            None
        }
    }
}

fn look_through(name: &str, template: &Template, stop: &CancellationToken) -> Result<File, Error> {
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(O_EXCL)
        .open(Path::new("/dev").join(name))
        .map_err(Error::Closed)?;
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
    Ok(device)
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

fn write(device: &File, template: &Template) -> Result<(), Error> {
    let mut id = [0; 16];
    fill_random(&mut id).map_err(Error::Written)?;
    let put = |pieces: &[(u64, Vec<u8>)]| -> io::Result<()> {
        for (at, bytes) in pieces {
            device.write_all_at(bytes, *at)?;
        }
        device.sync_all()
    };
    put(template.pieces())
        .and_then(|()| put(&[template.superblock(id)]))
        .map_err(Error::Written)
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
            write(disk, &template)?;
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
    fn a_machine_that_stops_does_not_wait() -> Result<(), Box<dyn std::error::Error>> {
        let template = Template::parse(&file(1 << 20)).ok_or("no template")?;
        let result = prove_blank(&blank(1 << 30)?, &template, |at, _| at < 2 << 20);
        assert!(matches!(result, Err(Error::Stopped)));
        Ok(())
    }
}
