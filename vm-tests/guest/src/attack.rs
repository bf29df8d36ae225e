//! Tries every door out of the sandbox. A line for each: `name: shut: cause`, or `name: open`.

use std::ffi::CString;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem;
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Command, Stdio};

/// What the kernel answers to a call of this number with these arguments.
fn call(number: libc::c_long, arguments: [usize; 6]) -> io::Result<i64> {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: addresses among the arguments are null, or of memory that the callers below hold and that is as large as the call wants.
    match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// The same with up to three arguments.
fn short(number: libc::c_long, a: usize, b: usize, c: usize) -> io::Result<()> {
    call(number, [a, b, c, 0, 0, 0]).map(drop)
}

/// Not as a controlling terminal, which would be hung up at this process's end.
fn writable(path: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NOCTTY);
    options.open(path).map(drop)
}

fn renamed(path: &str) -> io::Result<()> {
    let other = format!("{path}.old");
    fs::rename(path, &other)?;
    // It was a proof; what follows needs the file.
    fs::rename(other, path)
}

/// The first success with one of the files that a directory's entries have.
fn any(directory: &str, file: &str, attempt: impl Fn(&str) -> io::Result<()>) -> io::Result<()> {
    let mut last = Err(io::ErrorKind::NotFound.into());
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path().join(file);
        last = attempt(&path.to_string_lossy());
        if last.is_ok() {
            break;
        }
    }
    last
}

fn registers(path: &str) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let (length, access, flags) = (4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    // SAFETY: the kernel chooses the address, and nobody uses what is mapped.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            length,
            access,
            flags,
            file.as_raw_fd(),
            0,
        )
    };
    if at == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Sets a serial port as it is.
fn serial_port() -> io::Result<()> {
    use std::os::fd::AsRawFd;
    const SET: usize = 0x541f;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOCTTY);
    let port = options.open("/dev/ttyS0")?;
    let mut state = [0_u64; 16];
    let (file, memory) = (port.as_raw_fd() as usize, state.as_mut_ptr() as usize);
    short(libc::SYS_ioctl, file, libc::TIOCGSERIAL as usize, memory)?;
    short(libc::SYS_ioctl, file, SET, memory)
}

fn limits_of_init() -> io::Result<()> {
    let (mut limits, number) = ([0_u64; 2], libc::RLIMIT_NOFILE as usize);
    let memory = limits.as_mut_ptr() as usize;
    call(libc::SYS_prlimit64, [1, number, 0, memory, 0, 0])?;
    call(libc::SYS_prlimit64, [1, number, memory, 0, 0, 0]).map(drop)
}

fn counters() -> io::Result<()> {
    // perf_event_attr of this process's own task clock, without the kernel's part.
    let mut attributes = [0_u32; 32];
    attributes[0] = 1;
    attributes[1] = 64;
    attributes[2] = 1;
    attributes[10] = 1 << 5 | 1 << 6;
    let memory = attributes.as_ptr() as usize;
    call(
        libc::SYS_perf_event_open,
        [memory, 0, usize::MAX, usize::MAX, 0, 0],
    )
    .map(drop)
}

fn helper(arguments: &[&str]) -> io::Result<()> {
    let mut command = Command::new("/init");
    let status = command.args(arguments).stdin(Stdio::null()).status()?;
    status
        .success()
        .then_some(())
        .ok_or_else(|| io::Error::other(status.to_string()))
}

fn clock_set() -> io::Result<()> {
    let now: libc::timespec = libc::timespec {
        tv_sec: 2_000_000_000,
        tv_nsec: 0,
    };
    short(libc::SYS_clock_settime, 0, &raw const now as usize, 0)
}

fn mounted(kind: &str, path: &str) -> io::Result<()> {
    let (kind, path) = (CString::new(kind)?, CString::new(path)?);
    let (kind, path) = (kind.as_ptr() as usize, path.as_ptr() as usize);
    call(libc::SYS_mount, [kind, path, kind, 0, 0, 0]).map(drop)
}

