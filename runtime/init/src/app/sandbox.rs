//! Shuts the app in: limits, a view of the file systems, a user, capabilities. All of it happens in the new process before its
//! program, by system calls that neither allocate nor lock.

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_long, c_ulong};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::setrlimit;

use super::seccomp::Filter;
use super::spawn::Step;
use crate::mounts;
use crate::settings::Sandbox;

/// The home of an app that is not root, in memory.
pub const HOME: &str = "/run/app";
/// The name of its user and its group.
pub const NAME: &str = "app";
/// Capabilities that the kernel may have beyond those of the settings; it says which it has not.
const MOST_CAPABILITIES: c_ulong = 63;

const NONE: Option<&CStr> = None;
const NOSUID_NODEV: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);
const HARMLESS: MsFlags = NOSUID_NODEV.union(MsFlags::MS_NOEXEC);

/// Prepares what the app's sandbox needs from the machine. What fails is logged.
pub fn prepare(sandbox: &Sandbox) {
    let note = |what: &str, result: io::Result<()>| {
        if let Err(error) = result {
            log::error!("app: {what}: {error}");
        }
    };
    if has_namespace(sandbox) {
        // What storage mounts later shows up in the app's view as well.
        let shared = mount(NONE, c"/", NONE, MsFlags::MS_SHARED | MsFlags::MS_REC, NONE);
        note(
            "disks that come later are not seen by it",
            shared.map_err(io::Error::from),
        );
    }
    if sandbox.user != 0 {
        for path in ["/etc/passwd", "/etc/group"] {
            note(
                &format!("{path} has no entry for it"),
                enter(Path::new(path), sandbox.user),
            );
        }
    }
}

/// Adds the app to a list of users or groups, unless the image brings its own list (a link) or the name or number is in it.
fn enter(path: &Path, user: u32) -> io::Result<()> {
    if path.is_symlink() {
        return Ok(());
    }
    let mut text = fs::read_to_string(path)?;
    let is_there = text.lines().any(|line| {
        let mut fields = line.split(':');
        fields.next() == Some(NAME) || fields.nth(1) == Some(user.to_string().as_str())
    });
    if is_there {
        return Ok(());
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&if path.ends_with("group") {
        format!("{NAME}:x:{user}:\n")
    } else {
        format!("{NAME}:x:{user}:{user}:{NAME}:{HOME}:/nonexistent\n")
    });
    fs::write(path, text)
}

/// Gives the app an empty home. What fails is logged.
pub fn make_home(sandbox: &Sandbox) {
    if sandbox.user != 0
        && let Err(error) = mounts::home(HOME, sandbox.user)
    {
        log::error!("app: {HOME} cannot be made: {error}");
    }
}

fn has_namespace(sandbox: &Sandbox) -> bool {
    sandbox.private_tmp || sandbox.read_only_root || is_walled(sandbox)
}

/// Whether it cannot undo by itself what is mounted for it.
fn is_walled(sandbox: &Sandbox) -> bool {
    !sandbox.kept().has("CAP_SYS_ADMIN")
}

/// A sandbox with everything at hand that needs memory.
#[derive(Debug)]
pub struct Cell {
    sandbox: Sandbox,
    /// Options of a `/tmp` of its own.
    tmp: CString,
    filter: Option<Filter>,
}

impl Cell {
    /// Prepares for `sandbox`.
    pub fn new(sandbox: Sandbox) -> Self {
        let tmp = mounts::tmpfs_options("mode=1777", mounts::TMP_TENTHS);
        Self {
            filter: Filter::new(&sandbox),
            sandbox,
            tmp: CString::new(tmp).unwrap_or_default(),
        }
    }

    /// Shuts this process in, for ever. To be called between fork and exec.
    ///
    /// # Errors
    ///
    /// The first step that failed. Some may have been done then, so that the process must not go on.
    pub fn enter(&self) -> Result<(), (Step, Errno)> {
        enter_sandbox(&self.sandbox, &self.tmp, self.filter.as_ref())
    }
}

