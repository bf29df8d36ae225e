//! What the image asks of init: `/etc/tinyboot/settings.json`, written and checked by `mkImage`.

mod sandbox;
mod system_calls;
#[cfg(test)]
mod table;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::console::syslog::Target;
use crate::net::fixed::Fixed;
use crate::storage::which::Which;

pub use sandbox::Sandbox;
#[cfg(test)]
pub use sandbox::{Capabilities, Limits};
pub use system_calls::SystemCalls;

/// Where the image keeps its settings.
pub const PATH: &str = "/etc/tinyboot/settings.json";

/// The kernel takes no longer one: MAX_ARG_STRLEN of `include/uapi/linux/binfmts.h`, whose last byte is a zero.
const LONGEST_WORD: usize = 128 * 1024 - 1;
/// The zero byte at its end and a pointer to it.
const COST_OF_WORD: usize = 9;
/// All together: half of what the kernel takes with its stack limit of 8 MiB, a quarter of that (execve(2)), since the contract's own
/// variables come to it.
const ALL_WORDS: usize = 1 << 20;

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The image's name.
    pub name: String,
    /// The volume id of the image's own ISO: preferred for `/iso` when several are there.
    pub volume_id: Option<String>,
    /// The program to run.
    pub app: App,
    /// Network.
    pub network: Network,
    /// Storage.
    pub storage: Storage,
    /// Drivers.
    pub drivers: Drivers,
    /// Clock.
    pub clock: Clock,
    /// Who may tell the machine what to do from outside.
    pub control: Control,
    /// Where the lines go.
    pub log: Log,
}

/// The program to run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct App {
    /// Executable, and the arguments that belong to it.
    pub command: Vec<String>,
    /// Further arguments.
    pub arguments: Vec<String>,
    /// Environment, besides what the contract gives.
    pub environment: BTreeMap<String, String>,
    /// Symbolic links to make before it starts, by their path: what it wants to find outside of the store.
    pub links: BTreeMap<PathBuf, PathBuf>,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_period: u32,
    /// What follows when the app ends by itself.
    pub on_exit: OnExit,
    /// Seconds between the end of an app that failed and what follows, at most.
    pub longest_pause: u32,
    /// Seconds from its start within which the app has to say `READY=1`; without it nothing waits for that.
    pub ready_timeout: Option<u32>,
    /// Seconds within which it has to say `WATCHDOG=1` again and again; without it there is no watchdog.
    pub watchdog: Option<u32>,
    /// What it may do; without it, everything.
    pub sandbox: Option<Sandbox>,
}

impl App {
    /// The user and group as which it runs; 0 is root.
    pub fn user(&self) -> u32 {
        self.sandbox.as_ref().map_or(0, |sandbox| sandbox.user)
    }
}

impl Default for App {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            arguments: Vec::new(),
            environment: BTreeMap::new(),
            links: BTreeMap::new(),
            grace_period: 10,
            on_exit: OnExit::Reboot,
            longest_pause: 60,
            ready_timeout: None,
            watchdog: None,
            sandbox: Some(Sandbox::default()),
        }
    }
}

/// What follows when the app ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExit {
    /// The machine starts again.
    #[default]
    Reboot,
    /// The app alone is started again.
    Restart,
    /// The machine is switched off.
    PowerOff,
}

/// Network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Network {
    /// Host name; without it the one that DHCP gives, else the image's name.
    pub host_name: Option<String>,
    /// Seconds that the app's start waits for links with a carrier at most.
    pub deadline: u32,
    /// Whether an address that another machine has too is given back (RFC 5227).
    pub detect_conflicts: bool,
    /// Seconds between two messages to DHCP servers that do not answer, at most, while a link has no lease. Renewals have the
    /// protocols' own limits, and a DHCPv6 server may say another (SOL_MAX_RT, INF_MAX_RT).
    pub longest_retry: u32,
    /// Links that have fixed addresses instead of DHCP, by their names; "*" is any other link.
    pub links: BTreeMap<String, FixedLink>,
}

/// What a link has instead of DHCP. The texts are looked at when the link is: a wrong one must not cost the others.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FixedLink {
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<String>,
    /// Default routers.
    pub gateways: Vec<String>,
    /// Resolvers.
    pub dns: Vec<String>,
    /// Domains to search.
    pub search: Vec<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            host_name: None,
            deadline: 10,
            detect_conflicts: true,
            longest_retry: 64,
            links: BTreeMap::new(),
        }
    }
}

