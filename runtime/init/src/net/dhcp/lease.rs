//! What a server's ACK gives: address, routes, resolvers and times (RFC 2132, RFC 3397, RFC 3442).

use std::net::Ipv4Addr;
use std::time::Duration;

use super::super::names::{self, name};
use super::message::option;
use super::reply::{Reply, is_host};

/// A lease as the options of an ACK say it, with everything that makes no sense left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// Length of the subnet's prefix, 1 to 32.
    pub prefix: u8,
    /// The subnet's broadcast address (option 28).
    pub broadcast: Option<Ipv4Addr>,
    /// The server that gave it (option 54).
    pub server: Ipv4Addr,
    /// Where packets go: option 121, or a default route by the first router of option 3.
    pub routes: Vec<Route>,
    /// Resolvers (option 6).
    pub dns: Vec<Ipv4Addr>,
    /// Domain (option 15); of several the first.
    pub domain: Option<String>,
    /// Domains to search instead of it (option 119, or option 15 if it names several).
    pub search: Vec<String>,
    /// Host name (option 12).
    pub host_name: Option<String>,
    /// MTU (option 26).
    pub mtu: Option<u16>,
    /// NTP servers (option 42).
    pub ntp: Vec<Ipv4Addr>,
    /// How long it is valid.
    pub times: Times,
}

/// One route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network.
    pub destination: Ipv4Addr,
    /// Length of its prefix; 0 is the default route.
    pub prefix: u8,
    /// The router; `None` is a network on the link itself.
    pub gateway: Option<Ipv4Addr>,
}

/// The three times of a lease, from the moment when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it ends; `None` is never.
    pub lease: Option<Duration>,
    /// T1, when its server is asked for more.
    pub renew: Duration,
    /// T2, when any server is asked.
    pub rebind: Duration,
}

/// The number that stands for a lease without an end (RFC 2131, section 3.3).
const INFINITE: u32 = u32::MAX;
/// The time of a lease whose server does not say one, in seconds. BusyBox' client takes an hour; dhcpcd and NetworkManager
/// take it for ever, and would not learn of a change.
const FALLBACK: u32 = 3600;
/// An IPv4 host need not take more than 576 bytes, so no honest server asks for less (RFC 791). The kernel would take
/// 68, at which nothing works.
const LEAST_MTU: u16 = 576;
/// Of option 121 no more routes are taken: a reply of a jumbo frame's length could have two thousand.
const MOST_ROUTES: usize = 64;

impl Lease {
    /// Reads the lease out of an ACK. `None` when it lacks what a lease cannot do without: an address that a host can
    /// have, and a time that is not zero. `server` stands in where option 54 is missing.
    pub fn from_reply(reply: &Reply, server: Option<Ipv4Addr>) -> Option<Self> {
        let address = reply.yiaddr;
        let prefix = match reply.address(option::SUBNET_MASK) {
            Some(mask) => prefix_of(mask).unwrap_or_else(|| prefix_of_class(address)),
            None => prefix_of_class(address),
        };
        if !is_host(address) || is_network_or_broadcast(address, prefix) {
            return None;
        }
        let mut domains = reply.texts(option::DOMAIN).map(names::words);
        let domains = domains.find(|it| !it.is_empty()).unwrap_or_default();
        Some(Self {
            address,
            prefix,
            broadcast: reply
                .address(option::BROADCAST)
                .filter(|it| in_subnet(*it, address, prefix)),
            server: reply
                .address(option::SERVER_ID)
                .filter(|it| is_host(*it))
                .or(server)?,
            routes: routes(reply),
            dns: reply.addresses(option::DNS),
            domain: domains.first().cloned(),
            search: match names::list(&reply.joined(option::SEARCH)) {
                Some(search) if !search.is_empty() => search,
                _ if domains.len() > 1 => domains,
                _ => Vec::new(),
            },
            host_name: reply.texts(option::HOST_NAME).find_map(name),
            mtu: mtu(reply),
            ntp: reply.addresses(option::NTP),
            times: Times::from_reply(reply)?,
        })
    }

    /// The domains in which a name without dots is looked up: option 119 says it better than option 15.
    pub fn domains(&self) -> &[String] {
        if self.search.is_empty() {
            self.domain.as_slice()
        } else {
            &self.search
        }
    }

    /// The first default router.
    pub fn router(&self) -> Option<Ipv4Addr> {
        self.routes
            .iter()
            .filter(|route| route.prefix == 0)
            .find_map(|route| route.gateway)
    }

    /// True if `other` is on the link according to the subnet.
    pub fn on_link(&self, other: Ipv4Addr) -> bool {
        in_subnet(other, self.address, self.prefix)
    }
}

