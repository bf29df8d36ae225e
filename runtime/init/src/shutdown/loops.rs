//! Loop devices, which keep the file system busy that their file is on (drivers/block/loop.c).

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::Path;

nix::ioctl_none!(
    /// LOOP_CLR_FD: takes the file from the device; when it is mounted, as soon as it no longer is.
    clear,
    0x4c,
    0x01
);

/// Detaches all loop devices whose file lies below `path`. One that does not let go shows itself when `path` is unmounted.
pub fn detach(path: &Path) {
    for device in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
        let file = fs::read_to_string(device.path().join("loop/backing_file")).unwrap_or_default();
        if !Path::new(file.trim_end()).starts_with(path) {
            continue;
        }
        if let Ok(device) = File::open(Path::new("/dev").join(device.file_name())) {
            // SAFETY: the descriptor is open, and the call takes no argument.
            let _ = unsafe { clear(device.as_raw_fd()) };
        }
    }
}
