//! The app's control group: a bound on its memory and its processes that leaves init a reserve, and a share of the
//! processors of its own (Documentation/admin-guide/cgroup-v2.rst).
//!
//! What a process leaves in memory without an owner, files in a tmpfs and shared memory, counts as the group's. So it is the
//! app that is killed when there is too much of it, and never the whole machine that has no memory left.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// Where the kernel's control groups are.
const TOP: &str = "/sys/fs/cgroup";
/// The app's, below.
const NAME: &str = "app";
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

const MIB: u64 = 1 << 20;
/// Process ids that stay free for init and for the kernel's threads that come later.
const OTHERS: u64 = 64;

/// The app's control group.
#[derive(Debug)]
pub struct Group {
    path: PathBuf,
    /// The memory that its processes can have together, in bytes.
    memory: Option<u64>,
    /// How many of its processes the kernel had killed for want of memory before the app was started.
    killed: u64,
}

impl Group {
    /// Makes the group. What the kernel does not have is logged and left out; `None` is no group at all.
    pub fn new() -> Option<Self> {
        Self::below(Path::new(TOP), &Machine::now())
            .inspect_err(|error| log::warn!("app: nothing bounds its memory: {error}"))
            .ok()
    }

    fn below(top: &Path, machine: &Machine) -> io::Result<Self> {
        let available = fs::read_to_string(top.join("cgroup.controllers"))?;
        let (there, missing): (Vec<&str>, Vec<&str>) = CONTROLLERS
            .into_iter()
            .partition(|name| available.split_whitespace().any(|known| known == *name));
        if !missing.is_empty() {
            log::warn!(
                "app: the kernel has no controller of {}",
                missing.join(", ")
            );
        }
        for name in there {
            fs::write(top.join("cgroup.subtree_control"), format!("+{name}"))?;
        }
        let path = top.join(NAME);
        match fs::create_dir(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let set = |name: &str, value: String| match write(&path.join(name), &value) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::error!("app: {name} cannot be set: {error}");
                false
            }
            result => result.is_ok(),
        };
        let memory = machine.memory_of_app();
        let is_bounded = set("memory.max", memory.to_string());
        // A part of it that is killed would free little: most of the memory may lie in files. The app starts anew instead.
        set("memory.oom.group", "1".into());
        set("pids.max", machine.processes_of_app().to_string());
        Ok(Self {
            path,
            memory: is_bounded.then_some(memory),
            killed: 0,
        })
    }

    /// The group for a process that is to be made in it.
    ///
    /// # Errors
    ///
    /// It cannot be opened.
    pub fn open(&mut self) -> io::Result<OwnedFd> {
        self.killed = self.kills();
        File::open(&self.path).map(OwnedFd::from)
    }

    /// Whether a process of the app was killed for want of memory since its start, as a part of a sentence.
    pub fn out_of_memory(&self) -> Option<String> {
        if self.kills() <= self.killed {
            return None;
        }
        Some(self.memory.map_or_else(
            || "the machine's memory was used up".into(),
            |memory| {
                format!(
                    "out of memory, of which the app can have {} MiB",
                    memory / MIB
                )
            },
        ))
    }

    fn kills(&self) -> u64 {
        let events = fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        field(&events, "oom_kill").unwrap_or(0)
    }
}

/// Writes to a file that is there.
fn write(path: &Path, value: &str) -> io::Result<()> {
    let mut file = File::options().write(true).open(path)?;
    file.write_all(value.as_bytes())
}

/// How much there is of what the app shares with init.
#[derive(Debug)]
struct Machine {
    /// Bytes.
    memory: u64,
    available: u64,
    /// The kernel's bounds, of ids and of threads.
    most_ids: u64,
    most_threads: u64,
    threads: u64,
}

impl Machine {
    fn now() -> Self {
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kibibytes = |name| field(&memory, name).unwrap_or(0) * 1024;
        let number = |path| {
            let text = fs::read_to_string(path).unwrap_or_default();
            text.trim().parse().unwrap_or(u64::MAX)
        };
        Self {
            memory: kibibytes("MemTotal:"),
            available: kibibytes("MemAvailable:"),
            most_ids: number("/proc/sys/kernel/pid_max"),
            most_threads: number("/proc/sys/kernel/threads-max"),
            threads: nix::sys::sysinfo::sysinfo().map_or(0, |info| info.process_count().into()),
        }
    }

    /// All that is available but a reserve: for init, which has 4 MiB or less, and for what the kernel counts as nobody's,
    /// packets above all.
    fn memory_of_app(&self) -> u64 {
        let reserve = (self.memory / 16).clamp(6 * MIB, 64 * MIB);
        self.available
            .saturating_sub(reserve)
            .max(self.available / 2)
    }

    /// A process may keep two more ids from being used again, those of its group and of its session.
    fn processes_of_app(&self) -> u64 {
        let threads = self.most_threads.saturating_sub(self.threads);
        (self.most_ids / 4)
            .min(threads)
            .saturating_sub(OTHERS)
            .max(OTHERS)
    }
}

/// The number after a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.split_whitespace().next() == Some(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(mebibytes: u64) -> Machine {
        Machine {
            memory: mebibytes * MIB,
            available: mebibytes * MIB / 10 * 8,
            most_ids: 4_194_304,
            most_threads: mebibytes * 8,
            threads: 80,
        }
    }

    #[test]
    fn init_keeps_a_reserve_on_machines_of_any_size() {
        for (mebibytes, memory, processes) in [
            (40, 26, 176),
            (240, 177, 1776),
            (3_990, 3_128, 31_776),
            (1 << 20, 838_796, 1_048_512),
        ] {
            let machine = machine(mebibytes);
            assert_eq!(machine.memory_of_app() / MIB, memory, "of {mebibytes} MiB");
            assert_eq!(machine.processes_of_app(), processes, "of {mebibytes} MiB");
        }
        let tiny = Machine {
            available: 4 * MIB,
            most_threads: 20,
            ..machine(8)
        };
        assert_eq!(
            (tiny.memory_of_app(), tiny.processes_of_app()),
            (2 * MIB, 64)
        );
    }

    #[test]
    fn a_kernel_that_lacks_a_controller_bounds_the_rest() -> io::Result<()> {
        let top = tempfile::tempdir()?;
        assert!(Group::below(&top.path().join("none"), &machine(64)).is_err());
        fs::write(top.path().join("cgroup.controllers"), "cpuset pids\n")?;
        fs::create_dir(top.path().join("app"))?;
        fs::write(top.path().join("app/pids.max"), "max")?;
        let mut group = Group::below(top.path(), &machine(64))?;
        let written = |name: &str| fs::read_to_string(top.path().join("app").join(name));
        assert_eq!(written("pids.max")?, "368");
        assert_eq!(
            group.open().map(drop).map_err(|error| error.to_string()),
            Ok(())
        );
        assert_eq!(group.out_of_memory(), None);
        fs::write(
            group.path.join("memory.events"),
            "oom 3\noom_kill 2\noom_group_kill 1\n",
        )?;
        let said = group.out_of_memory().unwrap_or_default();
        assert_eq!(said, "the machine's memory was used up");
        fs::write(group.path.join("memory.max"), "max")?;
        group = Group::below(top.path(), &machine(64))?;
        let said = group.out_of_memory().unwrap_or_default();
        assert_eq!(said, "out of memory, of which the app can have 45 MiB");
        group.open()?;
        assert_eq!(group.out_of_memory(), None);
        Ok(())
    }
}
