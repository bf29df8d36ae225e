//! The kernel's own parameter `ip=` (Documentation/admin-guide/nfs/nfsroot.rst), which our kernel leaves to init:
//! `ip=client:server:gateway:netmask:host:device:autoconf:dns0:dns1:ntp0`, or `ip=autoconf`.

use std::net::{IpAddr, Ipv4Addr};

use tinyboot::status::Source;

use super::super::dhcp::{is_host, prefix_of, prefix_of_class};
use super::super::names::name;
use super::Fixed;
use crate::machine::cmdline::parameters;

/// What one `ip=` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The link that it is for.
    pub device: Option<String>,
    /// The host name.
    pub host_name: Option<String>,
    /// How the link gets its address.
    pub way: Way,
}

/// How a link gets its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// By DHCP.
    Dhcp,
    /// As it is said; not at all if nothing is.
    Fixed(Fixed),
}

/// An `ip=` that is wrong. It is left out as a whole.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "The kernel parameter \"ip={parameter}\" is ignored, since its {field} \"{value}\" is not {expected}."
)]
pub struct Error {
    parameter: String,
    field: &'static str,
    value: String,
    expected: &'static str,
}

/// A host's name for a device is at most this long (IFNAMSIZ).
const LONGEST_DEVICE: usize = 15;

/// Every `ip=` of a kernel command line. What stands after ` -- ` is not the kernel's.
pub fn parse(command_line: &str) -> Vec<Result<Parameter, Error>> {
    parameters(command_line)
        .take_while(|word| *word != "--")
        .filter_map(|word| word.strip_prefix("ip="))
        .map(one)
        .collect()
}