/// Storage.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Storage {
    /// Seconds that the app's start waits for storage at most.
    pub deadline: u32,
    /// A path below `/nix/store` that the app cannot do without, when its closure lies on the image's medium: only a
    /// medium that has it is taken for `/iso`, its `nix/store` is `/nix/store` too, and the app waits for it without a
    /// deadline.
    pub closure: Option<PathBuf>,
    /// Whether `/persistent` is extended to the end of its disk.
    pub grow: bool,
    /// Whether a blank disk becomes `/persistent` when there is none. Includes `grow`.
    pub create: bool,
    /// Which disk `/persistent` is on: `uuid:…`, `serial:…` or `bus:…`. Without it, the first that is labelled.
    pub persistent: Option<String>,
    /// How new data on a btrfs is compressed: `zstd`, or `zstd:` and a level.
    pub compress: Option<String>,
    /// Whether the disk is told which blocks are not used any more.
    pub discard: bool,
}

impl Default for Storage {
    fn default() -> Self {
        Self {
            deadline: 5,
            closure: None,
            grow: false,
            create: false,
            persistent: None,
            compress: None,
            discard: false,
        }
    }
}

/// Drivers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Drivers {
    /// Whether modules can be loaded after the app's first start too, for devices that come then.
    pub hot_plug: bool,
}

/// Clock.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Clock {
    /// The clock is never set before this time, in seconds since the epoch.
    pub floor: u64,
    /// NTP servers, names or addresses, asked beside those that DHCP names, which come first.
    pub servers: Vec<String>,
}

/// Who may tell the machine what to do from outside.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Control {
    /// Whether the hypervisor's tools are answered on the guest agent's port.
    pub agent: bool,
    /// Whether this machine may have settings and credentials of its own.
    pub machine_settings: bool,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            agent: true,
            machine_settings: true,
        }
    }
}

/// Where the lines of init, the app and the kernel go, besides the consoles.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Log {
    /// A syslog server: `udp://host:port` or `tcp://host:port`.
    pub syslog: Option<String>,
}

/// Why the settings are not what the image wanted.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{path} cannot be read: {cause}")]
    Unreadable { path: String, cause: std::io::Error },
    #[error("{path} is not understood: {cause}")]
    Malformed {
        path: String,
        cause: serde_json::Error,
    },
}

impl Settings {
    /// What the types do not say and the image's build checks: a sentence for each value that is out of its range.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = self.wrong_seconds();
        problems.extend(self.wrong_compression());
        problems.extend(self.wrong_disk());
        problems.extend(self.wrong_syslog());
        problems.extend(self.wrong_host_name());
        problems.extend(self.wrong_links());
        problems.extend(self.wrong_words());
        problems
    }

    fn wrong_seconds(&self) -> Vec<String> {
        let seconds = [
            self.app.grace_period,
            self.app.longest_pause,
            self.network.deadline,
            self.network.longest_retry,
            self.storage.deadline,
        ];
        let more = [self.app.ready_timeout, self.app.watchdog];
        seconds
            .into_iter()
            .chain(more.into_iter().flatten())
            .filter(|seconds| !(1..=86400).contains(seconds))
            .map(|wrong| format!("{wrong} is no number of seconds from 1 to 86400"))
            .collect()
    }

    fn wrong_compression(&self) -> Option<String> {
        let text = self.storage.compress.as_deref()?;
        (!is_compression(text)).then(|| format!("\"{text}\" is neither zstd nor zstd:1 to zstd:15"))
    }

    fn wrong_disk(&self) -> Option<String> {
        let text = self.storage.persistent.as_deref()?;
        Which::parse(text).is_none().then(|| {
            format!("\"{text}\" is neither uuid: and a UUID, serial: and a serial number, nor bus: and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen")
        })
    }

    fn wrong_syslog(&self) -> Option<String> {
        let text = self.log.syslog.as_deref()?;
        Target::parse(text)
            .is_none()
            .then(|| format!("\"{text}\" is neither udp://host:port nor tcp://host:port"))
    }

    fn wrong_host_name(&self) -> Option<String> {
        let name = self.network.host_name.as_deref()?;
        let is_name = (1..=63).contains(&name.len())
            && !name.starts_with('-')
            && !name.ends_with('-')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (!is_name).then(|| format!("\"{name}\" is no host name"))
    }

    fn wrong_links(&self) -> Vec<String> {
        let links = self.network.links.iter();
        links
            .flat_map(|(link, settings)| Fixed::from_settings(link, settings).1)
            .map(|wrong| wrong.to_string())
            .collect()
    }

    /// What execve(2) would not take, so that the app could never be started.
    fn wrong_words(&self) -> Vec<String> {
        let app = &self.app;
        let mut problems = Vec::new();
        for name in app.environment.keys() {
            if name.is_empty() || name.contains('=') {
                problems.push(format!("\"{}\" is no name of a variable", shown(name)));
            }
        }
        let variables = app.environment.iter();
        let variables = variables.map(|(name, value)| (value, name.len() + 1 + value.len()));
        let words = app.command.iter().chain(&app.arguments);
        let words = words.map(|word| (word, word.len()));
        let mut total = 0;
        for (word, length) in words.chain(variables) {
            if word.contains('\0') {
                problems.push(format!("\"{}\" has a zero byte in it", shown(word)));
            }
            if length > LONGEST_WORD {
                problems.push(format!(
                    "an argument or variable has {length} bytes, and {LONGEST_WORD} are the most"
                ));
            }
            total += length + COST_OF_WORD;
        }
        if app.environment.keys().any(|name| name.contains('\0')) {
            problems.push("the name of a variable has a zero byte in it".into());
        }
        if total > ALL_WORDS {
            problems.push(format!(
                "arguments and environment have {total} bytes together, and {ALL_WORDS} are the most"
            ));
        }
        problems
    }
}