impl Times {
    /// The three times. T1 and T2 are half and seven eighths of the lease where the server does not say them, and both of
    /// them where what it says is not in order (RFC 2131, section 4.4.5).
    fn from_reply(reply: &Reply) -> Option<Self> {
        let said = reply.number(option::LEASE_TIME);
        let seconds = said.or(Some(FALLBACK)).filter(|it| *it != 0)?;
        let total = Duration::from_secs(seconds.into());
        let lease = (seconds != INFINITE).then_some(total);
        let said = |code| {
            let seconds = reply.number(code).filter(|it| *it != 0)?;
            Some(Duration::from_secs(seconds.into()))
        };
        let usual = (total / 2, total * 7 / 8);
        let renew = said(option::RENEWAL).unwrap_or(usual.0);
        let rebind = said(option::REBINDING).unwrap_or(usual.1);
        let in_order = renew < rebind && rebind < total;
        let (renew, rebind) = if in_order { (renew, rebind) } else { usual };
        Some(Self {
            lease,
            renew,
            rebind,
        })
    }
}

fn mtu(reply: &Reply) -> Option<u16> {
    let mtu = u16::from_be_bytes(reply.bytes(option::MTU)?);
    (mtu >= LEAST_MTU).then_some(mtu)
}

/// Option 121 replaces options 3 and 33 if it is there and well formed (RFC 3442).
fn routes(reply: &Reply) -> Vec<Route> {
    let option = reply.joined(option::CLASSLESS_ROUTES);
    if let Some(routes) = classless(&option, reply.yiaddr) {
        return routes;
    }
    // A machine is not its own router, whatever a server says.
    let mut routers = reply.addresses(option::ROUTER).into_iter();
    let router = routers.find(|router| *router != reply.yiaddr);
    let default = router.map(|gateway| Route {
        destination: Ipv4Addr::UNSPECIFIED,
        prefix: 0,
        gateway: Some(gateway),
    });
    let option = reply.joined(option::STATIC_ROUTES);
    let routes = default.into_iter().chain(classful(&option, reply.yiaddr));
    routes.take(MOST_ROUTES).collect()
}

/// Reads option 33: pairs of a network, whose class is its prefix, and a router. It names no default route (RFC 2132,
/// section 5.8).
fn classful(bytes: &[u8], address: Ipv4Addr) -> impl Iterator<Item = Route> {
    let (pairs, rest) = bytes.as_chunks::<8>();
    let pairs = pairs.iter().filter(move |_| rest.is_empty());
    pairs.filter_map(move |[a, b, c, d, gateway @ ..]| {
        let (network, gateway) = (Ipv4Addr::new(*a, *b, *c, *d), Ipv4Addr::from(*gateway));
        let prefix = prefix_of_class(network);
        let possible = is_host(network) && is_host(gateway) && gateway != address;
        possible.then(|| Route {
            destination: Ipv4Addr::from_bits(network.to_bits() & mask(prefix)),
            prefix,
            gateway: Some(gateway),
        })
    })
}

/// Reads option 121: prefix length, as many octets of the network as the prefix needs, router. `None` if malformed.
fn classless(mut bytes: &[u8], address: Ipv4Addr) -> Option<Vec<Route>> {
    let mut routes = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first() {
        let significant = usize::from(prefix.div_ceil(8));
        if *prefix > 32 {
            return None;
        }
        let (network, rest) = rest.split_at_checked(significant)?;
        let (gateway, rest) = rest.split_first_chunk::<4>()?;
        let mut octets = [0; 4];
        for (place, octet) in octets.iter_mut().zip(network) {
            *place = *octet;
        }
        // Bits beyond the prefix are to be ignored, and the kernel refuses them.
        let destination = Ipv4Addr::from_bits(Ipv4Addr::from(octets).to_bits() & mask(*prefix));
        let gateway = Ipv4Addr::from(*gateway);
        if gateway.is_unspecified() && routes.len() < MOST_ROUTES {
            routes.push(Route {
                destination,
                prefix: *prefix,
                gateway: None,
            });
        } else if is_host(gateway) && gateway != address && routes.len() < MOST_ROUTES {
            routes.push(Route {
                destination,
                prefix: *prefix,
                gateway: Some(gateway),
            });
        }
        bytes = rest;
    }
    (!routes.is_empty()).then_some(routes)
}

/// The bits of a prefix.
fn mask(prefix: u8) -> u32 {
    u32::MAX
        .checked_shl(32 - u32::from(prefix.min(32)))
        .unwrap_or(0)
}

fn in_subnet(other: Ipv4Addr, address: Ipv4Addr, prefix: u8) -> bool {
    (other.to_bits() ^ address.to_bits()) & mask(prefix) == 0
}

/// The prefix of a netmask; `None` for one with holes and for 0.0.0.0.
pub fn prefix_of(mask: Ipv4Addr) -> Option<u8> {
    let bits = mask.to_bits();
    let ones = bits.leading_ones();
    if ones == 0 || ones + bits.trailing_zeros() < 32 {
        return None;
    }
    u8::try_from(ones).ok()
}

/// The prefix of an address whose server gave no mask: by its class, as the age that made such servers meant it.
pub fn prefix_of_class(address: Ipv4Addr) -> u8 {
    match address.octets() {
        [0..=127, ..] => 8,
        [128..=191, ..] => 16,
        _ => 24,
    }
}

fn is_network_or_broadcast(address: Ipv4Addr, prefix: u8) -> bool {
    let host = address.to_bits() & !mask(prefix);
    prefix < 31 && (host == 0 || host == !mask(prefix))
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
#[path = "lease_tests.rs"]
mod tests;