fn enter_sandbox(
    sandbox: &Sandbox,
    tmp: &CStr,
    filter: Option<&Filter>,
) -> Result<(), (Step, Errno)> {
    let at = |step: Step| move |cause: Errno| (step, cause);
    for (resource, value) in &sandbox.limits.0 {
        setrlimit(*resource, *value, *value).map_err(at(Step::Limits))?;
    }
    if has_namespace(sandbox) {
        unshare(CloneFlags::CLONE_NEWNS).map_err(at(Step::Namespace))?;
        // What is mounted in it goes with it and is seen by nobody else.
        let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
        mount(NONE, c"/", NONE, flags, NONE).map_err(at(Step::Namespace))?;
    }
    if sandbox.read_only_root {
        make_read_only(c"/", NOSUID_NODEV).map_err(at(Step::ReadOnly))?;
    }
    if sandbox.read_only_root || is_walled(sandbox) {
        protect(sandbox).map_err(at(Step::ReadOnly))?;
    }
    if sandbox.private_tmp {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some(c"tmpfs"), c"/tmp", Some(c"tmpfs"), flags, Some(tmp)).map_err(at(Step::Tmp))?;
    }
    let no_new_privileges = sandbox.no_new_privileges || sandbox.system_calls.is_some();
    if let Some(filter) = filter.filter(|_| !no_new_privileges) {
        // While it is still allowed to. It refuses nothing that follows here.
        filter.install().map_err(at(Step::SystemCalls))?;
    }
    let kept = sandbox.kept().0;
    bound(kept).map_err(at(Step::Capabilities))?;
    if sandbox.user != 0 {
        become_user(sandbox.user).map_err(at(Step::User))?;
    }
    set_capabilities(kept).map_err(at(Step::Capabilities))?;
    if no_new_privileges {
        prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0).map_err(at(Step::NoNewPrivileges))?;
        if let Some(filter) = filter {
            filter.install().map_err(at(Step::SystemCalls))?;
        }
    }
    Ok(())
}

/// Switches of the kernel and of devices, which for most files ask for no capability but only for user id 0.
const KERNELS: [&CStr; 8] = [
    c"/proc/sys",
    c"/proc/irq",
    c"/proc/bus",
    c"/proc/acpi",
    c"/proc/fs",
    c"/proc/mtrr",
    c"/proc/scsi",
    c"/proc/driver",
];
/// Files of init that root could otherwise change: the kernel's helper, its modules, and what init writes at any time.
const INITS: [&CStr; 3] = [c"/init", c"/lib", c"/run/tinyboot"];

