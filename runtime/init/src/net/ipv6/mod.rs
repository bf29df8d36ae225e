//! What router advertisements bring to a link. Addresses and routes are the kernel's, which says what it has of them; DNS
//! is ours (RFC 8106), and the kernel hands over the options. No I/O and no clock; the socket is in [`socket`].

pub mod options;
pub mod socket;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol,
};

use options::{Advertised, Content};

/// So many resolvers, and as many domains, are kept for a link; RFC 8106 (section 5.3.1) wants three at least. A router
/// that names ever new ones must not fill the memory.
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
}

impl Known {
    /// The kernel says that the link has an address, or that it has it no longer.
    pub fn address(&mut self, message: &AddressMessage, there: bool) {
        let Some((address, usable)) = global(message) else {
            return;
        };
        if there && usable {
            self.addresses.insert(address, message.header.prefix_len);
        } else {
            self.addresses.remove(&address);
        }
    }

    /// The kernel says that there is a route, or that it is gone.
    pub fn route(&mut self, message: &RouteMessage, there: bool) {
        let Some((_, router)) = default_router(message) else {
            return;
        };
        if there {
            self.routers.insert(router);
        } else {
            self.routers.remove(&router);
        }
    }

    /// Forgets addresses and routes, which the kernel is about to tell anew.
    pub fn begin(&mut self) {
        self.addresses.clear();
        self.routers.clear();
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
        }
    }
}

/// The address of global scope that a message is about, and whether it can be used.
fn global(message: &AddressMessage) -> Option<(Ipv6Addr, bool)> {
    let header = &message.header;
    if header.family != AddressFamily::Inet6 || header.scope != AddressScope::Universe {
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
    let unusable = AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let tentative =
        flags.contains(AddressFlags::Tentative) && !flags.contains(AddressFlags::Optimistic);
    Some((address?, !tentative && !flags.intersects(unusable)))
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
