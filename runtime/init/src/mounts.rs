//! What every Linux program expects to find mounted, and the places for what storage brings.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::mount::MsFlags;
use sys_mount::{Mount, MountFlags};

/// One file system that needs no device.
struct Pseudo {
    path: &'static str,
    kind: &'static str,
    options: &'static str,
    flags: MountFlags,
}

impl fmt::Display for Pseudo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.path)
    }
}

const HARMLESS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// In the order of mounting. `/run` and `/tmp` may hold programs that the app unpacks, so they are not noexec.
const PSEUDO: &[Pseudo] = &[
    Pseudo {
        path: "/proc",
        kind: "proc",
        options: "",
        flags: HARMLESS,
    },
    Pseudo {
        path: "/sys",
        kind: "sysfs",
        options: "",
        flags: HARMLESS,
    },
    Pseudo {
        path: "/dev",
        kind: "devtmpfs",
        options: "mode=0755",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
    },
    Pseudo {
        path: "/dev/pts",
        kind: "devpts",
        options: "mode=0620,ptmxmode=0666",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
    },
    Pseudo {
        path: "/dev/shm",
        kind: "tmpfs",
        options: "mode=1777",
        flags: HARMLESS,
    },
    Pseudo {
        path: "/run",
        kind: "tmpfs",
        options: "mode=0755",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
    },
    Pseudo {
        path: "/tmp",
        kind: "tmpfs",
        options: "mode=1777",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
    },
    Pseudo {
        path: "/sys/fs/cgroup",
        kind: "cgroup2",
        options: "nsdelegate",
        flags: HARMLESS,
    },
    // Until a disk comes these two are there and refuse writes, also those of root, whom permission bits do not stop:
    // data never lands in memory by mistake.
    Pseudo {
        path: "/iso",
        kind: "tmpfs",
        options: "mode=0555,size=4k",
        flags: HARMLESS.union(MountFlags::RDONLY),
    },
    Pseudo {
        path: "/persistent",
        kind: "tmpfs",
        options: "mode=0555,size=4k",
        flags: HARMLESS.union(MountFlags::RDONLY),
    },
];

/// Symbolic links that programs look for in `/dev`.
const LINKS: &[(&str, &str)] = &[
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

/// Files that programs look for in `/etc`; those that the image brings stay.
const FILES: &[(&str, &str)] = &[
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    ("/etc/resolv.conf", ""),
    // Servers give up root for `nobody` unless they are told otherwise.
    (
        "/etc/passwd",
        "root:x:0:0:root:/:/nonexistent\nnobody:x:65534:65534:nobody:/:/nonexistent\n",
    ),
    (
        "/etc/group",
        "root:x:0:\nnobody:x:65534:\nnogroup:x:65534:\n",
    ),
    ("/etc/nsswitch.conf", "hosts: files dns\n"),
];

/// The root directory has neither devices nor programs that give rights away, and is to be no place for them. It is the
/// kernel's own file system, which anybody may write to (mode 1777); here it is root's, as elsewhere.
fn harden_root() {
    let root = Path::new("/");
    report(
        "/",
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)),
    );
    report("/", std::os::unix::fs::chown(root, Some(0), Some(0)));
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if let Err(error) = nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>) {
        log::error!("mounts: / is not nosuid and nodev: {error}");
    }
}

/// Mounts all that needs no device and writes the few files. What fails is logged and left out: the kernel may be
/// built without it.
pub fn pseudo() {
    for file_system in PSEUDO {
        match mount(file_system) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(nix::libc::ENODEV) => {
                log::info!("mounts: the kernel has no {}", file_system.kind);
            }
            // devtmpfs may be there already when the kernel mounts it itself.
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
            Err(error) => log::error!("mounts: {file_system} failed: {error}"),
        }
    }
    harden_root();
    for (target, link) in LINKS {
        // devtmpfs has a device at /dev/ptmx, which stays when devpts could not be mounted.
        if *link == "/dev/ptmx" && Path::new("/dev/pts/ptmx").exists() {
            let _ = fs::remove_file(link);
        }
        if fs::symlink_metadata(link).is_err() {
            report(link, std::os::unix::fs::symlink(target, link));
        }
    }
    report("/etc", fs::create_dir_all("/etc"));
    for (path, content) in FILES {
        if !Path::new(path).exists() {
            report(path, fs::write(path, content));
        }
    }
}

fn report(path: &str, result: io::Result<()>) {
    if let Err(error) = result {
        log::error!("mounts: {path} cannot be set up: {error}");
    }
}

fn mount(file_system: &Pseudo) -> io::Result<()> {
    match fs::create_dir_all(file_system.path) {
        // /sys/fs/cgroup and the like belong to the kernel: not there means not built in.
        Err(_) if file_system.path.starts_with("/sys/") => {
            return Err(io::Error::from_raw_os_error(nix::libc::ENODEV));
        }
        other => other?,
    }
    Mount::builder()
        .fstype(file_system.kind)
        .flags(file_system.flags)
        .data(file_system.options)
        .mount(file_system.kind, file_system.path)
        .map(drop)
}
