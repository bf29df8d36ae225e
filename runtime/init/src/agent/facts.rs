//! What the agent tells of the machine, in the protocol's form.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;

use nix::ifaddrs::InterfaceAddress;
use nix::sys::socket::SockaddrStorage;
use serde_json::{Map, Value, json};

use super::protocol::COMMANDS;

/// Where the kernel keeps a directory for each interface.
const INTERFACES: &str = "/sys/class/net";
/// The counters of an interface: the protocol's name and the kernel's.
const COUNTERS: [(&str, &str); 8] = [
    ("rx-bytes", "rx_bytes"),
    ("rx-packets", "rx_packets"),
    ("rx-errs", "rx_errors"),
    ("rx-dropped", "rx_dropped"),
    ("tx-bytes", "tx_bytes"),
    ("tx-packets", "tx_packets"),
    ("tx-errs", "tx_errors"),
    ("tx-dropped", "tx_dropped"),
];

/// `guest-info`.
pub fn info() -> Value {
    let commands: Vec<Value> = COMMANDS
        .iter()
        .map(|command| {
            json!({
                "name": command.name,
                "enabled": true,
                "success-response": command.answers,
            })
        })
        .collect();
    json!({ "version": env!("CARGO_PKG_VERSION"), "supported_commands": commands })
}

/// `guest-get-osinfo` of the image `name`.
///
/// # Errors
///
/// uname(2) fails.
pub fn os_info(name: &str) -> nix::Result<Value> {
    let kernel = nix::sys::utsname::uname()?;
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let version = env!("CARGO_PKG_VERSION");
    Ok(json!({
        "id": "tinyboot",
        "name": "tinyboot",
        "pretty-name": format!("{name} (tinyboot {version})"),
        "version": version,
        "version-id": version,
        "machine": text(kernel.machine()),
        "kernel-release": text(kernel.release()),
        "kernel-version": text(kernel.version()),
    }))
}

/// `guest-get-vcpus`: each processor that the kernel knows. One without a switch is always on.
pub fn processors() -> Value {
    processors_below(Path::new("/sys/devices/system/cpu"))
}

fn processors_below(directory: &Path) -> Value {
    let number = |name: &str| name.strip_prefix("cpu")?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| number(entry.file_name().to_str()?))
        .collect();
    numbers.sort_unstable();
    numbers
        .iter()
        .map(|number| {
            let switch = fs::read_to_string(directory.join(format!("cpu{number}/online")));
            json!({
                "logical-id": number,
                "online": switch.as_ref().map_or(true, |switch| switch.trim() == "1"),
                "can-offline": switch.is_ok(),
            })
        })
        .collect()
}

