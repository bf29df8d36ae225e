//! What the app may do: as which user, with which capabilities and limits, and what it sees of the file systems.

use std::collections::BTreeMap;

use nix::sys::resource::Resource;
use serde::Deserialize;

use super::SystemCalls;

/// The app's sandbox.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Sandbox {
    /// User and group id; 0 is root.
    pub user: u32,
    /// What it keeps; without it what [`Sandbox::kept`] says.
    pub capabilities: Option<Capabilities>,
    /// Whether no program that it executes can gain anything by that (no_new_privs).
    pub no_new_privileges: bool,
    /// Whether each start has an empty `/tmp` of its own.
    pub private_tmp: bool,
    /// Whether the root directory, `/sys`, `/sys/fs/cgroup` and `/proc/sys` refuse writes.
    pub read_only_root: bool,
    /// Resource limits, soft and hard.
    pub limits: Limits,
    /// The system calls that it may use; without it all, as far as its capabilities go. Implies `no_new_privileges`.
    pub system_calls: Option<SystemCalls>,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self {
            user: 0,
            capabilities: None,
            no_new_privileges: true,
            private_tmp: false,
            read_only_root: false,
            limits: Limits::default(),
            system_calls: None,
        }
    }
}

impl Sandbox {
    /// The capabilities that the app has. Without a list: none for an unprivileged user; for root all but those with which it
    /// could replace the kernel, reach past it to the hardware, or reset the machine without init.
    pub fn kept(&self) -> Capabilities {
        match self.capabilities {
            Some(capabilities) => capabilities,
            None if self.user == 0 => Capabilities::ALL.without(&[
                "CAP_SYS_MODULE",
                "CAP_SYS_RAWIO",
                "CAP_SYS_BOOT",
                "CAP_MAC_OVERRIDE",
                "CAP_MAC_ADMIN",
            ]),
            None => Capabilities::default(),
        }
    }
}

/// A set of capabilities (capabilities(7)), a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Capabilities(pub u64);

impl Capabilities {
    /// Each that has a name.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Whether it has the capability of that name.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    fn without(self, names: &[&str]) -> Self {
        let bits = names.iter().filter_map(|name| bit(name));
        Self(bits.fold(self.0, |set, bit| set & !bit))
    }
}

impl TryFrom<Vec<String>> for Capabilities {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.iter().try_fold(Self(0), |set, name| {
            let bit = bit(name).ok_or_else(|| format!("there is no capability \"{name}\""))?;
            Ok(Self(set.0 | bit))
        })
    }
}

fn bit(name: &str) -> Option<u64> {
    let name = name.strip_prefix("CAP_")?;
    let at = NAMES.iter().position(|known| *known == name)?;
    Some(1 << at)
}

/// In the order of their numbers (include/uapi/linux/capability.h).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// Resource limits (setrlimit(2)) and their values.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<String, u64>")]
pub struct Limits(pub Vec<(Resource, u64)>);

impl TryFrom<BTreeMap<String, u64>> for Limits {
    type Error = String;

    fn try_from(limits: BTreeMap<String, u64>) -> Result<Self, String> {
        let limit = |(name, value): (String, u64)| {
            let known = RESOURCES.iter().find(|(known, _)| *known == name);
            let (_, resource) =
                known.ok_or_else(|| format!("there is no resource limit \"{name}\""))?;
            Ok((*resource, value))
        };
        limits
            .into_iter()
            .map(limit)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

pub(super) const RESOURCES: [(&str, Resource); 16] = [
    ("AS", Resource::RLIMIT_AS),
    ("CORE", Resource::RLIMIT_CORE),
    ("CPU", Resource::RLIMIT_CPU),
    ("DATA", Resource::RLIMIT_DATA),
    ("FSIZE", Resource::RLIMIT_FSIZE),
    ("LOCKS", Resource::RLIMIT_LOCKS),
    ("MEMLOCK", Resource::RLIMIT_MEMLOCK),
    ("MSGQUEUE", Resource::RLIMIT_MSGQUEUE),
    ("NICE", Resource::RLIMIT_NICE),
    ("NOFILE", Resource::RLIMIT_NOFILE),
    ("NPROC", Resource::RLIMIT_NPROC),
    ("RSS", Resource::RLIMIT_RSS),
    ("RTPRIO", Resource::RLIMIT_RTPRIO),
    ("RTTIME", Resource::RLIMIT_RTTIME),
    ("SIGPENDING", Resource::RLIMIT_SIGPENDING),
    ("STACK", Resource::RLIMIT_STACK),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Sandbox, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn names_are_numbers() {
        let expected = Sandbox {
            user: 1000,
            capabilities: Some(Capabilities(1 << 10 | 1)),
            limits: Limits(vec![(Resource::RLIMIT_NOFILE, 64)]),
            ..Sandbox::default()
        };
        let text = r#"{"user":1000,"capabilities":["CAP_CHOWN","CAP_NET_BIND_SERVICE"],"limits":{"NOFILE":64}}"#;
        assert_eq!(parsed(text), Ok(expected));
        assert_eq!(bit("CAP_CHECKPOINT_RESTORE"), Some(1 << 40));
    }

    #[test]
    fn a_name_that_does_not_exist_is_named() {
        let named = |text: &str, sentence: &str| {
            parsed(text).is_err_and(|error| error.starts_with(sentence))
        };
        assert!(named(
            r#"{"capabilities":["NET_RAW"]}"#,
            "there is no capability \"NET_RAW\""
        ));
        assert!(named(
            r#"{"limits":{"nofile":1}}"#,
            "there is no resource limit \"nofile\""
        ));
    }

    #[test]
    fn root_keeps_what_programs_need_and_others_keep_nothing() {
        let root = Sandbox::default();
        assert_eq!(
            root.kept(),
            Capabilities(0x1ff_ffff_ffff & !(1 << 16 | 1 << 17 | 1 << 22 | 1 << 32 | 1 << 33))
        );
        let user = Sandbox { user: 1, ..root };
        assert_eq!(user.kept(), Capabilities(0));
    }
}
