//! The image's files in memory: a netboot or a direct boot has no medium, so its initramfs brings the same ISO 9660 file
//! system as one file, which is mounted by a read-only loop device.
//!
//! Ioctls and structures: `include/uapi/linux/loop.h`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Where an initramfs has the image's files.
pub const PATH: &str = "/image.iso";

/// `struct loop_config`: descriptor, block size, `struct loop_info64`, and eight reserved words.
type LoopConfig = [u8; 304];
const DESCRIPTOR: std::ops::Range<usize> = 0..4;
/// `lo_flags` of the information, which begins at byte 8.
const FLAGS: std::ops::Range<usize> = 60..64;
const READ_ONLY: u32 = 1;
const AUTO_CLEAR: u32 = 4;

nix::ioctl_none_bad!(
    /// LOOP_CTL_GET_FREE: the number of a device that has no file.
    get_free,
    0x4c82
);
nix::ioctl_write_ptr_bad!(
    /// LOOP_CONFIGURE: gives a device its file.
    configure,
    0x4c0a,
    LoopConfig
);

/// A loop device with a file. It keeps the file as long as this value, or a mount of it, lives.
pub struct Device {
    /// The kernel's name: `loop0`.
    pub name: String,
    _open: File,
}

/// Gives a free loop device the file for reading.
///
/// # Errors
///
/// The file cannot be opened, or the kernel has no loop device for it.
pub fn attach(path: &Path) -> io::Result<Device> {
    let file = File::open(path)?;
    let control = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/loop-control")?;
    // SAFETY: the descriptor is open, and the call takes no argument.
    let number = unsafe { get_free(control.as_raw_fd()) }?;
    let name = format!("loop{number}");
    let device = File::open(PathBuf::from("/dev").join(&name))?;
    let config = read_only(file.as_raw_fd());
    // SAFETY: both descriptors are open, and the kernel reads as many bytes as the structure has.
    unsafe { configure(device.as_raw_fd(), &config) }?;
    Ok(Device {
        name,
        _open: device,
    })
}

fn read_only(descriptor: i32) -> LoopConfig {
    let mut config = [0; size_of::<LoopConfig>()];
    for (range, bytes) in [
        (DESCRIPTOR, descriptor.to_ne_bytes()),
        (FLAGS, (READ_ONLY | AUTO_CLEAR).to_ne_bytes()),
    ] {
        if let Some(field) = config.get_mut(range) {
            field.copy_from_slice(&bytes);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_says_file_and_flags_and_nothing_else() {
        let config = read_only(0x0102_0304);
        assert_eq!(config.get(..4), Some(&0x0102_0304_i32.to_ne_bytes()[..]));
        assert_eq!(config.get(60..64), Some(&5_u32.to_ne_bytes()[..]));
        let others = config.iter().skip(4).filter(|byte| **byte != 0).count();
        assert_eq!(others, 1);
    }

    #[test]
    fn a_file_that_is_not_there_takes_no_device() {
        assert!(
            attach(Path::new("/nowhere/image.iso"))
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        );
    }
}
