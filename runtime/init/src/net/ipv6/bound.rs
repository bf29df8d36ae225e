//! A bound for the routes that router advertisements bring to a link. The kernel has one for the addresses made of prefixes
//! (`max_addresses`) and for neighbours (`gc_thresh3`), but none for the prefixes' routes and for default routers, so that anybody on the link could
//! fill the memory. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv6Addr;
use std::time::Duration;

use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};

/// So many routes of a link may come from routers. Those that were there first stay.
pub const MOST: usize = 64;
/// How long the kernel takes no advertisement of a link on which there were more. A router says all again in the end.
pub const CLOSED: Duration = Duration::from_secs(10);
/// A flood that begins again sooner is the same one, and the log has named it.
const SAME: Duration = Duration::from_secs(60);

/// A route that a router may have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Learned {
    destination: Ipv6Addr,
    prefix: u8,
    gateway: Option<Ipv6Addr>,
    metric: u32,
    protocol: u8,
}

impl Learned {
    /// The link and the route that a message is about. The route to the network of an address that a program gave is here too:
    /// nothing in it tells it apart.
    pub fn of(message: &RouteMessage) -> Option<(u32, Self)> {
        let header = &message.header;
        let learned = header.address_family == AddressFamily::Inet6
            && header.table == RouteHeader::RT_TABLE_MAIN
            && header.kind == RouteType::Unicast
            && matches!(header.protocol, RouteProtocol::Ra | RouteProtocol::Kernel);
        let (mut link, mut gateway, mut metric) = (None, None, 0);
        let mut destination = Ipv6Addr::UNSPECIFIED;
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(it) => link = Some(*it),
                RouteAttribute::Gateway(RouteAddress::Inet6(it)) => gateway = Some(*it),
                RouteAttribute::Destination(RouteAddress::Inet6(it)) => destination = *it,
                RouteAttribute::Priority(it) => metric = *it,
                _ => {}
            }
        }
        let local = destination.is_unicast_link_local() || destination.is_multicast();
        let route = Self {
            destination,
            prefix: header.destination_prefix_length,
            gateway,
            metric,
            protocol: header.protocol.into(),
        };
        Some((link.filter(|_| learned && !local)?, route))
    }

    /// The message for the kernel to remove it.
    pub fn removal(&self, link: u32) -> RouteMessage {
        let builder = RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(self.destination, self.prefix)
            .output_interface(link)
            .priority(self.metric)
            .protocol(self.protocol.into());
        match self.gateway {
            Some(gateway) => builder.gateway(gateway).build(),
            None => builder.build(),
        }
    }

    /// True for the route to the network of one of these addresses.
    fn belongs_to(&self, own: &[(Ipv6Addr, u8)]) -> bool {
        let same = |(address, prefix): &(Ipv6Addr, u8)| {
            let shift = 128 - u32::from((*prefix).min(128));
            let differing = address.to_bits() ^ self.destination.to_bits();
            *prefix == self.prefix && differing.checked_shr(shift).unwrap_or(0) == 0
        };
        self.gateway.is_none() && own.iter().any(same)
    }
}

/// The address of a message, with its prefix, if somebody gave it for good, which no router does.
pub fn given(message: &AddressMessage) -> Option<(Ipv6Addr, u8)> {
    let (address, flags) = super::inet6(message)?;
    let given = flags.contains(AddressFlags::Permanent);
    let global = message.header.scope == AddressScope::Universe;
    (given && global).then_some((address, message.header.prefix_len))
}

/// One link's routes, with the order in which they came. Time is what the caller says it is.
#[derive(Debug, Default)]
pub struct Routes {
    seen: BTreeMap<Learned, u64>,
    arrivals: u64,
    listed: Option<BTreeSet<Learned>>,
    /// How many of them were not the routers' when they were last counted.
    own: usize,
    /// Until when no advertisement is taken.
    closed: Option<Duration>,
    last: Option<Duration>,
}

impl Routes {
    /// The kernel says that there is a route, or that it is gone.
    pub fn hear(&mut self, route: Learned, there: bool) {
        if !there {
            self.seen.remove(&route);
            return;
        }
        if let Some(listed) = &mut self.listed {
            listed.insert(route);
        }
        self.arrivals += 1;
        self.seen.entry(route).or_insert(self.arrivals);
    }

    /// The kernel is about to tell all routes anew.
    pub fn begin(&mut self) {
        self.listed = Some(BTreeSet::new());
    }

    /// It has told them: what it did not name is gone.
    pub fn end(&mut self) {
        if let Some(listed) = self.listed.take() {
            self.seen.retain(|route, _| listed.contains(route));
        }
    }

    /// True if there are more than routers may bring, and nothing is done about it yet.
    pub fn is_full(&self) -> bool {
        self.closed.is_none() && self.seen.len() > MOST + self.own
    }

