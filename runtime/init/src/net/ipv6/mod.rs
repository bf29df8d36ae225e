//! What router advertisements bring to a link. Addresses and routes are the kernel's, which says what it has of them; DNS
//! is ours (RFC 8106), and the kernel hands over the options. No I/O and no clock; the socket is in [`socket`].

pub mod bound;
pub mod options;
pub mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use rtnetlink::packet_core::Nla as _;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{
    AfSpecInet6, AfSpecUnspec, LinkAttribute, LinkMessage, LinkProtoInfoInet6,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol,
};

use super::dhcp6::Ask;
use options::{Advertised, Content};

/// So many resolvers, domains and routers are kept for a link, each; RFC 8106 (section 5.3.1) wants three resolvers at
/// least. Whoever advertises ever new ones must not fill the memory.
const MOST: usize = 8;

/// What is valid on a link now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Addresses of global scope that can be used, with the lengths of their prefixes.
    pub addresses: Vec<(Ipv6Addr, u8)>,
    /// Default routers with the metrics of their routes.
    pub routers: Vec<(Ipv6Addr, u32)>,
    /// Resolvers.
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// What routers want to be asked for by DHCPv6.
    pub ask: Ask,
    /// The link's own address, when it can be used.
    pub local: Option<Ipv6Addr>,
    /// Addresses that another machine has too, each with a number that tells one time from the next.
    pub duplicates: Vec<(Ipv6Addr, u64)>,
}

impl Shown {
    /// True if other networks can be reached: there is an address, and a default router.
    pub fn configured(&self) -> bool {
        !self.addresses.is_empty() && !self.routers.is_empty()
    }
}

/// One link's knowledge. Time is what the caller says it is.
#[derive(Debug, Default)]
pub struct Known {
    addresses: BTreeMap<Ipv6Addr, u8>,
    routers: BTreeSet<(Ipv6Addr, u32)>,
    dns: Timed<Ipv6Addr>,
    search: Timed<String>,
    ask: Ask,
    local: Option<Ipv6Addr>,
    duplicates: Vec<(Ipv6Addr, u64)>,
    failures: u64,
}

impl Known {
    /// The kernel says that the link has an address, or that it has it no longer.
    pub fn address(&mut self, message: &AddressMessage, there: bool) {
        let Some((address, flags)) = inet6(message) else {
            return;
        };
        if flags.contains(AddressFlags::Dadfailed) {
            self.duplicate(address);
        }
        let usable = there && usable(flags);
        if message.header.scope == AddressScope::Link {
            if usable {
                self.local = Some(address);
            } else if self.local == Some(address) {
                self.local = None;
            }
        } else if message.header.scope == AddressScope::Universe {
            if usable {
                self.addresses.insert(address, message.header.prefix_len);
            } else {
                self.addresses.remove(&address);
            }
        }
    }

    /// Duplicate address detection found an address in use. One with a lifetime is removed by the kernel at once, so that the
    /// message that it is gone is the one that says so.
    fn duplicate(&mut self, address: Ipv6Addr) {
        self.failures += 1;
        self.duplicates.retain(|(other, _)| *other != address);
        if self.duplicates.len() >= MOST {
            self.duplicates.remove(0);
        }
        self.duplicates.push((address, self.failures));
    }

    /// The kernel says something of a link, and so what the last advertisement on it wanted.
    pub fn link(&mut self, message: &LinkMessage) {
        self.ask = flags(message).map_or(self.ask, asked);
    }

    /// The kernel says that there is a route, or that it is gone.
    pub fn route(&mut self, message: &RouteMessage, there: bool) {
        let Some((_, router)) = default_router(message) else {
            return;
        };
        if !there {
            self.routers.remove(&router);
        } else if self.routers.len() < MOST {
            // Those that were there first are not driven out by a flood.
            self.routers.insert(router);
        }
    }

    /// Forgets addresses and routes, which the kernel is about to tell anew.
    pub fn begin(&mut self) {
        self.addresses.clear();
        self.routers.clear();
        self.local = None;
    }

    /// A router has said something about DNS.
    pub fn learn(&mut self, now: Duration, option: &Advertised) {
        let expiry = option.lifetime.map(|lifetime| now.saturating_add(lifetime));
        match &option.content {
            Content::Resolvers(resolvers) => {
                for resolver in resolvers {
                    self.dns.set(now, *resolver, expiry);
                }
            }
            Content::Search(domains) => {
                for domain in domains {
                    self.search.set(now, domain.clone(), expiry);
                }
            }
        }
    }

    /// When something of it is not valid any longer.
    pub fn deadline(&self) -> Option<Duration> {
        let (dns, search) = (self.dns.deadline(), self.search.deadline());
        dns.into_iter().chain(search).min()
    }

    /// What is valid; the rest is forgotten.
    pub fn show(&mut self, now: Duration) -> Shown {
        Shown {
            addresses: self
                .addresses
                .iter()
                .map(|(it, prefix)| (*it, *prefix))
                .collect(),
            routers: self.routers.iter().copied().collect(),
            dns: self.dns.valid(now),
            search: self.search.valid(now),
            ask: self.ask,
            local: self.local,
            duplicates: self.duplicates.clone(),
        }
    }
}