fn named(number: libc::c_long, path: &str, second: usize, third: usize) -> io::Result<()> {
    let path = CString::new(path)?;
    short(number, path.as_ptr() as usize, second, third)
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    short(
        libc::SYS_socket,
        family as usize,
        kind as usize,
        protocol as usize,
    )
}

/// Tries all of them.
pub fn all() -> io::Result<String> {
    let mut text = String::new();
    let mut door = |name: &str, result: io::Result<()>| {
        let _ = match result {
            Ok(()) => writeln!(text, "{name}: open"),
            Err(error) => writeln!(text, "{name}: shut: {error}"),
        };
    };
    // SAFETY: has no arguments and cannot fail.
    let is_root = unsafe { libc::geteuid() } == 0;
    let mask = [u64::MAX; 16];
    let (bytes, mask) = (mem::size_of_val(&mask), mask.as_ptr() as usize);

    door("/", File::create("/attack").map(drop));
    door("/sbin", fs::create_dir("/sbin.attack"));
    for (name, path) in [
        ("modprobe", "kernel/modprobe"),
        ("core_pattern", "kernel/core_pattern"),
        ("poweroff_cmd", "kernel/poweroff_cmd"),
        ("sysctl", "kernel/panic"),
        ("sysctl net", "net/ipv4/ip_forward"),
    ] {
        door(name, writable(&format!("/proc/sys/{path}")));
    }
    door("/init replaced", renamed("/init"));
    door("/init written", writable("/init"));
    door("/lib replaced", renamed("/lib"));
    door("helper: module", helper(&["-q", "--", "ext4"]));
    door("helper: nothing", helper(&[]));
    if !is_root {
        // Root may signal process 1 anyway, and it would stop.
        door("helper: poweroff", helper(&["poweroff"]));
        door("become root", short(libc::SYS_setuid, 0, 0, 0));
    }
    door(
        "module for a socket",
        socket(libc::AF_APPLETALK, libc::SOCK_DGRAM, 0),
    );

    door("init: signal", short(libc::SYS_kill, 1, 0, 0));
    door("init: limits", limits_of_init());
    door(
        "init: trace",
        call(libc::SYS_ptrace, [0x4206, 1, 0, 0, 0, 0]).map(drop),
    );
    door("init: memory", File::open("/proc/1/mem").map(drop));
    door("init: environment", fs::read("/proc/1/environ").map(drop));
    door("init: files", fs::read_dir("/proc/1/fd").map(drop));
    door(
        "init: processors",
        short(libc::SYS_sched_setaffinity, 1, bytes, mask),
    );
    door("init: priority", short(libc::SYS_setpriority, 0, 1, 0));
    door("init: status", writable("/run/tinyboot/status.json"));
    door("init: log", renamed("/run/tinyboot/log"));
    door(
        "init: own files",
        fs::write("/persistent/.tinyboot/attack", ""),
    );
    door("/etc", writable("/etc/passwd"));

    door("sysfs", writable("/sys/bus/pci/rescan"));
    let pci = "/sys/bus/pci/devices";
    door("pci: configuration", any(pci, "config", writable));
    let bars = ["resource0", "resource1", "resource4", "resource5"];
    for bar in bars {
        door(&format!("pci: {bar}"), any(pci, bar, registers));
    }
    door("pci: proc", any("/proc/bus/pci", "00.0", writable));
    door("irq", writable("/proc/irq/default_smp_affinity"));
    door("serial port", serial_port());
    door("cgroup: procs", writable("/sys/fs/cgroup/cgroup.procs"));
    door("cgroup: memory", writable("/sys/fs/cgroup/app/memory.max"));
    for (name, path) in [
        ("kmsg", "/dev/kmsg"),
        ("disk", "/dev/vda"),
        ("console", "/dev/console"),
        ("watchdog", "/dev/watchdog"),
        ("memory", "/dev/mem"),
        ("ports", "/dev/port"),
    ] {
        door(&format!("/dev: {name}"), writable(path));
    }

    door("mount", mounted("tmpfs", "/tmp"));
    door("mount sysfs", mounted("sysfs", "/tmp"));
    door("umount", named(libc::SYS_umount2, "/proc/sys", 2, 0));
    door("chroot", named(libc::SYS_chroot, "/tmp", 0, 0));
    door(
        "device",
        named(
            libc::SYS_mknod,
            "/tmp/disk",
            (libc::S_IFBLK | 0o600) as usize,
            0xfe00,
        ),
    );
    for (name, flag) in [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("network", libc::CLONE_NEWNET),
        ("process", libc::CLONE_NEWPID),
    ] {
        door(
            &format!("namespace: {name}"),
            short(libc::SYS_unshare, flag as usize, 0, 0),
        );
    }
    door("packet socket", socket(libc::AF_PACKET, libc::SOCK_RAW, 0));
    door(
        "raw socket",
        socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP),
    );
    door(
        "port 80",
        std::net::TcpListener::bind(("0.0.0.0", 80)).map(drop),
    );
    door("time", clock_set());
    door("host name", named(libc::SYS_sethostname, "attack", 6, 0));
    door("counters", counters());
    door("kernel's log", short(libc::SYS_syslog, 5, 0, 0));
    door(
        "reboot",
        call(libc::SYS_reboot, [0xfee1_dead, 0x2812_1969, 0, 0, 0, 0]).map(drop),
    );
    door(
        "swap",
        named(libc::SYS_swapon, "/tmp/none", 0, 0).or_else(is_there),
    );
    for (name, number) in [
        ("bpf", libc::SYS_bpf),
        ("io_uring", libc::SYS_io_uring_setup),
        ("userfaultfd", libc::SYS_userfaultfd),
        ("keyctl", libc::SYS_keyctl),
        ("kexec", libc::SYS_kexec_load),
        ("iopl", libc::SYS_iopl),
        ("modify_ldt", libc::SYS_modify_ldt),
        ("init_module", libc::SYS_init_module),
        ("fanotify", libc::SYS_fanotify_init),
        ("vhangup", libc::SYS_vhangup),
    ] {
        door(name, short(number, 3, 0, 0).or_else(is_there));
    }
    Ok(text)
}

