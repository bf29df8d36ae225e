//! The machine's status as init publishes it in `/run/tinyboot/status.json`.
//!
//! The file is replaced atomically (write, rename), so that a reader sees a whole document always. Fields that a
//! reader does not know are to be ignored: later versions add, they do not rename.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where init publishes the status.
pub const PATH: &str = "/run/tinyboot/status.json";

/// Everything that init says about the machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// The image's name, as `mkImage` was given it.
    pub name: String,
    /// What is mounted for the app.
    pub storage: Storage,
    /// Each network interface but loopback, sorted by name.
    pub links: Vec<Link>,
    /// What is in `/etc/resolv.conf`, and where it comes from.
    pub dns: Dns,
    /// How far the clock can be trusted.
    pub clock: Clock,
    /// How often the machine stood still.
    pub machine: Machine,
    /// The app's process.
    pub app: App,
    /// Set once a power-off or reboot was asked for.
    pub shutdown: Option<Shutdown>,
    /// How the boot before this one ended, if anything tells it: the disk at `/persistent`, or the firmware. It may come a
    /// moment after the app's start.
    pub previous: Option<Previous>,
}

/// What is mounted for the app.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Storage {
    /// True when nothing more is waited for: either all is mounted or the deadline has passed. A medium that comes
    /// later is mounted all the same.
    pub settled: bool,
    /// The image's content at `/iso`.
    pub iso: Option<Mount>,
    /// What outlives a reboot, at `/persistent`.
    pub persistent: Option<Mount>,
    /// True while disks are looked through, one of which becomes `/persistent` if it is blank.
    pub creating: bool,
}

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// Where it is mounted.
    pub path: PathBuf,
    /// The block device.
    pub device: PathBuf,
    /// The kernel's name of the file system: `btrfs`, `ext4`, `iso9660`.
    pub file_system: String,
    /// True when it cannot be written.
    pub read_only: bool,
}

/// One network interface.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Link {
    /// The kernel's name of it: `eth0`.
    pub name: String,
    /// Hardware address, `52:54:00:12:34:56`.
    pub mac: String,
    /// The kernel's operational state: a cable is there and the other end answers.
    pub carrier: bool,
    /// The DHCP client's state in RFC 2131's words: `INIT`, `SELECTING`, `REQUESTING`, `BOUND`, `RENEWING`,
    /// `REBINDING`, `INIT-REBOOT`, `REBOOTING`; `STATIC` for a link that does without DHCP.
    pub state: String,
    /// The link was configured, or nothing can configure it (no carrier, deadline passed).
    pub settled: bool,
    /// The link has a carrier, and a DHCP lease, addresses of the image's settings or of the kernel command line, or an
    /// IPv6 address, by router advertisement or DHCPv6, and a default router. Other than a lease it does not outlive its
    /// carrier.
    pub configured: bool,
    /// Addresses that it was given; of IPv6's none that is valid on the link alone.
    pub addresses: Vec<Address>,
    /// Routes that it was given, besides those to the networks of its addresses.
    pub routes: Vec<Route>,
    /// What the DHCP server gave, as long as it is valid.
    pub lease: Option<Lease>,
    /// What a DHCPv6 server gave, where a router wants it to be asked; an address as long as it is valid.
    pub lease6: Option<Lease6>,
}

/// Who gave an address, a route or a resolver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A DHCPv4 server.
    Dhcp,
    /// A DHCPv6 server.
    Dhcp6,
    /// A router's advertisement (RFC 4861, RFC 8106).
    RouterAdvertisement,
    /// The image's settings.
    Settings,
    /// The kernel command line's `ip=`.
    CommandLine,
}

/// An address of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix.
    pub prefix: u8,
    /// Who gave it.
    pub source: Source,
}

/// A route of a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Route {
    /// The network.
    pub destination: IpAddr,
    /// Length of its prefix; 0 is a default route.
    pub prefix: u8,
    /// The router; `None` is a network on the link itself.
    pub gateway: Option<IpAddr>,
    /// Of two routes to the same network the one with the lower metric counts.
    pub metric: u32,
    /// Who gave it.
    pub source: Source,
}

/// What is in `/etc/resolv.conf`, in this order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dns {
    /// Resolvers.
    pub servers: Vec<DnsServer>,
    /// Domains in which names without dots are looked up.
    pub search: Vec<SearchDomain>,
}

/// A resolver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DnsServer {
    /// Its address.
    pub address: IpAddr,
    /// The link that was given it.
    pub link: String,
    /// Who gave it.
    pub source: Source,
}

/// A domain to search.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchDomain {
    /// Its name.
    pub name: String,
    /// The link that was given it.
    pub link: String,
    /// Who gave it.
    pub source: Source,
}

