//! The kernel's own switches that make an attack harder and that no ordinary program notices. Those that are the same for
//! every kernel of ours are in its configuration instead (`nix/kernel/common/hardening.config`).

use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::libc;

use crate::helper;

/// Below `/proc/sys`, with the value (Documentation/admin-guide/sysctl/{kernel,fs}.rst).
const SWITCHES: &[(&str, &str)] = &[
    // Addresses of the kernel are shown to nobody, root included.
    ("kernel/kptr_restrict", "2"),
    // The most that the kernel can: the app's control group has its share of these, so that init always finds one.
    ("kernel/pid_max", "4194304"),
    // In a directory like /tmp nobody is led astray by what another user put there.
    ("fs/protected_symlinks", "1"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_fifos", "1"),
    ("fs/protected_regular", "1"),
    // Line disciplines are a part of the kernel that is old and that nobody here asks for.
    ("dev/tty/ldisc_autoload", "0"),
    // The programs that the kernel starts itself are init ([`helper`](crate::helper)) or none. The configuration says so
    // too; here it is for kernels without CONFIG_STATIC_USERMODEHELPER. A line of no length is an empty setting.
    ("kernel/modprobe", "\n"),
    ("kernel/core_pattern", "\n"),
    ("kernel/hotplug", "\n"),
    ("kernel/poweroff_cmd", "/init poweroff"),
];

/// Once it is 1 no module can be loaded until the next boot, by anybody.
const MODULES_DISABLED: &str = "/proc/sys/kernel/modules_disabled";

/// Sets the switches. What a kernel does not have is left out; what fails is logged.
pub fn set() {
    for (name, value) in SWITCHES {
        match fs::write(Path::new("/proc/sys").join(name), value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::error!("hardening: {name} cannot be set to {value:?}: {error}");
            }
            _ => {}
        }
    }
    helper::limit();
}

/// Keeps processes of the same user, root, from changing init's resource limits: prlimit(2) wants all group ids of the other
/// to be the caller's, or CAP_SYS_RESOURCE. To be called before there are threads, which have ids of their own.
pub fn guard() {
    const NOBODY: u32 = 65534;
    // SAFETY: numbers are passed, of which -1 changes nothing.
    if unsafe { libc::syscall(libc::SYS_setresgid, -1, -1, NOBODY) } != 0 {
        log::error!(
            "hardening: root can change init's limits: {}",
            Errno::last().desc()
        );
    }
}

/// Has the kernel refuse every further module, for good.
///
/// # Errors
///
/// What the kernel says; without support for modules there is nothing to switch off, and that is no error.
pub fn refuse_modules() -> io::Result<()> {
    match fs::write(MODULES_DISABLED, "1") {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
