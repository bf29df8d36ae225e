//! What the image asks of init: `/etc/tinyboot/settings.json`, written and checked by `mkImage`.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Where the image keeps its settings.
pub const PATH: &str = "/etc/tinyboot/settings.json";

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
    /// Clock.
    pub clock: Clock,
}

/// The program to run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct App {
    /// Executable and arguments.
    pub command: Vec<String>,
    /// Environment, besides what the contract gives.
    pub environment: BTreeMap<String, String>,
    /// Seconds between SIGTERM and SIGKILL.
    pub grace_period: u32,
    /// What follows when the app ends by itself.
    pub on_exit: OnExit,
}

impl Default for App {
    fn default() -> Self {
        Self { command: Vec::new(), environment: BTreeMap::new(), grace_period: 10, on_exit: OnExit::Reboot }
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
}

impl Default for Network {
    fn default() -> Self {
        Self { host_name: None, deadline: 10 }
    }
}

/// Storage.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Storage {
    /// Seconds that the app's start waits for storage at most.
    pub deadline: u32,
}

impl Default for Storage {
    fn default() -> Self {
        Self { deadline: 5 }
    }
}

/// Clock.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Clock {
    /// The clock is never set before this time, in seconds since the epoch.
    pub floor: u64,
    /// NTP servers, names or addresses, asked after those that DHCP names.
    pub servers: Vec<String>,
}
