//! What the links are given together: `/etc/resolv.conf` and the machine's name.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use tinyboot::status::{Dns, DnsServer, SearchDomain, Source};

/// The resolver of the C library looks at no more (resolv.conf(5), MAXNS).
const MOST_SERVERS: usize = 3;
/// Nor at more names to search in older versions (resolv.conf(5)).
const MOST_DOMAINS: usize = 6;

/// What one link was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Given {
    /// The link's name.
    pub link: String,
    /// A host name.
    pub host_name: Option<String>,
    /// Resolvers.
    pub servers: Vec<(IpAddr, Source)>,
    /// Domains to search.
    pub domains: Vec<(String, Source)>,
}

/// What was given by the index of the link, which is also the order of the routes' metrics.
pub type Links = BTreeMap<u32, Given>;

/// The first three resolvers and six domains, the links in the order of their metrics, nothing twice.
pub fn merge(links: &Links) -> Dns {
    let mut dns = Dns::default();
    for given in links.values() {
        for (address, source) in &given.servers {
            // The address of a router is one on each of its links.
            let local = matches!(address, IpAddr::V6(it) if it.is_unicast_link_local());
            let same = |other: &DnsServer| {
                other.address == *address && (!local || other.link == given.link)
            };
            if dns.servers.len() < MOST_SERVERS && !dns.servers.iter().any(same) {
                dns.servers.push(DnsServer {
                    address: *address,
                    link: given.link.clone(),
                    source: *source,
                });
            }
        }
        for (name, source) in &given.domains {
            let same = |other: &SearchDomain| other.name == *name;
            if dns.search.len() < MOST_DOMAINS && !dns.search.iter().any(same) {
                dns.search.push(SearchDomain {
                    name: name.clone(),
                    link: given.link.clone(),
                    source: *source,
                });
            }
        }
    }
    dns
}

/// The text of resolv.conf.
pub fn text(dns: &Dns) -> String {
    let mut text = String::from(
        "# Written by tinyboot-init from what the links were given; changes are overwritten.\n",
    );
    if !dns.search.is_empty() {
        let names: Vec<&str> = dns.search.iter().map(|it| it.name.as_str()).collect();
        // Writing into a String has no way to fail.
        let _ = writeln!(text, "search {}", names.join(" "));
    }
    for server in &dns.servers {
        let _ = match server.address {
            IpAddr::V6(address) if address.is_unicast_link_local() => {
                writeln!(text, "nameserver {address}%{}", server.link)
            }
            address => writeln!(text, "nameserver {address}"),
        };
    }
    text
}

/// The longest host name that the kernel takes.
const LONGEST_NAME: usize = 64;

/// The machine's name: what the settings say, else what the first link with a name was given, else the image's name.
/// Characters that a host name cannot have become `-`. Of a name that is too long the last labels go.
pub fn host_name(configured: Option<&str>, links: &Links, image: &str) -> String {
    let given = links.values().find_map(|given| given.host_name.as_deref());
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
        .collect();
    let trim = |name: &str| {
        let name = name.trim_matches(|character| character == '-' || character == '.');
        name.to_owned()
    };
    let mut name = trim(&name);
    while name.len() > LONGEST_NAME {
        match name.rfind('.') {
            Some(dot) => name.truncate(dot),
            None => name.truncate(LONGEST_NAME),
        }
    }
    name = trim(&name);
    if name.is_empty() {
        "tinyboot".into()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(link: &str, servers: &[&str], domains: &[&str]) -> Given {
        Given {
            link: link.into(),
            host_name: None,
            servers: servers
                .iter()
                .filter_map(|it| Some((it.parse().ok()?, Source::Dhcp)))
                .collect(),
            domains: domains
                .iter()
                .map(|it| ((*it).to_owned(), Source::RouterAdvertisement))
                .collect(),
        }
    }

    #[test]
    fn links_are_merged_in_the_order_of_their_metrics() {
        let links = Links::from([
            (
                3,
                given(
                    "eth1",
                    &["10.0.0.4", "10.0.0.1", "10.0.0.5"],
                    &["b.example", "a.example"],
                ),
            ),
            (2, given("eth0", &["10.0.0.1", "10.0.0.2"], &["a.example"])),
        ]);
        let dns = merge(&links);
        let text = text(&dns);
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
        let from: Vec<_> = dns
            .servers
            .iter()
            .map(|it| (it.link.as_str(), it.source))
            .collect();
        assert_eq!(
            from,
            [
                ("eth0", Source::Dhcp),
                ("eth0", Source::Dhcp),
                ("eth1", Source::Dhcp)
            ]
        );
        let from: Vec<_> = dns
            .search
            .iter()
            .map(|it| (it.link.as_str(), it.source))
            .collect();
        assert_eq!(
            from,
            [
                ("eth0", Source::RouterAdvertisement),
                ("eth1", Source::RouterAdvertisement)
            ]
        );
    }

    #[test]
    fn an_address_of_the_link_alone_names_the_link() {
        let links = Links::from([
            (2, given("eth0", &["fe80::1", "2001:db8::53"], &[])),
            (3, given("eth1", &["fe80::1"], &[])),
        ]);
        assert!(text(&merge(&links)).ends_with(
            "\nnameserver fe80::1%eth0\nnameserver 2001:db8::53\nnameserver fe80::1%eth1\n"
        ));
    }

    #[test]
    fn without_leases_there_are_no_servers() {
        assert_eq!(text(&merge(&Links::new())).lines().count(), 1);
    }

    #[test]
    fn the_name_of_the_settings_comes_first() {
        let named = Given {
            host_name: Some("given".into()),
            ..Given::default()
        };
        let links = Links::from([(2, Given::default()), (3, named)]);
        assert_eq!(host_name(Some("mine"), &links, "image"), "mine");
        assert_eq!(host_name(None, &links, "image"), "given");
        assert_eq!(host_name(None, &Links::new(), "my image"), "my-image");
        assert_eq!(host_name(None, &Links::new(), ""), "tinyboot");
    }

    #[test]
    fn a_name_that_is_too_long_loses_whole_labels() {
        let label = "x".repeat(30);
        for (long, short) in [
            (format!("{label}.{label}.com"), format!("{label}.{label}")),
            (
                format!("{label}xx.{label}.com"),
                format!("{label}xx.{label}"),
            ),
            (format!("{label}.{label}x.com"), format!("{label}.{label}x")),
            (format!("{label}.{label}xxxx.com"), label.clone()),
            (format!("box.{}", "x".repeat(63)), "box".into()),
            ("x".repeat(70), "x".repeat(64)),
        ] {
            let named = Given {
                host_name: Some(long.clone()),
                ..Given::default()
            };
            let links = Links::from([(2, named)]);
            assert_eq!(host_name(None, &links, "image"), short, "{long}");
        }
    }
}
