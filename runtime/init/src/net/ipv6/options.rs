//! Options of neighbour discovery that the kernel leaves to user space (RTM_NEWNDUSEROPT, rtnetlink(7)): of those, the
//! resolvers and search domains of router advertisements (RFC 8106).

use std::net::Ipv6Addr;
use std::time::Duration;

use super::super::names;

const RTM_NEWNDUSEROPT: u16 = 68;
const NETLINK_HEADER: usize = 16;
/// `struct nduseroptmsg`: family, padding, the options' length, link, ICMP type and code, padding.
const HEADER: usize = 16;
const ROUTER_ADVERTISEMENT: u8 = 134;
const RDNSS: u8 = 25;
const DNSSL: u8 = 31;

/// What a router says about DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The link.
    pub link: u32,
    /// How long it is valid, zero to take it back; `None` is for ever.
    pub lifetime: Option<Duration>,
    /// What it is.
    pub content: Content,
}

/// Resolvers or domains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Resolvers, of those that a host can have.
    Resolvers(Vec<Ipv6Addr>),
    /// Domains to search, of those that are safe in a file.
    Search(Vec<String>),
}

/// Reads the netlink messages of one datagram. What is malformed or of another kind is left out.
pub fn read(mut datagram: &[u8]) -> Vec<Advertised> {
    let mut found = Vec::new();
    while let Some((kind, body, rest)) = message(datagram) {
        if kind == RTM_NEWNDUSEROPT {
            found.extend(options(body).unwrap_or_default());
        }
        datagram = rest;
    }
    found
}

/// The type and content of the first message, and what follows it.
fn message(datagram: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(*datagram.first_chunk::<4>()?)).ok()?;
    let kind = u16::from_ne_bytes(*datagram.get(4..)?.first_chunk::<2>()?);
    let body = datagram.get(NETLINK_HEADER..length)?;
    let rest = datagram
        .get(length.next_multiple_of(4)..)
        .unwrap_or_default();
    Some((kind, body, rest))
}

fn options(body: &[u8]) -> Option<Vec<Advertised>> {
    let word = |offset: usize| body.get(offset..)?.first_chunk::<2>().copied();
    let length = usize::from(u16::from_ne_bytes(word(2)?));
    let link = u32::from_ne_bytes(*body.get(4..)?.first_chunk::<4>()?);
    let inet6 = *body.first()? == nix::libc::AF_INET6 as u8;
    if !inet6 || body.get(8..10)? != [ROUTER_ADVERTISEMENT, 0] {
        return None;
    }
    let mut rest = body.get(HEADER..HEADER + length)?;
    let mut found = Vec::new();
    // Type, and length in units of eight bytes, both of which count: RFC 4861, section 4.6.
    while let [kind, units, ..] = *rest {
        let length = usize::from(units) * 8;
        if length == 0 {
            break;
        }
        let Some((option, after)) = rest.split_at_checked(length) else {
            break;
        };
        if let Some((lifetime, content)) = option.get(4..).and_then(|value| dns(kind, value)) {
            found.push(Advertised {
                link,
                lifetime,
                content,
            });
        }
        rest = after;
    }
    Some(found)
}

/// The lifetime and content of an option, of which `value` is what follows the reserved bytes.
fn dns(kind: u8, value: &[u8]) -> Option<(Option<Duration>, Content)> {
    let (seconds, value) = value.split_first_chunk::<4>()?;
    let lifetime = match u32::from_be_bytes(*seconds) {
        u32::MAX => None,
        seconds => Some(Duration::from_secs(seconds.into())),
    };
    let content = match kind {
        RDNSS => {
            let (addresses, rest) = value.as_chunks::<16>();
            if addresses.is_empty() || !rest.is_empty() {
                return None;
            }
            let addresses = addresses.iter().map(|octets| Ipv6Addr::from(*octets));
            Content::Resolvers(addresses.filter(is_host).collect())
        }
        DNSSL => Content::Search(names::list(value).filter(|names| !names.is_empty())?),
        _ => return None,
    };
    Some((lifetime, content))
}

/// True for an address that a host can have. One that stands for an IPv4 address is never seen on a link (RFC 4291,
/// section 2.5.5.2).
pub fn is_host(address: &Ipv6Addr) -> bool {
    let special = address.is_unspecified() || address.is_loopback() || address.is_multicast();
    !special && address.to_ipv4_mapped().is_none()
}

/// What tests send as the kernel.
#[cfg(any(test, fuzzing))]
pub mod fake {
    use super::*;