fn one(parameter: &str) -> Result<Parameter, Error> {
    let wrong = |field, value: &str, expected| Error {
        parameter: parameter.to_owned(),
        field,
        value: value.to_owned(),
        expected,
    };
    let address = |field, value: &str| match value {
        "" => Ok(None),
        value => match value.parse().ok().filter(|it| is_host(*it)) {
            Some(address) => Ok(Some(address)),
            None => Err(wrong(field, value, "an IPv4 address of a host")),
        },
    };
    let mut fields = parameter.split(':');
    let mut next = || fields.next().unwrap_or_default();
    let (client, server, gateway, netmask) = (next(), next(), next(), next());
    let (host, device, autoconf, dns0, dns1, ntp0) =
        (next(), next(), next(), next(), next(), next());
    if let Some(more) = fields.next() {
        return Err(wrong("eleventh field", more, "one that is known"));
    }
    // Alone it is the seventh field, unless it is an address.
    let alone = !parameter.contains(':') && client.parse::<Ipv4Addr>().is_err();
    let (client, autoconf) = if alone {
        ("", client)
    } else {
        (client, autoconf)
    };
    let asks = match autoconf {
        "off" | "none" => false,
        "" | "on" | "any" | "dhcp" | "both" => true,
        other => {
            let expected = "\"off\", \"none\", \"on\", \"any\", \"dhcp\" or \"both\"";
            return Err(wrong("way of configuration", other, expected));
        }
    };
    // They are of no use to us, but a fault in them is one.
    address("server", server)?;
    address("time server", ntp0)?;
    let dns = [address("resolver", dns0)?, address("resolver", dns1)?];
    let gateway = address("gateway", gateway)?;
    let client = address("client's address", client)?;
    let prefix = match netmask {
        "" => None,
        mask => match mask.parse().ok().and_then(prefix_of) {
            Some(prefix) => Some(prefix),
            None => return Err(wrong("netmask", mask, "a netmask")),
        },
    };
    // What follows the first dot would be a NIS domain.
    let host_name = match host.split('.').next().unwrap_or_default() {
        "" => None,
        label => match name(label) {
            Some(name) => Some(name),
            None => return Err(wrong("host name", host, "a host name")),
        },
    };
    let sound = device
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'/');
    if device.len() > LONGEST_DEVICE || !sound {
        return Err(wrong("device", device, "the name of a link"));
    }
    let way = if client.is_none() && asks {
        Way::Dhcp
    } else {
        let address = |client: Ipv4Addr| {
            let prefix = prefix.unwrap_or_else(|| prefix_of_class(client));
            (IpAddr::V4(client), prefix)
        };
        Way::Fixed(Fixed {
            addresses: client.map(address).into_iter().collect(),
            gateways: gateway.map(IpAddr::V4).into_iter().collect(),
            dns: dns.into_iter().flatten().map(IpAddr::V4).collect(),
            search: Vec::new(),
            source: Source::CommandLine,
        })
    };
    Ok(Parameter {
        device: (!device.is_empty()).then(|| device.to_owned()),
        host_name,
        way,
    })
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(parameter: &str) -> Parameter {
        match one(parameter) {
            Ok(parameter) => parameter,
            Err(error) => panic!("{error}"),
        }
    }

    fn fixed(parameter: &str) -> Fixed {
        match good(parameter).way {
            Way::Fixed(fixed) => fixed,
            Way::Dhcp => panic!("DHCP by {parameter}"),
        }
    }

    #[test]
    fn all_fields_are_read() {
        let parameter = "192.0.2.10:192.0.2.9:192.0.2.1:255.255.255.128:box.nis:eth1:off:192.0.2.53:192.0.2.54:192.0.2.123";
        assert_eq!(
            good(parameter),
            Parameter {
                device: Some("eth1".into()),
                host_name: Some("box".into()),
                way: Way::Fixed(Fixed {
                    addresses: vec![(IpAddr::from([192, 0, 2, 10]), 25)],
                    gateways: vec![IpAddr::from([192, 0, 2, 1])],
                    dns: vec![IpAddr::from([192, 0, 2, 53]), IpAddr::from([192, 0, 2, 54])],
                    search: Vec::new(),
                    source: Source::CommandLine,
                }),
            }
        );
    }

    #[test]
    fn an_address_is_fixed_and_its_class_is_its_mask() {
        for (parameter, prefix) in [
            ("10.0.0.5", 8),
            ("172.16.0.5::", 16),
            ("192.0.2.5:::::eth0", 24),
            ("10.0.0.5::::::on", 8),
        ] {
            assert_eq!(
                fixed(parameter).addresses.first().map(|it| it.1),
                Some(prefix),
                "{parameter}"
            );
        }
    }

    #[test]
    fn without_an_address_the_way_counts() {
        for parameter in [
            "dhcp",
            "on",
            "any",
            "both",
            "",
            ":::::eth0:dhcp",
            ":::::eth0",
            "::::::",
        ] {
            assert_eq!(good(parameter).way, Way::Dhcp, "{parameter}");
        }
        for parameter in ["off", "none", ":::::eth0:off", "::::::none"] {
            assert_eq!(fixed(parameter).addresses, [], "{parameter}");
        }
        assert_eq!(good(":::::eth0:dhcp").device.as_deref(), Some("eth0"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        let said = |parameter: &str| {
            one(parameter)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert_eq!(
            said("10.0.0.300::10.0.0.1"),
            "The kernel parameter \"ip=10.0.0.300::10.0.0.1\" is ignored, since its client's address \"10.0.0.300\" is not an IPv4 address of a host."
        );
        for (parameter, part) in [
            ("10.0.0.5:x", "server \"x\""),
            ("10.0.0.5::0.0.0.0", "gateway \"0.0.0.0\""),
            ("10.0.0.5:::255.0.255.0", "netmask \"255.0.255.0\""),
            ("10.0.0.5::::a_b c", "host name \"a_b c\""),
            ("10.0.0.5:::::../../etc", "device \"../../etc\""),
            ("10.0.0.5:::::a-name-that-is-too-long", "device \""),
            ("bootp", "way of configuration \"bootp\""),
            ("10.0.0.5::::::off:1", "resolver \"1\""),
            ("10.0.0.5::::::off:::x", "time server \"x\""),
            ("10.0.0.5::::::off::::", "eleventh field \"\""),
            ("[2001:db8::1]", "eleventh field"),
        ] {
            let error = said(parameter);
            assert!(
                error.contains(part) || parameter.starts_with('['),
                "{parameter}: {error}"
            );
            assert!(!error.is_empty(), "{parameter}");
        }
    }

    #[test]
    fn every_ip_of_the_command_line_counts_up_to_the_programs_own() {
        let found = parse("console=ttyS0 ip=dhcp xip=off ip=10.0.0.5:::::eth1 ip=x -- ip=off\n");
        assert_eq!(found.len(), 3);
        assert_eq!(found.iter().filter(|it| it.is_err()).count(), 1);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(ip=)?[0-9a-z.: =/-]{0,80}", any in ".{0,80}") {
            let _ = (parse(&text), one(&text), parse(&any), one(&any));
        }

        #[test]
        fn fields_in_their_places_are_read(client: [u8; 4], prefix in 1_u32..=32, device in "[a-z]{1,8}[0-9]") {
            let mask = Ipv4Addr::from_bits(u32::MAX << (32 - prefix));
            let client = Ipv4Addr::from(client);
            let result = one(&format!("{client}:::{mask}::{device}:off"));
            if is_host(client) {
                let Ok(Parameter { device: Some(named), way: Way::Fixed(fixed), .. }) = result else { panic!("{result:?}") };
                prop_assert_eq!(named, device);
                prop_assert_eq!(fixed.addresses, [(IpAddr::V4(client), u8::try_from(prefix).unwrap_or(0))]);
            } else {
                prop_assert!(result.is_err());
            }
        }
    }
}