/// What a DHCPv4 server gave (RFC 2131, RFC 2132).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix.
    pub prefix: u8,
    /// The server that gave it (option 54).
    pub server: Ipv4Addr,
    /// Default router, the first one of option 3, or of option 121 if that is there.
    pub router: Option<Ipv4Addr>,
    /// Resolvers (option 6).
    pub dns: Vec<IpAddr>,
    /// Domain (option 15); of several the first.
    pub domain: Option<String>,
    /// Domains to search instead of it (option 119, or option 15 if it names several).
    #[serde(default)]
    pub search: Vec<String>,
    /// Host name (option 12).
    pub host_name: Option<String>,
    /// MTU (option 26).
    pub mtu: Option<u16>,
    /// NTP servers (option 42).
    pub ntp: Vec<Ipv4Addr>,
    /// How many seconds the lease is for; `None` is for ever.
    pub seconds: Option<u32>,
    /// How often it was renewed or rebound since it was obtained.
    pub renewals: u64,
}

/// What a DHCPv6 server gave (RFC 8415).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease6 {
    /// The address; `None` if the router wants addresses to come from elsewhere. It can be used when it is among those of the
    /// link, a second or two later: the kernel looks first whether another machine has it.
    pub address: Option<Ipv6Addr>,
    /// Resolvers (option 23).
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search (option 24).
    pub search: Vec<String>,
    /// NTP servers (options 56 and 31).
    pub ntp: Vec<Ipv6Addr>,
    /// How many seconds the address is for; `None` is for ever, or that there is no address.
    pub seconds: Option<u32>,
    /// How often it was renewed or rebound since it was obtained.
    pub renewals: u64,
}

/// How far the clock can be trusted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Clock {
    /// True after the first answer of a time server, or the hypervisor's clock, was applied. It stays true until the
    /// machine restarts, whatever becomes of the servers.
    pub synchronized: bool,
    /// Where the time comes from: `rtc`; `floor`, the image's release; `saved`, the time kept on `/persistent`; `host`, the
    /// guest agent; `ptp kvm` or `ptp hyperv`, the hypervisor's clock; `ntp 10.0.2.2`, the time server that was believed.
    pub source: String,
    /// The last correction that was measured, in seconds; positive when the machine was slow. One of up to a second is
    /// still being slewed.
    pub offset: f64,
}

/// How often the machine stood still while time went on outside, as far as init noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Machine {
    /// How often it went on: after a pause, from a snapshot, on another host.
    pub resumes: u64,
    /// How often of these from a snapshot by the hypervisor's word (a new VM generation id). Another machine may go on from
    /// the same one: random numbers and names that were drawn before are perhaps not this machine's alone.
    pub restores: u64,
    /// When it was noticed the last time, in seconds since boot (`CLOCK_BOOTTIME`).
    pub resumed: Option<f64>,
}

/// The app's process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct App {
    /// Process id while it runs.
    pub pid: Option<i32>,
    /// How often it was started in this boot.
    pub starts: u64,
    /// True after it said `READY=1`.
    pub ready: bool,
    /// What it said last with `STATUS=`.
    pub status: Option<String>,
    /// How it ended the last time: `exited with status 3`, `killed by SIGSEGV`.
    pub last_exit: Option<String>,
    /// How long was waited after that, in seconds: before it was started again, or before the machine is; 0 at first.
    pub backoff: f64,
}

/// A shutdown that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shutdown {
    /// What happens at its end.
    pub action: Action,
    /// Who asked: `power button`, `Ctrl-Alt-Del`, `the app exited with status 0`.
    pub reason: String,
    /// When the app is killed, in seconds since boot (`CLOCK_BOOTTIME`).
    pub deadline: f64,
}

/// How a boot ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Previous {
    /// The way it ended.
    pub ended: Ended,
    /// Who asked and what for, what init's fault was, or what the kernel gave as the cause of its panic:
    /// `power button: poweroff`, `the app exited with status 3: reboot`.
    pub reason: Option<String>,
    /// How the app had ended last: `exited with status 3`, `killed by SIGSEGV`.
    pub app_exit: Option<String>,
}

/// The ways in which a boot may end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ended {
    /// In order, by power-off or reboot.
    Stopped,
    /// By a fault of init.
    InitFault,
    /// By a panic of the kernel.
    KernelPanic,
    /// By the hardware watchdog.
    Watchdog,
    /// Without a record: the power went, the machine was reset, or the kernel panicked without a place to say so.
    #[default]
    #[serde(other)]
    Unknown,
}

/// What happens when everything has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The machine is switched off.
    PowerOff,
    /// The machine starts again.
    Reboot,
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::PowerOff => "poweroff",
            Self::Reboot => "reboot",
        })
    }
}
