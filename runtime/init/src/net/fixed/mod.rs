//! Addresses that nobody has to be asked for: from the image's settings, and from the kernel command line's `ip=`.

pub mod apply;
pub mod command_line;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use tinyboot::status::Source;

use super::link::hexadecimal;
use super::names::name;
use crate::settings::{self, Settings};
use command_line::{Parameter, Way};

/// What is wrong with a link's settings.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It is no address with a prefix.
    #[error(
        "the address \"{0}\" of the link {1} is not one that a host can have with the length of its prefix, such as 192.0.2.10/24"
    )]
    Address(String, String),
    /// It is no address.
    #[error("\"{0}\" among the {2} of the link {1} is not an address that a host can have")]
    Host(String, String, &'static str),
    /// It is no name.
    #[error("\"{0}\" among the domains of the link {1} is not a domain")]
    Domain(String, String),
    /// There is none.
    #[error("the link {0} has settings but no address")]
    None(String),
}

/// What a link has instead of DHCP. Without addresses it is one that IPv4 is to leave alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    /// Addresses with the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default routers.
    pub gateways: Vec<IpAddr>,
    /// Resolvers.
    pub dns: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// Where it stands.
    pub source: Source,
}

impl Fixed {
    /// Reads one link's settings, and says what is wrong with them.
    pub fn from_settings(link: &str, settings: &settings::FixedLink) -> (Self, Vec<Error>) {
        let mut errors = Vec::new();
        let mut hosts = |list: &[String], what| {
            let mut found = Vec::new();
            for text in list {
                match text.parse().ok().filter(is_host) {
                    Some(address) => found.push(address),
                    None => errors.push(Error::Host(text.clone(), link.into(), what)),
                }
            }
            found
        };
        let gateways = hosts(&settings.gateways, "gateways");
        let dns = hosts(&settings.dns, "resolvers");
        let mut addresses = Vec::new();
        for text in &settings.addresses {
            match with_prefix(text) {
                Some(address) => addresses.push(address),
                None => errors.push(Error::Address(text.clone(), link.into())),
            }
        }
        if settings.addresses.is_empty() {
            errors.push(Error::None(link.into()));
        }
        let mut search = Vec::new();
        for text in &settings.search {
            match name(text) {
                Some(domain) => search.push(domain),
                None => errors.push(Error::Domain(text.clone(), link.into())),
            }
        }
        let fixed = Self {
            addresses,
            gateways,
            dns,
            search,
            source: Source::Settings,
        };
        (fixed, errors)
    }

    /// The first IPv4 address.
    pub fn ipv4(&self) -> Option<Ipv4Addr> {
        self.addresses
            .iter()
            .find_map(|(address, _)| match address {
                IpAddr::V4(address) => Some(*address),
                IpAddr::V6(_) => None,
            })
    }
}

/// True for an address that a host can have.
fn is_host(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(it) => super::dhcp::is_host(*it),
        IpAddr::V6(it) => super::ipv6::options::is_host(it),
    }
}

/// `192.0.2.10/24`
fn with_prefix(text: &str) -> Option<(IpAddr, u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: IpAddr = address.parse().ok().filter(is_host)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
    let prefix = prefix
        .parse()
        .ok()
        .filter(|it| (1..=longest).contains(it) && digits)?;
    Some((address, prefix))
}

/// A hardware address as a key of the settings, in lower case: `52:54:00:12:34:56`. No name of a link is that long.
pub fn mac_key(key: &str) -> Option<String> {
    let parts: Vec<&str> = key.split(':').collect();
    let octet = |part: &&str| part.len() == 2 && part.bytes().all(|it| it.is_ascii_hexdigit());
    (parts.len() == 6 && parts.iter().all(octet)).then(|| key.to_ascii_lowercase())
}

/// Which link has what. The kernel command line comes before the settings, a link's hardware address before its name, and that
/// before "*".
#[derive(Debug, Default)]
pub struct Plan {
    parameters: Vec<Parameter>,
    links: BTreeMap<String, Fixed>,
    /// The link that a fixed address without a device has gone to.
    first: Option<String>,
}

impl Plan {
    /// The plan of a machine. If it may have no settings of its own, the command line says nothing here either.
    pub fn of_machine(command_line: &str, settings: &Settings) -> Self {
        let mut command_line = command_line;
        if !settings.control.machine_settings && !command_line::parse(command_line).is_empty() {
            log::warn!(
                "net: ip= on the kernel command line is ignored: control.machineSettings is false"
            );
            command_line = "";
        }
        Self::new(command_line, &settings.network.links)
    }

