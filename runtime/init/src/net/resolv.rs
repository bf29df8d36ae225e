//! What the links' leases say together: `/etc/resolv.conf` and the machine's name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::Path;

use super::dhcp::Lease;

/// The resolver of the C library looks at no more (resolv.conf(5), MAXNS).
const MOST_SERVERS: usize = 3;
/// Nor at more names to search in older versions (resolv.conf(5)).
const MOST_DOMAINS: usize = 6;

/// The leases by the index of their links, which is also the order of their routes' metrics.
pub type Leases = BTreeMap<u32, Lease>;

/// The text of resolv.conf: the first three resolvers and six domains of the leases, the links in the order of their
/// metrics, nothing twice.
pub fn text(leases: &Leases) -> String {
    let mut servers: Vec<Ipv4Addr> = Vec::new();
    let mut domains: Vec<&str> = Vec::new();
    for lease in leases.values() {
        for server in &lease.dns {
            if !servers.contains(server) {
                servers.push(*server);
            }
        }
        for domain in lease.domains() {
            if !domains.contains(&domain.as_str()) {
                domains.push(domain);
            }
        }
    }
    domains.truncate(MOST_DOMAINS);
    let mut text =
        String::from("# Written by tinyboot-init from the DHCP leases; changes are overwritten.\n");
    if !domains.is_empty() {
        // Writing into a String has no way to fail.
        let _ = writeln!(text, "search {}", domains.join(" "));
    }
    for server in servers.iter().take(MOST_SERVERS) {
        let _ = writeln!(text, "nameserver {server}");
    }
    text
}

/// The machine's name: what the settings say, else what the first lease with a name says, else the image's name.
/// Characters that a host name cannot have become `-`.
pub fn host_name(configured: Option<&str>, leases: &Leases, image: &str) -> String {
    let given = leases.values().find_map(|lease| lease.host_name.as_deref());
    let name: String = configured
        .or(given)
        .unwrap_or(image)
        .chars()
        .map(|character| {
            if character.is_ascii_alphanumeric() || character == '.' {
                character
            } else {
                '-'
            }
        })
        .take(64)
        .collect();
    let name = name.trim_matches(|character| character == '-' || character == '.');
    if name.is_empty() {
        "tinyboot".into()
    } else {
        name.into()
    }
}

/// Replaces the file at `path` as a whole: a reader sees the old text or the new one.
///
/// # Errors
///
/// What the file system says; the old file is still there then.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    std::fs::create_dir_all(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::File::create(&beside)?.write_all(text)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dhcp::testing::lease;

    #[allow(clippy::type_complexity, reason = "a row of a table")]
    fn leases(links: &[(u32, &[u8], Option<&str>, Option<&str>)]) -> Leases {
        let one = |(index, dns, domain, host_name): &(u32, &[u8], Option<&str>, Option<&str>)| {
            let mut lease = lease([10, 0, 2, 15]);
            lease.dns = dns
                .iter()
                .map(|last| Ipv4Addr::new(10, 0, 0, *last))
                .collect();
            lease.domain = domain.map(str::to_owned);
            lease.host_name = host_name.map(str::to_owned);
            (*index, lease)
        };
        links.iter().map(one).collect()
    }

    #[test]
    fn links_are_merged_in_the_order_of_their_metrics() {
        let text = text(&leases(&[
            (3, &[4, 1, 5], Some("b.example"), None),
            (2, &[1, 2], Some("a.example"), None),
        ]));
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "search a.example b.example",
                "nameserver 10.0.0.1",
                "nameserver 10.0.0.2",
                "nameserver 10.0.0.4"
            ]
        );
    }

    #[test]
    fn without_leases_there_are_no_servers() {
        assert_eq!(text(&leases(&[])).lines().count(), 1);
    }

    #[test]
    fn the_name_of_the_settings_comes_first() {
        let leases = leases(&[(2, &[], None, None), (3, &[], None, Some("given"))]);
        assert_eq!(host_name(Some("mine"), &leases, "image"), "mine");
        assert_eq!(host_name(None, &leases, "image"), "given");
        assert_eq!(host_name(None, &Leases::new(), "my image"), "my-image");
        assert_eq!(host_name(None, &Leases::new(), ""), "tinyboot");
    }

    #[test]
    fn a_file_is_replaced_as_a_whole() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("etc/resolv.conf");
        for text in ["one", "two"] {
            replace(&path, text.as_bytes())?;
            assert_eq!(std::fs::read_to_string(&path)?, text);
        }
        assert_eq!(std::fs::read_dir(directory.path().join("etc"))?.count(), 1);
        Ok(())
    }
}
