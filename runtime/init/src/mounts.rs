//! What every Linux program expects to find mounted, and the places for what storage brings.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::OnceLock;

use nix::mount::MsFlags;
use sys_mount::{Mount, MountFlags, UnmountFlags};

/// One file system that needs no device.
struct Pseudo {
    path: &'static str,
    kind: &'static str,
    options: &'static str,
    flags: MountFlags,
    /// Its size in tenths of the memory that is free when init starts; 0 is the kernel's own limit.
    tenths: u64,
}

impl fmt::Display for Pseudo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.path)
    }
}

const KIB: u64 = 1024;
/// What is taken for the free memory if the kernel does not say it.
const SMALL: u64 = 32 << 20;
/// For the app's files in the root directory.
const ROOT_TENTHS: u64 = 2;
/// For the home of an app that is not root, and so cannot write to the root directory.
const HOME_TENTHS: u64 = 2;
/// For `/tmp`, also for one that the app has for itself.
pub const TMP_TENTHS: u64 = 3;
/// Those that the app gets empty at each start.
const APPS: [&str; 2] = ["/dev/shm", "/tmp"];

const HARMLESS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// In the order of mounting. All that can be written to is bounded, and all together leave init and the kernel room: what lies
/// in them belongs to no process, so that the kernel could free it by killing none. `/run` and `/tmp` may hold programs that the app unpacks, so they are not noexec.
const PSEUDO: &[Pseudo] = &[
    Pseudo {
        path: "/proc",
        kind: "proc",
        options: "",
        flags: HARMLESS,
        tenths: 0,
    },
    Pseudo {
        path: "/sys",
        kind: "sysfs",
        options: "",
        flags: HARMLESS,
        tenths: 0,
    },
    Pseudo {
        path: "/dev",
        kind: "devtmpfs",
        options: "mode=0755",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        tenths: 0,
    },
    Pseudo {
        path: "/dev/pts",
        kind: "devpts",
        options: "mode=0620,ptmxmode=0666",
        flags: MountFlags::NOSUID.union(MountFlags::NOEXEC),
        tenths: 0,
    },
    Pseudo {
        path: "/dev/shm",
        kind: "tmpfs",
        options: "mode=1777",
        flags: HARMLESS,
        tenths: 2,
    },
    Pseudo {
        path: "/run",
        kind: "tmpfs",
        options: "mode=0755",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        tenths: 1,
    },
    Pseudo {
        path: "/tmp",
        kind: "tmpfs",
        options: "mode=1777",
        flags: MountFlags::NOSUID.union(MountFlags::NODEV),
        tenths: TMP_TENTHS,
    },
    Pseudo {
        path: "/sys/fs/cgroup",
        kind: "cgroup2",
        options: "nsdelegate",
        flags: HARMLESS,
        tenths: 0,
    },
    // Until a disk comes these two are there and refuse writes, also those of root, whom permission bits do not stop:
    // data never lands in memory by mistake.
    Pseudo {
        path: "/iso",
        kind: "tmpfs",
        options: "mode=0555,size=4k",
        flags: HARMLESS.union(MountFlags::RDONLY),
        tenths: 0,
    },
    Pseudo {
        path: "/persistent",
        kind: "tmpfs",
        options: "mode=0555,size=4k",
        flags: HARMLESS.union(MountFlags::RDONLY),
        tenths: 0,
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
    // Without them getaddrinfo(3) knows no service by its name.
    ("/etc/services", SERVICES),
    (
        "/etc/protocols",
        "ip 0\nicmp 1\ntcp 6\nudp 17\nipv6 41\nipv6-icmp 58\n",
    ),
];

/// The services that programs ask for by name, as IANA has assigned them.
const SERVICES: &str = "\
ftp 21/tcp
ssh 22/tcp
telnet 23/tcp
smtp 25/tcp
domain 53/tcp
domain 53/udp
bootps 67/udp
bootpc 68/udp
tftp 69/udp
http 80/tcp www
kerberos 88/tcp
kerberos 88/udp
pop3 110/tcp
ntp 123/udp
imap2 143/tcp imap
snmp 161/udp
ldap 389/tcp
https 443/tcp
https 443/udp
submissions 465/tcp
syslog 514/udp
submission 587/tcp
ldaps 636/tcp
domain-s 853/tcp
imaps 993/tcp
pop3s 995/tcp
mqtt 1883/tcp
nfs 2049/tcp
mysql 3306/tcp
sip 5060/tcp
sip 5060/udp
xmpp-client 5222/tcp
mdns 5353/udp
postgresql 5432/tcp
amqp 5672/tcp
redis 6379/tcp
secure-mqtt 8883/tcp
";

/// The root directory has neither devices nor programs that give rights away, and is to be no place for them. It is the
/// kernel's own file system, which anybody may write to (mode 1777); here it is root's, as elsewhere.
fn harden_root() {
    let root = Path::new("/");
    report(
        "/",
        fs::set_permissions(root, fs::Permissions::from_mode(0o755)),
    );
    report("/", std::os::unix::fs::chown(root, Some(0), Some(0)));
    report("/", bound_root());
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    if let Err(error) = nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>) {
        log::error!("mounts: / is not nosuid and nodev: {error}");
    }
}