/// As much of a text as fits into a sentence.
fn shown(text: &str) -> String {
    text.chars()
        .take(40)
        .collect::<String>()
        .escape_debug()
        .to_string()
}

/// What btrfs takes (btrfs(5), "compress"), in the one spelling that the image's build takes too.
fn is_compression(text: &str) -> bool {
    let level = match text.strip_prefix("zstd") {
        Some("") => return true,
        Some(rest) => rest.strip_prefix(':'),
        None => None,
    };
    level.is_some_and(|level| (1..=15u8).any(|known| level == known.to_string()))
}

/// Reads the settings, and what they were read from. A machine boots without them too: what cannot be read is logged, and
/// the defaults hold.
pub fn load(path: &Path) -> (Settings, Value) {
    read(path).unwrap_or_else(|error| {
        log::error!("settings: {error}; the defaults are used");
        (Settings::default(), Value::Object(Map::new()))
    })
}

fn read(path: &Path) -> Result<(Settings, Value), Error> {
    let name = || path.display().to_string();
    let text = fs::read(path).map_err(|cause| Error::Unreadable {
        path: name(),
        cause,
    })?;
    let malformed = |cause| Error::Malformed {
        path: name(),
        cause,
    };
    parse(&text).map_err(malformed)
}

/// Reads the file's text.
pub(crate) fn parse(text: &[u8]) -> Result<(Settings, Value), serde_json::Error> {
    // A list of the right length would pass for the settings otherwise, and an empty list for their defaults.
    let value = Value::Object(serde_json::from_slice(text)?);
    let settings = serde_json::from_value(value.clone())?;
    Ok((settings, value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> Result<Settings, String> {
        let directory = tempfile::tempdir().map_err(|error| error.to_string())?;
        let path = directory.path().join("settings.json");
        fs::write(&path, text).map_err(|error| error.to_string())?;
        read(&path)
            .map(|(settings, _)| settings)
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "F"))
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        assert_eq!(parsed("{}"), Ok(Settings::default()));
        let expected = Settings {
            name: "hello".into(),
            volume_id: Some("HELLO".into()),
            app: App {
                command: vec!["/app/hello".into()],
                on_exit: OnExit::PowerOff,
                ..App::default()
            },
            ..Settings::default()
        };
        let text = r#"{"name":"hello","volumeId":"HELLO","app":{"command":["/app/hello"],"onExit":"poweroff"}}"#;
        assert_eq!(parsed(text), Ok(expected));
    }

    #[test]
    fn a_fault_is_named() {
        let named = |text: &str, word: &str| {
            parsed(text).is_err_and(|error| {
                error.starts_with("F is not understood: ") && error.contains(word)
            })
        };
        assert!(named(r#"{"app":{"comand":[]}}"#, "`comand`"));
        assert!(named(r#"{"app":{"onExit":"explode"}}"#, "`explode`"));
        assert!(named("", "EOF"));
        assert!(named("[ ]", "expected a map"));
        assert!(
            read(Path::new("/nowhere/settings.json")).is_err_and(|error| error
                .to_string()
                .starts_with("/nowhere/settings.json cannot be read: "))
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in ".{0,200}") {
            let _ = serde_json::from_str::<Settings>(&text);
        }
    }
}
