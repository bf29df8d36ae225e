//! Loop devices: a file as a disk.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

const GET_FREE: libc::c_ulong = 0x4c82;
const CONFIGURE: libc::c_ulong = 0x4c0a;
const AUTO_CLEAR: u32 = 4;

/// A loop device, which loses its file when neither this value nor a mount has it open.
pub struct Device {
    pub path: String,
    _open: File,
}

/// Gives a free loop device the file.
pub fn attach(file: &File) -> io::Result<Device> {
    let open = |path: &str| OpenOptions::new().read(true).write(true).open(path);
    let control = open("/dev/loop-control")?;
    // SAFETY: the descriptor is open, and the call takes no argument.
    let number = unsafe { libc::ioctl(control.as_raw_fd(), GET_FREE as _) };
    if number < 0 {
        return Err(io::Error::last_os_error());
    }
    let path = format!("/dev/loop{number}");
    let device = open(&path)?;
    // `struct loop_config` of include/uapi/linux/loop.h: the descriptor, and the flags in `struct loop_info64`.
    let mut config = [0_u8; 304];
    config[..4].copy_from_slice(&file.as_raw_fd().to_ne_bytes());
    config[60..64].copy_from_slice(&AUTO_CLEAR.to_ne_bytes());
    // SAFETY: both descriptors are open, and the kernel reads as many bytes as the structure has.
    if unsafe { libc::ioctl(device.as_raw_fd(), CONFIGURE as _, config.as_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Device {
        path,
        _open: device,
    })
}