/// A call that complains about its arguments is there.
fn is_there(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => Err(error),
        _ => Ok(()),
    }
}

/// Opens the standard output by its name, as servers do.
pub fn reopen() -> io::Result<String> {
    use std::io::Write as _;
    let mut file = OpenOptions::new().append(true).open("/dev/stdout")?;
    writeln!(file, "probe: opened by its name")?;
    Ok(String::new())
}

/// Uses up the machine's memory in a way, until the kernel ends it.
pub fn exhaust(way: &str) -> io::Result<String> {
    const PIECE: usize = 1 << 20;
    let mut kept = Vec::new();
    match way {
        "files" => {
            for directory in ["/tmp", "/dev/shm", "/run/app"] {
                let block = vec![b'x'; PIECE];
                let mut file = File::create(format!("{directory}/full"))?;
                while io::Write::write_all(&mut file, &block).is_ok() {}
            }
        }
        "segments" => loop {
            let size = PIECE * 16;
            let id = call(libc::SYS_shmget, [0, size, 0o1600, 0, 0, 0])?;
            let at = call(libc::SYS_shmat, [id as usize, 0, 0, 0, 0, 0])?;
            // SAFETY: the segment has as many bytes at this address.
            unsafe { std::ptr::write_bytes(at as *mut u8, 1, size) };
            call(libc::SYS_shmdt, [at as usize, 0, 0, 0, 0, 0])?;
        },
        "messages" => {
            let message = [1_u64; 1025];
            while let Ok(queue) = call(libc::SYS_msgget, [0, 0o1600, 0, 0, 0, 0]) {
                let arguments = [
                    queue as usize,
                    message.as_ptr() as usize,
                    8192,
                    0o4000,
                    0,
                    0,
                ];
                while call(libc::SYS_msgsnd, arguments).is_ok() {}
            }
        }
        "memory" => {}
        _ => return Err(io::Error::other(format!("memory is not used up by {way}"))),
    }
    loop {
        kept.push(vec![1_u8; PIECE]);
    }
}