/// Gives the root directory as much room beside what the image brings as [`ROOT_TENTHS`] says.
fn bound_root() -> io::Result<()> {
    let known = nix::sys::statfs::statfs("/")?;
    // A ramfs has no size.
    if known.filesystem_type() != nix::sys::statfs::TMPFS_MAGIC {
        return Ok(());
    }
    let block = u64::try_from(known.block_size()).unwrap_or(4096);
    let used = (known.blocks() - known.blocks_free().min(known.blocks())) * block;
    let files = known.files() - known.files_free().min(known.files());
    let (size, more) = share(free_memory(), ROOT_TENTHS);
    let options = bounds((size + used.div_ceil(KIB), more + files));
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    nix::mount::mount(
        None::<&str>,
        "/",
        None::<&str>,
        flags,
        Some(options.as_str()),
    )?;
    Ok(())
}

/// The memory that was free when this was asked first, at init's start: what the image brings is not part of it.
fn free_memory() -> u64 {
    static FREE: OnceLock<u64> = OnceLock::new();
    *FREE.get_or_init(|| nix::sys::sysinfo::sysinfo().map_or(SMALL, |info| info.ram_unused()))
}

/// The size in KiB and the number of files that so many tenths of the memory are. An empty file takes up to 1 KiB of the
/// kernel's memory: all that can be made take an eighth of the size besides.
fn share(memory: u64, tenths: u64) -> (u64, u64) {
    let size = memory / 10 * tenths / KIB;
    (size, (size / 8).max(64))
}

fn bounds((size, files): (u64, u64)) -> String {
    format!("size={size}k,nr_inodes={files}")
}

/// Options for a tmpfs of the app: its mode and its bounds.
pub fn tmpfs_options(options: &str, tenths: u64) -> String {
    format!("{options},{}", bounds(share(free_memory(), tenths)))
}

/// Gives the app empty directories in memory in the place of those of its start before. To be called when no process is left.
pub fn renew() {
    for file_system in PSEUDO.iter().filter(|known| APPS.contains(&known.path)) {
        report(
            file_system.path,
            replace(file_system.path, || mount(file_system)),
        );
    }
}

/// Gives the user an empty home at `path`, in memory that nobody else's files can use up.
///
/// # Errors
///
/// It cannot be mounted.
pub fn home(path: &str, user: u32) -> io::Result<()> {
    let options = tmpfs_options(&format!("mode=0700,uid={user},gid={user}"), HOME_TENTHS);
    fs::create_dir_all(path)?;
    replace(path, || {
        Mount::builder()
            .fstype("tmpfs")
            .flags(MountFlags::NOSUID.union(MountFlags::NODEV))
            .data(&options)
            .mount("tmpfs", path)
            .map(drop)
    })
}

/// Mounts anew what is mounted at `path`, or for the first time. A disk that the app has mounted there stays, above or alone.
fn replace(path: &str, mount: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let is_mounted = fs::metadata(path)?.dev() != fs::metadata(Path::new(path).join(".."))?.dev();
    if is_mounted {
        let kind = nix::sys::statfs::statfs(path)?.filesystem_type();
        if kind != nix::sys::statfs::TMPFS_MAGIC {
            return Ok(());
        }
        sys_mount::unmount(path, UnmountFlags::DETACH)?;
    }
    mount()
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
    let options = match file_system.tenths {
        0 => file_system.options.to_owned(),
        tenths => tmpfs_options(file_system.options, tenths),
    };
    Mount::builder()
        .fstype(file_system.kind)
        .flags(file_system.flags)
        .data(&options)
        .mount(file_system.kind, file_system.path)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_can_be_written_to_leaves_room_for_init() {
        for memory in [20 << 20, 200 << 20, 4_000 << 20, 1 << 40] {
            let listed = PSEUDO.iter().map(|file_system| file_system.tenths);
            // An app is root and writes to the root directory, or it is not and has a home.
            let tenths: Vec<u64> = listed.chain([ROOT_TENTHS.max(HOME_TENTHS)]).collect();
            let shares = tenths.into_iter().map(|tenths| match tenths {
                0 => (0, 0),
                tenths => share(memory, tenths),
            });
            let used = shares.fold(0, |sum, (size, files)| sum + (size + files) * KIB);
            assert!(used <= memory / 100 * 92, "{used} of {memory}");
        }
        let unbounded = PSEUDO
            .iter()
            .filter(|known| known.kind == "tmpfs" && known.tenths == 0);
        for file_system in unbounded {
            assert!(
                file_system.flags.contains(MountFlags::RDONLY),
                "{file_system}"
            );
        }
    }
}