/// The M and O flags of a link's last advertisement (RFC 4861, section 4.2) among the flags of its IPv6 (if_inet6.h).
///
/// The kernel has read the advertisement already and says what was in it: with each message about a link, and when the flags
/// change, in one of the family IPv6 (RTNLGRP_IPV6_IFINFO). That needs no further socket and no parser of packets; a raw socket for
/// ICMPv6 would need both, and would hear nothing of the advertisement that came before it was open. Of two routers the last
/// one counts; see [`super::dhcp6::Client::link`].
fn asked(flags: u32) -> Ask {
    const IF_RA_OTHERCONF: u32 = 0x80;
    const IF_RA_MANAGED: u32 = 0x40;
    if flags & IF_RA_MANAGED != 0 {
        Ask::Address
    } else if flags & IF_RA_OTHERCONF != 0 {
        Ask::Settings
    } else {
        Ask::Nothing
    }
}

/// The flags in a message about a link or about its IPv6.
fn flags(message: &LinkMessage) -> Option<u32> {
    const IFLA_INET6_FLAGS: u16 = 1;
    let of_family = |part: &AfSpecInet6| match part {
        AfSpecInet6::Flags(flags) => Some(flags.bits()),
        _ => None,
    };
    let of_protocol = |part: &LinkProtoInfoInet6| {
        let mut bytes = [0; 4];
        let flags = part.kind() == IFLA_INET6_FLAGS && part.value_len() == bytes.len();
        flags.then(|| {
            part.emit_value(&mut bytes);
            u32::from_ne_bytes(bytes)
        })
    };
    message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::AfSpecUnspec(families) => {
                families.iter().find_map(|family| match family {
                    AfSpecUnspec::Inet6(parts) => parts.iter().find_map(of_family),
                    _ => None,
                })
            }
            LinkAttribute::ProtoInfoInet6(parts) => parts.iter().find_map(of_protocol),
            _ => None,
        })
}

/// The IPv6 address that a message is about, and its flags.
fn inet6(message: &AddressMessage) -> Option<(Ipv6Addr, AddressFlags)> {
    let header = &message.header;
    if header.family != AddressFamily::Inet6 {
        return None;
    }
    let mut address = None;
    let mut flags = AddressFlags::from_bits_retain(header.flags.bits().into());
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Address(IpAddr::V6(it)) => address = Some(*it),
            AddressAttribute::Flags(it) => flags = *it,
            _ => {}
        }
    }
    Some((address?, flags))
}

/// True if an address with these flags can be used for what is new.
fn usable(flags: AddressFlags) -> bool {
    let unusable = AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let tentative =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    !tentative && !flags.intersects(unusable)
}

/// The link and the router, with its metric, that a message is about, if it is a default route of a router advertisement.
pub fn default_router(message: &RouteMessage) -> Option<(u32, (Ipv6Addr, u32))> {
    let header = &message.header;
    let ours = header.address_family == AddressFamily::Inet6
        && header.destination_prefix_length == 0
        && header.table == RouteHeader::RT_TABLE_MAIN
        && header.protocol == RouteProtocol::Ra;
    let (mut link, mut gateway, mut metric) = (None, None, 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(it) => link = Some(*it),
            RouteAttribute::Gateway(RouteAddress::Inet6(it)) => gateway = Some(*it),
            RouteAttribute::Priority(it) => metric = *it,
            _ => {}
        }
    }
    Some((link.filter(|_| ours)?, (gateway?, metric)))
}

/// Values that are valid until a time, or for ever, in the order in which they came.
#[derive(Debug)]
struct Timed<T>(Vec<(T, Option<Duration>)>);

impl<T> Default for Timed<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T: Clone + PartialEq> Timed<T> {
    /// A value is valid until `expiry` from now on. When there are too many, the one that ends first goes.
    fn set(&mut self, now: Duration, value: T, expiry: Option<Duration>) {
        match self.0.iter_mut().find(|(other, _)| *other == value) {
            Some((_, old)) => *old = expiry,
            None => self.0.push((value, expiry)),
        }
        self.expire(now);
        if self.0.len() > MOST {
            let order = |expiry: Option<Duration>| expiry.unwrap_or(Duration::MAX);
            let first = self.0.iter().map(|(_, expiry)| order(*expiry)).min();
            if let Some(place) = self.0.iter().rposition(|(_, it)| Some(order(*it)) == first) {
                self.0.remove(place);
            }
        }
    }

    fn expire(&mut self, now: Duration) {
        self.0
            .retain(|(_, expiry)| expiry.is_none_or(|expiry| now < expiry));
    }

    fn deadline(&self) -> Option<Duration> {
        self.0.iter().filter_map(|(_, expiry)| *expiry).min()
    }

    fn valid(&mut self, now: Duration) -> Vec<T> {
        self.expire(now);
        self.0.iter().map(|(value, _)| value.clone()).collect()
    }
}

#[cfg(test)]
mod tests;