    /// The plan by the kernel's parameters and the settings. What is wrong is logged and left out; a link without an address
    /// by the settings is one for DHCP.
    pub fn new(command_line: &str, settings: &BTreeMap<String, settings::FixedLink>) -> Self {
        let mut plan = Self::default();
        for parameter in command_line::parse(command_line) {
            match parameter {
                Ok(parameter) => plan.parameters.push(parameter),
                Err(error) => log::error!("net: {error}"),
            }
        }
        for (link, settings) in settings {
            let (fixed, errors) = Fixed::from_settings(link, settings);
            for error in errors {
                log::error!("net: network.links: {error}; it is left out");
            }
            if !fixed.addresses.is_empty() {
                let key = mac_key(link).unwrap_or_else(|| link.clone());
                plan.links.insert(key, fixed);
            }
        }
        plan
    }

    /// True if the link is named, be it by its hardware address: init looks after it whoever made it.
    pub fn names(&self, link: &str, mac: [u8; 6]) -> bool {
        let mut parameters = self.parameters.iter();
        parameters.any(|parameter| parameter.device.as_deref() == Some(link))
            || self.links.contains_key(link)
            || self.links.contains_key(&hexadecimal(mac))
    }

    /// What the link with this name and hardware address has; `None` is DHCP. An address of the command line that is for no certain link is
    /// for the first one that is asked about.
    pub fn of(&mut self, link: &str, mac: [u8; 6]) -> Option<Fixed> {
        let named = |parameter: &&Parameter| parameter.device.as_deref() == Some(link);
        let unnamed = |parameter: &&Parameter| parameter.device.is_none();
        let parameters = || self.parameters.iter().rev();
        for parameter in parameters()
            .filter(named)
            .chain(parameters().filter(unnamed))
        {
            match &parameter.way {
                Way::Dhcp => return None,
                Way::Fixed(fixed) if parameter.device.is_some() || fixed.addresses.is_empty() => {
                    return Some(fixed.clone());
                }
                Way::Fixed(fixed) => {
                    if self.first.get_or_insert_with(|| link.to_owned()) == link {
                        return Some(fixed.clone());
                    }
                }
            }
        }
        self.links
            .get(&hexadecimal(mac))
            .or_else(|| self.links.get(link))
            .or_else(|| self.links.get("*"))
            .cloned()
    }