/// `guest-get-load`.
///
/// # Errors
///
/// The kernel does not tell.
pub fn load() -> io::Result<Value> {
    let text = fs::read_to_string("/proc/loadavg")?;
    averages(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// proc_loadavg(5).
fn averages(text: &str) -> Option<Value> {
    let mut words = text.split_ascii_whitespace();
    let mut next = || words.next()?.parse::<f64>().ok();
    Some(json!({ "load1m": next()?, "load5m": next()?, "load15m": next()? }))
}

/// `guest-network-get-interfaces`: all of them, loopback included.
///
/// # Errors
///
/// The kernel does not tell.
pub fn interfaces() -> nix::Result<Value> {
    let addresses = nix::ifaddrs::getifaddrs()?.map(Address::of);
    Ok(listed(addresses, Path::new(INTERFACES)))
}

/// One line of getifaddrs(3).
struct Address {
    interface: String,
    mac: Option<[u8; 6]>,
    ip: Option<(IpAddr, u32)>,
}

impl Address {
    fn of(address: InterfaceAddress) -> Self {
        let mac = address
            .address
            .as_ref()
            .and_then(|address| address.as_link_addr()?.addr());
        let ip = address.address.as_ref().and_then(ip_of);
        let prefix = address.netmask.as_ref().and_then(ip_of).map_or(0, ones);
        Self {
            interface: address.interface_name,
            mac,
            ip: ip.map(|ip| (ip, prefix)),
        }
    }
}

fn ip_of(address: &SockaddrStorage) -> Option<IpAddr> {
    let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
    v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
}

/// How many bits of a mask are set.
fn ones(mask: IpAddr) -> u32 {
    match mask {
        IpAddr::V4(mask) => mask.to_bits().count_ones(),
        IpAddr::V6(mask) => mask.to_bits().count_ones(),
    }
}

fn listed(addresses: impl Iterator<Item = Address>, counters: &Path) -> Value {
    let mut interfaces: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for Address { interface, mac, ip } in addresses {
        let entry = interfaces.entry(interface.clone()).or_insert_with(|| {
            let mut entry = Map::new();
            entry.insert("name".into(), interface.clone().into());
            entry.insert("ip-addresses".into(), json!([]));
            if let Some(statistics) = statistics(&counters.join(&interface)) {
                entry.insert("statistics".into(), statistics);
            }
            entry
        });
        if let Some(mac) = mac {
            let text = mac.map(|byte| format!("{byte:02x}")).join(":");
            entry.insert("hardware-address".into(), text.into());
        }
        if let (Some((ip, prefix)), Some(Value::Array(list))) = (ip, entry.get_mut("ip-addresses"))
        {
            list.push(json!({
                "ip-address": ip.to_string(),
                "ip-address-type": if ip.is_ipv4() { "ipv4" } else { "ipv6" },
                "prefix": prefix,
            }));
        }
    }
    interfaces.into_values().map(Value::Object).collect()
}

fn statistics(interface: &Path) -> Option<Value> {
    COUNTERS
        .iter()
        .map(|(name, file)| {
            let text = fs::read_to_string(interface.join("statistics").join(file)).ok()?;
            Some(((*name).to_owned(), text.trim().parse::<u64>().ok()?.into()))
        })
        .collect::<Option<Map<_, _>>>()
        .map(Value::Object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_gathered_by_interface() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let counters = directory.path().join("eth0/statistics");
        fs::create_dir_all(&counters)?;
        for (number, (_, file)) in COUNTERS.iter().enumerate() {
            fs::write(counters.join(file), format!("{number}\n"))?;
        }
        let address = |interface: &str,
                       mac,
                       ip: Option<(&str, u32)>|
         -> Result<Address, std::net::AddrParseError> {
            let ip = ip
                .map(|(ip, prefix)| Ok((ip.parse()?, prefix)))
                .transpose()?;
            Ok(Address {
                interface: interface.into(),
                mac,
                ip,
            })
        };
        let addresses = [
            address("lo", Some([0; 6]), None)?,
            address("eth0", Some([0x52, 0x54, 0, 0, 0, 1]), None)?,
            address("lo", None, Some(("127.0.0.1", 8)))?,
            address("eth0", None, Some(("10.0.2.15", 24)))?,
            address("eth0", None, Some(("fe80::1", 64)))?,
        ];
        let expected = json!([
            {
                "name": "eth0",
                "hardware-address": "52:54:00:00:00:01",
                "ip-addresses": [
                    { "ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24 },
                    { "ip-address": "fe80::1", "ip-address-type": "ipv6", "prefix": 64 },
                ],
                "statistics": {
                    "rx-bytes": 0, "rx-packets": 1, "rx-errs": 2, "rx-dropped": 3,
                    "tx-bytes": 4, "tx-packets": 5, "tx-errs": 6, "tx-dropped": 7,
                },
            },
            {
                "name": "lo",
                "hardware-address": "00:00:00:00:00:00",
                "ip-addresses": [{ "ip-address": "127.0.0.1", "ip-address-type": "ipv4", "prefix": 8 }],
            },
        ]);
        assert_eq!(listed(addresses.into_iter(), directory.path()), expected);
        Ok(())
    }

    #[test]
    fn processors_and_their_load_have_the_protocols_form() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        for name in ["cpu10", "cpu1", "cpu0", "cpufreq", "cpuidle"] {
            fs::create_dir(directory.path().join(name))?;
        }
        fs::write(directory.path().join("cpu1/online"), "1\n")?;
        fs::write(directory.path().join("cpu10/online"), "0\n")?;
        assert_eq!(
            processors_below(directory.path()),
            json!([
                { "logical-id": 0, "online": true, "can-offline": false },
                { "logical-id": 1, "online": true, "can-offline": true },
                { "logical-id": 10, "online": false, "can-offline": true },
            ])
        );
        assert_eq!(
            averages("0.10 1.25 12.00 1/80 97\n"),
            Some(json!({ "load1m": 0.1, "load5m": 1.25, "load15m": 12.0 }))
        );
        assert_eq!(averages("0.10 x"), None);
        Ok(())
    }

    #[test]
    fn this_machine_has_a_loopback_and_a_kernel() -> nix::Result<()> {
        let interfaces = interfaces()?;
        assert!(
            interfaces.as_array().is_some_and(|list| {
                list.iter()
                    .any(|interface| interface.get("name") == Some(&json!("lo")))
            }),
            "{interfaces}"
        );
        assert!(
            os_info("x")?
                .get("kernel-release")
                .is_some_and(Value::is_string)
        );
        Ok(())
    }
}
