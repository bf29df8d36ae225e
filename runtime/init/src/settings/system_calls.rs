//! The system calls that the app may use, by their names and by names of groups of them.

use serde::Deserialize;

/// The kernel's names in the order of their numbers (x86-64, as of Linux 6.12), `=` before a number that the next one has;
/// then a line for each group.
const LIST: &str = include_str!("system-calls.txt");
/// The group of all but what programs seldom need and attackers like.
const SERVICE: &str = "@system-service";
const NOT_FOR_SERVICES: [&str; 9] = [
    "@clock",
    "@cpu-emulation",
    "@debug",
    "@module",
    "@mount",
    "@obsolete",
    "@raw-io",
    "@reboot",
    "@swap",
];
/// Without these the app cannot be started or ended.
const ALWAYS: [&str; 5] = ["execve", "exit", "exit_group", "rt_sigreturn", "write"];

const WORDS: usize = 8;

/// A set of system calls, a bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct SystemCalls([u64; WORDS]);

impl SystemCalls {
    const NONE: Self = Self([0; WORDS]);
    /// One more than the largest number that a set can have.
    pub const END: u32 = WORDS as u32 * 64;

    /// Whether it has the call of that number.
    pub fn has(&self, number: u32) -> bool {
        let word = self.0.get(number as usize / 64).copied().unwrap_or(0);
        word >> (number % 64) & 1 == 1
    }

    /// The first number that is no call's of the list.
    pub fn first_unknown() -> u32 {
        numbered().last().map_or(0, |(number, _)| number + 1)
    }

    fn add(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    fn without(mut self, other: &Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(word, taken)| *word &= !taken);
        self
    }

    fn with(mut self, other: &Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(word, more)| *word |= more);
        self
    }

    /// Each call that has a name.
    pub fn known() -> Self {
        let mut set = Self::NONE;
        numbered().for_each(|(number, _)| set.add(number));
        set
    }

    fn named(name: &str) -> Option<Self> {
        if name == SERVICE {
            let groups = NOT_FOR_SERVICES
                .iter()
                .filter_map(|group| Self::named(group));
            return Some(groups.fold(Self::known(), |set, group| set.without(&group)));
        }
        if name.starts_with('@') {
            let line = LIST
                .lines()
                .find(|line| line.split(' ').next() == Some(name))?;
            let calls = line.split(' ').skip(1).filter_map(Self::named);
            return Some(calls.fold(Self::NONE, |set, call| set.with(&call)));
        }
        let (number, _) = numbered().find(|(_, known)| *known == name)?;
        let mut set = Self::NONE;
        set.add(number);
        Some(set)
    }
}

fn numbered() -> impl Iterator<Item = (u32, &'static str)> {
    let names = LIST
        .lines()
        .filter(|line| !line.starts_with('@'))
        .flat_map(|line| line.split(' '));
    let mut next = 0;
    names.filter_map(move |name| {
        if let Some(number) = name.strip_prefix('=') {
            next = number.parse().ok()?;
            return None;
        }
        next += 1;
        Some((next - 1, name))
    })
}

impl TryFrom<Vec<String>> for SystemCalls {
    type Error = String;

    /// Names without `~` are all that is allowed, or all calls if there is none; those with `~` are taken away from that.
    fn try_from(names: Vec<String>) -> Result<Self, String> {
        let (mut allowed, mut denied) = (None, Self::NONE);
        for name in &names {
            let bare = name.strip_prefix('~');
            let set = Self::named(bare.unwrap_or(name))
                .ok_or_else(|| format!("there is no system call or group of them \"{name}\""))?;
            if bare.is_some() {
                denied = denied.with(&set);
            } else {
                allowed = Some(allowed.unwrap_or(Self::NONE).with(&set));
            }
        }
        let set = allowed.unwrap_or_else(Self::known).without(&denied);
        let always = ALWAYS.iter().filter_map(|name| Self::named(name));
        Ok(always.fold(set, |set, call| set.with(&call)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::libc;

    fn set(names: &[&str]) -> Result<SystemCalls, String> {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
            .try_into()
    }

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, number) in [
            ("read", libc::SYS_read),
            ("perf_event_open", libc::SYS_perf_event_open),
            ("rseq", libc::SYS_rseq),
            ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
            ("clone3", libc::SYS_clone3),
            ("set_mempolicy_home_node", libc::SYS_set_mempolicy_home_node),
            ("mseal", libc::SYS_mseal),
        ] {
            let found = numbered()
                .find(|(_, known)| *known == name)
                .map(|(number, _)| number);
            assert_eq!(found.map(i64::from), Some(number), "{name}");
        }
        let groups = LIST.lines().filter(|line| line.starts_with('@'));
        for name in groups
            .flat_map(|line| line.split(' '))
            .chain([SERVICE])
            .chain(ALWAYS)
        {
            assert!(SystemCalls::named(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_list_allows_and_a_tilde_takes_away() -> Result<(), String> {
        let (mount, socket, ptrace) = (
            libc::SYS_mount as u32,
            libc::SYS_socket as u32,
            libc::SYS_ptrace as u32,
        );
        let service = set(&["@system-service"])?;
        assert!(service.has(socket) && !service.has(mount) && !service.has(ptrace));
        let more = set(&["@system-service", "ptrace", "~@network"])?;
        assert!(more.has(ptrace) && !more.has(socket) && !more.has(mount));
        let fewer = set(&["~@mount"])?;
        assert!(fewer.has(socket) && fewer.has(ptrace) && !fewer.has(mount));
        let nothing = set(&["~@system-service", "exit"])?;
        assert!(nothing.has(libc::SYS_execve as u32) && !nothing.has(libc::SYS_read as u32));
        assert!(!nothing.has(SystemCalls::END) && !nothing.has(u32::MAX));
        for wrong in ["@none", "fly", "~", "@", "", "=424"] {
            let sentence = format!("there is no system call or group of them \"{wrong}\"");
            assert_eq!(set(&[wrong]), Err(sentence));
        }
        Ok(())
    }
}