    /// The kernel's message for one option.
    pub fn message(link: u32, option: &[u8]) -> Vec<u8> {
        let mut body = vec![nix::libc::AF_INET6 as u8, 0];
        body.extend_from_slice(
            &u16::try_from(option.len())
                .unwrap_or(u16::MAX)
                .to_ne_bytes(),
        );
        body.extend_from_slice(&link.to_ne_bytes());
        body.extend_from_slice(&[ROUTER_ADVERTISEMENT, 0, 0, 0, 0, 0, 0, 0]);
        body.extend_from_slice(option);
        // NDUSEROPT_SRCADDR, which nobody reads.
        body.extend_from_slice(&20_u16.to_ne_bytes());
        body.extend_from_slice(&1_u16.to_ne_bytes());
        body.extend_from_slice(&[0xfe; 16]);
        let length = u32::try_from(NETLINK_HEADER + body.len()).unwrap_or(0);
        let mut message = length.to_ne_bytes().to_vec();
        message.extend_from_slice(&RTM_NEWNDUSEROPT.to_ne_bytes());
        message.resize(NETLINK_HEADER, 0);
        message.extend_from_slice(&body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    /// An option of a lifetime and a value, padded to its length.
    pub fn option(kind: u8, lifetime: u32, value: &[u8]) -> Vec<u8> {
        let mut option = vec![kind, 0, 0, 0];
        option.extend_from_slice(&lifetime.to_be_bytes());
        option.extend_from_slice(value);
        option.resize(option.len().next_multiple_of(8), 0);
        let units = u8::try_from(option.len() / 8).unwrap_or(u8::MAX);
        if let Some(place) = option.get_mut(1) {
            *place = units;
        }
        option
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SERVER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

    #[test]
    fn resolvers_and_domains_are_read() {
        let value = [SERVER.octets(), Ipv6Addr::LOCALHOST.octets()].concat();
        let resolvers = fake::message(3, &fake::option(RDNSS, 60, &value));
        let domains = fake::message(4, &fake::option(DNSSL, u32::MAX, b"\x01a\x07example\x00"));
        assert_eq!(
            read(&[resolvers, domains].concat()),
            [
                Advertised {
                    link: 3,
                    lifetime: Some(Duration::from_secs(60)),
                    content: Content::Resolvers(vec![SERVER]),
                },
                Advertised {
                    link: 4,
                    lifetime: None,
                    content: Content::Search(vec!["a.example".into()]),
                }
            ]
        );
    }

    #[test]
    fn what_is_malformed_is_left_out() {
        let good = fake::option(RDNSS, 60, &SERVER.octets());
        let mut long = good.clone();
        long.extend_from_slice(&[0; 8]);
        if let Some(units) = long.get_mut(1) {
            *units += 1;
        }
        for (option, why) in [
            (fake::option(RDNSS, 60, &[]), "no address"),
            (long, "half an address"),
            (
                good.get(..16).unwrap_or_default().to_vec(),
                "shorter than it says",
            ),
            (vec![RDNSS, 0, 0, 0, 0, 0, 0, 0], "a length of zero"),
            (fake::option(24, 60, &SERVER.octets()), "another option"),
            (fake::option(DNSSL, 60, b"\x05ab"), "a name that is cut"),
            (fake::option(DNSSL, 60, b"\x01 \x00"), "a name with a space"),
            (Vec::new(), "nothing"),
        ] {
            assert_eq!(read(&fake::message(3, &option)), [], "{why}");
        }
        let mut other = fake::message(3, &good);
        assert_eq!(read(&other).len(), 1);
        for offset in [4, NETLINK_HEADER, NETLINK_HEADER + 8] {
            let mut changed = other.clone();
            if let Some(byte) = changed.get_mut(offset) {
                *byte ^= 1;
            }
            assert_eq!(read(&changed), [], "byte {offset}");
        }
        other.truncate(NETLINK_HEADER + 8);
        assert_eq!(read(&other), []);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
            let _ = read(&fake::message(3, &bytes));
        }

        #[test]
        fn no_value_gives_what_is_unsafe(kind in prop_oneof![Just(RDNSS), Just(DNSSL)], lifetime: u32,
            value in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..120)) {
            for option in read(&fake::message(3, &fake::option(kind, lifetime, &value))) {
                match option.content {
                    Content::Resolvers(list) => prop_assert!(list.iter().all(is_host)),
                    Content::Search(list) => {
                        prop_assert!(!list.is_empty());
                        for name in list {
                            prop_assert_eq!(names::name(&name), Some(name));
                        }
                    }
                }
            }
        }
    }
}
