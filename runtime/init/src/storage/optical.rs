//! Drives that give their medium back when somebody asks for it.
//!
//! While a file system of it is mounted, the kernel keeps the drive locked: neither its button nor the hypervisor gets the
//! medium out.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use sys_mount::UnmountFlags;

nix::ioctl_none_bad!(
    /// CDROMEJECT of `include/uapi/linux/cdrom.h`.
    eject_medium,
    0x5309
);

/// Unmounts what nobody uses.
///
/// # Errors
///
/// A file of it is open, or something is mounted above it.
pub fn unmount(path: &Path) -> io::Result<()> {
    sys_mount::unmount(path, UnmountFlags::empty())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// Whether a device is such a drive.
pub fn is_drive(name: &str) -> bool {
    name.starts_with("sr")
}

/// Has the kernel find out whether the medium is there still, and send a message if not: by itself it asks such a drive only
/// for what happened, and not every one tells that its medium was taken out.
pub fn ask(name: &str) {
    drop(open(name));
}

/// Opens the drive's tray.
///
/// # Errors
///
/// It is in use, or it cannot.
pub fn eject(name: &str) -> io::Result<()> {
    let drive = open(name)?;
    // SAFETY: the descriptor is open, and the call takes no argument.
    unsafe { eject_medium(drive.as_raw_fd()) }?;
    Ok(())
}

fn open(name: &str) -> io::Result<File> {
    // Without the flag there has to be a medium.
    OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(Path::new("/dev").join(name))
}