    /// The routes that are too many, where the link was given these addresses.
    pub fn surplus(&mut self, own: &[(Ipv6Addr, u8)]) -> Vec<Learned> {
        let seen = self.seen.iter();
        let mut learned: Vec<(u64, Learned)> = seen
            .filter(|(route, _)| !route.belongs_to(own))
            .map(|(route, arrival)| (*arrival, *route))
            .collect();
        self.own = self.seen.len() - learned.len();
        learned.sort_unstable();
        learned.into_iter().skip(MOST).map(|it| it.1).collect()
    }

    /// No advertisement is taken for a while; true if the log should say so.
    pub fn close(&mut self, now: Duration) -> bool {
        self.closed = Some(now + CLOSED);
        let last = self.last.replace(now + CLOSED);
        last.is_none_or(|last| last + SAME <= now)
    }

    /// When advertisements are to be taken again.
    pub fn deadline(&self) -> Option<Duration> {
        self.closed
    }

    /// True if they are to be taken again now.
    pub fn open(&mut self, now: Duration) -> bool {
        let over = self.closed.is_some_and(|until| until <= now);
        if over {
            self.closed = None;
        }
        over
    }
}

/// How many lines about IPv6 a link may have in a minute: whoever can send advertisements can change its state with each.
const LINES: u32 = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts lines that packets cause.
#[derive(Debug, Default)]
pub struct Lines {
    begin: Duration,
    count: u32,
}

/// Whether a line is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    Shown,
    /// And the next ones are not.
    Last,
    LeftOut,
}

impl Lines {
    /// Another line.
    pub fn next(&mut self, now: Duration) -> Line {
        if self.begin + MINUTE <= now {
            (self.begin, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        match self.count {
            ..LINES => Line::Shown,
            LINES => Line::Last,
            _ => Line::LeftOut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(number: u16) -> Learned {
        Learned {
            destination: Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 0),
            prefix: 64,
            gateway: None,
            metric: 256,
            protocol: RouteProtocol::Kernel.into(),
        }
    }

    #[test]
    fn what_was_there_first_stays() {
        let mut routes = Routes::default();
        // Also if the flood's networks come before in any order but that of arrival, and are listed before.
        routes.hear(network(9000), true);
        for number in 0..100 {
            assert_eq!(routes.is_full(), number >= 64, "{number}");
            routes.hear(network(number), true);
        }
        routes.begin();
        for number in (0..100).chain([9000]) {
            routes.hear(network(number), true);
        }
        routes.end();
        let surplus = routes.surplus(&[]);
        assert_eq!(surplus, (63..100).map(network).collect::<Vec<_>>());
        for route in surplus {
            routes.hear(route, false);
        }
        assert!(!routes.is_full());
    }

    #[test]
    fn networks_of_addresses_that_were_given_do_not_count() {
        let mut routes = Routes::default();
        let mut own = Vec::new();
        for number in 0..200 {
            routes.hear(network(number), true);
            let mut address = network(number).destination.segments();
            address[7] = 1;
            own.push((Ipv6Addr::from(address), 64));
        }
        assert!(routes.is_full());
        assert_eq!(routes.surplus(&own), []);
        assert!(!routes.is_full(), "nobody has to look again");
        for number in 200..265 {
            routes.hear(network(number), true);
        }
        assert_eq!(routes.surplus(&own), [network(264)]);
    }

    #[test]
    fn what_a_list_does_not_name_is_gone() {
        let mut routes = Routes::default();
        (0..100).for_each(|number| routes.hear(network(number), true));
        routes.begin();
        routes.hear(network(7), true);
        routes.end();
        assert!(!routes.is_full());
        assert_eq!(routes.seen.len(), 1);
    }

    #[test]
    fn a_flood_is_named_once() {
        let mut routes = Routes::default();
        let second = Duration::from_secs;
        assert!(routes.close(second(5)));
        assert_eq!(routes.deadline(), Some(second(15)));
        assert!(!routes.open(second(14)));
        assert!(routes.open(second(15)));
        assert!(!routes.open(second(15)), "once");
        assert!(!routes.close(second(16)), "it goes on");
        assert!(routes.open(second(26)));
        assert!(routes.close(second(86)), "another one");
    }

    #[test]
    fn lines_have_a_bound_in_each_minute() {
        let mut lines = Lines::default();
        for minute in 1..3 {
            let shown = |lines: &mut Lines| lines.next(MINUTE * minute);
            let all: Vec<Line> = (0..100).map(|_| shown(&mut lines)).collect();
            assert_eq!(all.iter().filter(|it| **it != Line::LeftOut).count(), 10);
            assert_eq!(all.get(9), Some(&Line::Last));
        }
    }
}