    /// The host name of the command line.
    pub fn host_name(&self) -> Option<&str> {
        self.parameters
            .iter()
            .rev()
            .find_map(|parameter| parameter.host_name.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn link(addresses: &[&str], hosts: &[&str], search: &[&str]) -> settings::FixedLink {
        let strings = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
        settings::FixedLink {
            addresses: strings(addresses),
            gateways: strings(hosts),
            dns: strings(hosts),
            search: strings(search),
        }
    }

    fn first(plan: &mut Plan, name: &str) -> Option<(String, Source)> {
        let fixed = plan.of(name, MAC)?;
        Some((fixed.addresses.first()?.0.to_string(), fixed.source))
    }

    #[test]
    fn what_is_wrong_is_named_and_the_rest_counts() {
        let wrong = [
            "192.0.2.1",
            "192.0.2.1/33",
            "192.0.2.1/0",
            "192.0.2.1/+8",
            "2001:db8::1/129",
            "0.0.0.0/8",
            "ff02::1/64",
            "x/8",
            "",
        ];
        for text in wrong {
            let (fixed, errors) =
                Fixed::from_settings("eth0", &link(&[text, "192.0.2.9/24"], &[], &[]));
            assert_eq!(errors, [Error::Address(text.into(), "eth0".into())]);
            assert_eq!(fixed.addresses, [(IpAddr::from([192, 0, 2, 9]), 24)]);
        }
        let (fixed, errors) = Fixed::from_settings(
            "*",
            &link(
                &["2001:db8::9/64"],
                &["127.0.0.1", "fe80::1"],
                &["a b", "c.d"],
            ),
        );
        let said: Vec<String> = errors.iter().map(Error::to_string).collect();
        assert_eq!(
            said,
            [
                "\"127.0.0.1\" among the gateways of the link * is not an address that a host can have",
                "\"127.0.0.1\" among the resolvers of the link * is not an address that a host can have",
                "\"a b\" among the domains of the link * is not a domain"
            ]
        );
        assert_eq!(
            (fixed.gateways.len(), fixed.dns.len(), fixed.search.len()),
            (1, 1, 1)
        );
    }

    #[test]
    fn the_command_line_comes_before_the_settings_and_a_name_before_all() {
        let settings = BTreeMap::from([
            ("eth0".to_owned(), link(&["192.0.2.10/24"], &[], &[])),
            ("eth1".to_owned(), link(&["192.0.2.11/24"], &[], &[])),
            ("*".to_owned(), link(&["192.0.2.12/24"], &[], &[])),
        ]);
        let mut plan = Plan::new(
            "quiet ip=10.0.0.5::::box:eth1:off ip=:::::eth2:dhcp",
            &settings,
        );
        assert_eq!(
            first(&mut plan, "eth0"),
            Some(("192.0.2.10".into(), Source::Settings))
        );
        assert_eq!(
            first(&mut plan, "eth1"),
            Some(("10.0.0.5".into(), Source::CommandLine))
        );
        assert_eq!(plan.of("eth2", MAC), None);
        assert_eq!(
            first(&mut plan, "eth3"),
            Some(("192.0.2.12".into(), Source::Settings))
        );
        assert_eq!(plan.host_name(), Some("box"));
        assert_eq!(Plan::new("", &BTreeMap::new()).of("eth0", MAC), None);
    }

    #[test]
    fn a_link_without_an_address_is_one_for_dhcp() {
        for addresses in [&[][..], &["192.0.2.10"]] {
            let settings = link(addresses, &["192.0.2.1"], &[]);
            let (_, errors) = Fixed::from_settings("eth0", &settings);
            assert_eq!(errors.len(), 1, "{errors:?}");
            let settings = BTreeMap::from([("eth0".to_owned(), settings)]);
            assert_eq!(Plan::new("", &settings).of("eth0", MAC), None);
        }
    }

    #[test]
    fn an_address_for_no_certain_link_is_for_one_link() {
        let mut plan = Plan::new("ip=10.0.0.5", &BTreeMap::new());
        for _ in 0..2 {
            assert_eq!(
                first(&mut plan, "eth0"),
                Some(("10.0.0.5".into(), Source::CommandLine))
            );
            assert_eq!(plan.of("eth1", MAC), None);
        }
    }

    #[test]
    fn a_hardware_address_comes_before_a_name() {
        let settings = BTreeMap::from([
            (
                "52:54:00:12:34:5A".to_owned(),
                link(&["192.0.2.1/24"], &[], &[]),
            ),
            ("eth0".to_owned(), link(&["192.0.2.2/24"], &[], &[])),
            ("*".to_owned(), link(&["192.0.2.3/24"], &[], &[])),
        ]);
        let mut plan = Plan::new("ip=:::::eth7:dhcp", &settings);
        let other = [0x52, 0x54, 0, 0x12, 0x34, 0x5a];
        let address = |fixed: Option<Fixed>| Some(fixed?.addresses.first()?.0.to_string());
        for (name, mac, expected, named) in [
            ("eth0", other, Some("192.0.2.1"), true),
            ("eth1", other, Some("192.0.2.1"), true),
            ("eth0", MAC, Some("192.0.2.2"), true),
            ("eth1", MAC, Some("192.0.2.3"), false),
            ("eth7", MAC, None, true),
        ] {
            let found = address(plan.of(name, mac));
            assert_eq!(found.as_deref(), expected, "{name} {mac:?}");
            assert_eq!(plan.names(name, mac), named, "{name} {mac:?}");
        }
        for wrong in [
            "eth0",
            "52:54:00:12:34",
            "52:54:00:12:34:5",
            "52:54:00:12:34:+5",
        ] {
            assert_eq!(mac_key(wrong), None);
        }
    }

    #[test]
    fn a_machine_without_settings_of_its_own_has_no_ip() {
        let mut settings = Settings::default();
        let line = "quiet ip=192.0.2.66::192.0.2.1:255.255.255.0:evil:eth0:off:192.0.2.6";
        let mut plan = Plan::of_machine(line, &settings);
        assert!(plan.of("eth0", MAC).is_some() && plan.host_name() == Some("evil"));
        settings.control.machine_settings = false;
        let mut plan = Plan::of_machine(line, &settings);
        assert_eq!((plan.of("eth0", MAC), plan.host_name()), (None, None));
        assert!(!plan.names("eth0", MAC));
    }

    #[test]
    fn off_is_for_all_links() {
        let mut plan = Plan::new("ip=off", &BTreeMap::new());
        for name in ["eth0", "eth1"] {
            assert_eq!(
                plan.of(name, MAC).map(|fixed| fixed.addresses.len()),
                Some(0)
            );
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_address_or_a_fault(text in "[0-9a-f.:/]{0,24}") {
            let (fixed, errors) = Fixed::from_settings("eth0", &link(&[&text], &[&text], &[&text]));
            prop_assert_eq!(fixed.addresses.len() + fixed.gateways.len() + fixed.dns.len() + fixed.search.len() + errors.len(), 4);
        }
    }
}