fn protect(sandbox: &Sandbox) -> nix::Result<()> {
    for path in KERNELS {
        cover(path, HARMLESS)?;
    }
    if sandbox.kept().has("CAP_NET_ADMIN") && !sandbox.read_only_root {
        // Who manages the network has its switches too.
        let net = c"/proc/sys/net";
        mount(Some(net), net, NONE, MsFlags::MS_BIND, NONE)?;
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | HARMLESS;
        mount(NONE, net, NONE, flags, NONE)?;
    }
    if sandbox.user == 0 {
        for path in INITS {
            cover(path, NOSUID_NODEV)?;
        }
    }
    for path in [c"/sys", c"/sys/fs/cgroup"] {
        match make_read_only(path, HARMLESS) {
            // A kernel without control groups has nothing there.
            Err(Errno::ENOENT | Errno::EINVAL) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Makes what is at `path`, if anything is, read-only alone.
fn cover(path: &CStr, flags: MsFlags) -> nix::Result<()> {
    match mount(Some(path), path, NONE, MsFlags::MS_BIND, NONE) {
        Err(Errno::ENOENT) => Ok(()),
        other => other.and_then(|()| make_read_only(path, flags)),
    }
}

fn make_read_only(path: &CStr, flags: MsFlags) -> nix::Result<()> {
    let change = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(NONE, path, NONE, change | flags, NONE)
}

/// Takes all but `kept` out of what this process and its children can ever get.
fn bound(kept: u64) -> nix::Result<()> {
    for number in (0..=MOST_CAPABILITIES).filter(|number| kept & (1 << number) == 0) {
        match prctl(libc::PR_CAPBSET_DROP, number, 0) {
            // The kernel has no such capability.
            Err(Errno::EINVAL) => return Ok(()),
            other => drop(other?),
        }
    }
    Ok(())
}

/// Not the C library's functions: they take locks, to change all threads of a process.
fn become_user(user: u32) -> nix::Result<()> {
    // Otherwise all capabilities go with the user id.
    prctl(libc::PR_SET_KEEPCAPS, 1, 0)?;
    let id = c_long::from(user);
    // SAFETY: numbers are passed, and a list of no length.
    unsafe {
        Errno::result(libc::syscall(
            libc::SYS_setgroups,
            0,
            std::ptr::null::<u32>(),
        ))?;
        Errno::result(libc::syscall(libc::SYS_setresgid, id, id, id))?;
        Errno::result(libc::syscall(libc::SYS_setresuid, id, id, id))?;
    }
    Ok(())
}

/// Makes `kept` the capabilities that this process has and that outlive an execve(2), also that of a user's process.
fn set_capabilities(kept: u64) -> nix::Result<()> {
    // capset(2) wants no more than what the kernel knows and this process can have.
    let possible = (0..=MOST_CAPABILITIES)
        .filter(|number| prctl(libc::PR_CAPBSET_READ, *number, 0) == Ok(1))
        .fold(0, |set, number| set | 1_u64 << number);
    let kept = kept & possible;
    // linux/capability.h: version 3 of the header, then 32 bits each of effective, permitted and inheritable, twice.
    let header = [0x2008_0522_u32, 0];
    let (low, high) = (kept as u32, (kept >> 32) as u32);
    let sets = [low, low, low, high, high, high];
    // SAFETY: the kernel reads a header and two records of three numbers.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) })?;
    for number in (0..=MOST_CAPABILITIES).filter(|number| kept & (1 << number) != 0) {
        prctl(
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as c_ulong,
            number,
        )?;
    }
    Ok(())
}

fn prctl(option: c_int, first: c_ulong, second: c_ulong) -> nix::Result<c_int> {
    let none: c_ulong = 0;
    // SAFETY: only options whose arguments are numbers are used here.
    Errno::result(unsafe { libc::prctl(option, first, second, none, none) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Capabilities, Limits};
    use nix::sys::resource::Resource;
    use std::os::unix::fs::symlink;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    /// What a shell says in a sandbox, in a user namespace of its own where this process has not the rights itself.
    fn said(sandbox: Sandbox, script: &str) -> io::Result<String> {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        let cell = Cell::new(sandbox);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        // SAFETY: as in world.rs of the network's tests; the tests' process does not depend on a lock here.
        unsafe {
            command.pre_exec(move || {
                if unshare(CloneFlags::CLONE_NEWNS).is_err() {
                    unshare(CloneFlags::CLONE_NEWUSER)?;
                    fs::write("/proc/self/setgroups", "deny")?;
                    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
                    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
                }
                cell.enter().map_err(|(step, cause)| {
                    io::Error::from_raw_os_error(cause as i32 + step as i32 * 1000)
                })
            });
        }
        let output = command.output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    const STATUS: &str = "while read a b c; do case $a in Cap*|NoNew*) echo $a$b;; esac; done < /proc/self/status; ulimit -n";

    #[test]
    fn the_kernel_says_what_was_taken() -> io::Result<()> {
        let sandbox = Sandbox {
            capabilities: Some(Capabilities(1 << 10)),
            limits: Limits(vec![(Resource::RLIMIT_NOFILE, 64)]),
            ..Sandbox::default()
        };
        let text = said(sandbox, STATUS)?;
        let net = "0000000000000400";
        for name in ["Inh", "Prm", "Eff", "Bnd", "Amb"] {
            assert!(text.contains(&format!("Cap{name}:{net}\n")), "{text}");
        }
        assert!(text.ends_with("NoNewPrivs:1\n64\n"), "{text}");

        let all = Sandbox {
            no_new_privileges: false,
            ..Sandbox::default()
        };
        let text = said(all, STATUS)?;
        // A build of Nix has it already, and nobody can put it off.
        let own = fs::read_to_string("/proc/self/status")?.contains("NoNewPrivs:\t1");
        let expected = format!("NoNewPrivs:{}\n", u8::from(own));
        assert!(text.contains(&expected), "{text}");
        let bounding = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
        let bounding = u64::from_str_radix(bounding.unwrap_or_default(), 16).unwrap_or(u64::MAX);
        assert_eq!(bounding & !Sandbox::default().kept().0, 0, "{text}");
        Ok(())
    }

    #[test]
    fn a_private_tmp_is_empty_and_goes_away() -> io::Result<()> {
        let mark = tempfile::Builder::new().tempfile_in("/tmp")?;
        let sandbox = Sandbox {
            private_tmp: true,
            ..Sandbox::default()
        };
        let text = said(sandbox, "echo x > /tmp/only-in-the-sandbox; echo /tmp/*")?;
        assert_eq!(text, "/tmp/only-in-the-sandbox\n");
        assert!(mark.path().exists() && !Path::new("/tmp/only-in-the-sandbox").exists());
        Ok(())
    }

    #[test]
    fn a_read_only_root_covers_what_is_mounted_below_sys() -> io::Result<()> {
        // A build of Nix has no /sys: there it is the VM test's matter alone.
        if !Path::new("/sys/kernel").exists() {
            return Ok(());
        }
        let sandbox = Sandbox {
            read_only_root: true,
            ..Sandbox::default()
        };
        let script = "while read a b c d path options rest; do case $path in /|/sys|/sys/fs/cgroup|/proc/sys) echo $path ${options%%,*};; esac; done < /proc/self/mountinfo";
        let text = said(sandbox, script)?;
        for path in ["/", "/sys", "/proc/sys", "/sys/fs/cgroup"] {
            let last = text
                .lines()
                .filter_map(|line| line.strip_prefix(path)?.strip_prefix(' '))
                .next_back();
            let absent = last.is_none() && path == "/sys/fs/cgroup";
            assert!(absent || last == Some("ro"), "{path}: {text}");
        }
        Ok(())
    }

    #[test]
    fn the_kernels_switches_are_for_who_has_a_capability_for_them() -> io::Result<()> {
        // As above.
        if !Path::new("/sys/kernel").exists() {
            return Ok(());
        }
        let script = "while read a b c d path options rest; do case $path in /sys|/proc/sys|/proc/sys/net|/proc/irq) echo $path ${options%%,*};; esac; done < /proc/self/mountinfo";
        let shown = |capabilities| {
            let sandbox = Sandbox {
                capabilities: Some(Capabilities(capabilities)),
                ..Sandbox::default()
            };
            said(sandbox, script)
        };
        let none = shown(0)?;
        for line in ["/sys ro", "/proc/sys ro", "/proc/irq ro"] {
            assert!(none.lines().any(|known| known == line), "{line}: {none}");
        }
        assert!(!none.contains("/proc/sys/net"), "{none}");
        let net = shown(1 << 12)?;
        assert!(
            net.contains("/proc/sys ro\n") && net.contains("/proc/sys/net rw\n"),
            "{net}"
        );
        let admin = shown(1 << 21)?;
        assert!(!admin.contains("/sys ro"), "{admin}");
        Ok(())
    }

    #[test]
    fn a_call_that_is_not_allowed_is_refused() -> io::Result<()> {
        let sandbox: Sandbox =
            serde_json::from_str(r#"{"systemCalls":["~chdir"],"noNewPrivileges":false}"#)?;
        let text = said(sandbox, "cd /proc 2>/dev/null || echo refused; pwd")?;
        assert_eq!(text.lines().next(), Some("refused"), "{text}");
        Ok(())
    }

    #[test]
    fn the_user_is_listed_once_and_a_list_of_ones_own_stays() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let passwd = directory.path().join("passwd");
        fs::write(&passwd, "root:x:0:0:root:/:/nonexistent")?;
        for _ in 0..2 {
            enter(&passwd, 1000)?;
        }
        assert_eq!(
            fs::read_to_string(&passwd)?,
            "root:x:0:0:root:/:/nonexistent\napp:x:1000:1000:app:/run/app:/nonexistent\n"
        );
        let group = directory.path().join("group");
        fs::write(&group, "")?;
        enter(&group, 7)?;
        assert_eq!(fs::read_to_string(&group)?, "app:x:7:\n");
        let link = directory.path().join("link");
        symlink(&group, &link)?;
        enter(&link, 8)?;
        assert_eq!(fs::read_to_string(&group)?, "app:x:7:\n");
        Ok(())
    }
}
