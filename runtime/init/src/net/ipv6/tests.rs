//! What a link knows, by the kernel's messages and by the options of routers.

use super::*;
use proptest::prelude::*;
use rtnetlink::packet_route::address::AddressHeaderFlags;

const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const START: Duration = Duration::from_secs(1000);

fn address(flags: AddressFlags) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet6;
    message.header.prefix_len = 64;
    message.header.index = 2;
    message.header.flags = AddressHeaderFlags::empty();
    message.attributes = vec![
        AddressAttribute::Address(IpAddr::V6(ADDRESS)),
        AddressAttribute::Flags(flags),
    ];
    message
}

fn route() -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet6;
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Ra;
    message.attributes = vec![
        RouteAttribute::Oif(2),
        RouteAttribute::Gateway(RouteAddress::Inet6(ROUTER)),
        RouteAttribute::Priority(1024),
    ];
    message
}

fn resolver(last: u16, lifetime: Option<u64>) -> Advertised {
    Advertised {
        link: 2,
        lifetime: lifetime.map(Duration::from_secs),
        content: Content::Resolvers(vec![Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)]),
    }
}

#[test]
fn an_address_and_a_router_make_a_link_configured() {
    let mut known = Known::default();
    known.address(&address(AddressFlags::Tentative), true);
    known.route(&route(), true);
    assert!(
        !known.show(START).configured(),
        "the address is not checked yet"
    );
    known.address(&address(AddressFlags::empty()), true);
    let shown = known.show(START);
    assert!(shown.configured());
    assert_eq!(
        (shown.addresses, shown.routers),
        (vec![(ADDRESS, 64)], vec![(ROUTER, 1024)])
    );
    known.address(&address(AddressFlags::Deprecated), true);
    assert!(!known.show(START).configured());
    known.address(
        &address(AddressFlags::Tentative | AddressFlags::Optimistic),
        true,
    );
    assert!(known.show(START).configured());
    known.route(&route(), false);
    assert!(!known.show(START).configured());
    known.route(&route(), true);
    known.address(&address(AddressFlags::empty()), false);
    assert!(!known.show(START).configured());
}

#[test]
fn other_addresses_and_routes_do_not_count() {
    let mut known = Known::default();
    let mut local = address(AddressFlags::empty());
    local.header.scope = AddressScope::Link;
    known.address(&local, true);
    let mut old = address(AddressFlags::empty());
    old.header.family = AddressFamily::Inet;
    known.address(&old, true);
    for change in [
        |message: &mut RouteMessage| message.header.protocol = RouteProtocol::Boot,
        |message: &mut RouteMessage| message.header.destination_prefix_length = 64,
        |message: &mut RouteMessage| message.header.table = 255,
        |message: &mut RouteMessage| message.attributes.clear(),
    ] {
        let mut other = route();
        change(&mut other);
        known.route(&other, true);
    }
    assert_eq!(known.show(START), Shown::default());
}

#[test]
fn resolvers_live_as_long_as_the_router_says() {
    let mut known = Known::default();
    known.learn(START, &resolver(1, Some(60)));
    known.learn(START, &resolver(2, None));
    assert_eq!(known.deadline(), Some(START + Duration::from_secs(60)));
    assert_eq!(known.show(START + Duration::from_secs(59)).dns.len(), 2);
    known.learn(START + Duration::from_secs(59), &resolver(1, Some(60)));
    assert_eq!(
        known.show(START + Duration::from_secs(60)).dns.len(),
        2,
        "it was said again"
    );
    assert_eq!(known.show(START + Duration::from_secs(119)).dns.len(), 1);
    assert_eq!(known.deadline(), None);
    known.learn(START + Duration::from_secs(120), &resolver(2, Some(0)));
    assert_eq!(
        known.show(START + Duration::from_secs(120)).dns,
        [Ipv6Addr::UNSPECIFIED; 0],
        "taken back"
    );
}

#[test]
fn a_router_that_names_ever_new_resolvers_fills_nothing() {
    let mut known = Known::default();
    known.learn(START, &resolver(0, None));
    for last in 1..=1000 {
        known.learn(START, &resolver(last, Some(60 + u64::from(last))));
    }
    let shown = known.show(START);
    assert_eq!(shown.dns.len(), MOST);
    assert_eq!(
        shown.dns.first().map(|first| first.segments()[7]),
        Some(0),
        "the longest stay"
    );
}

proptest! {
    #[test]
    fn what_is_shown_is_valid(options in proptest::collection::vec((0_u16..20, proptest::option::of(0_u64..200), 0_u64..50), 0..60)) {
        let mut known = Known::default();
        let mut now = START;
        for (last, lifetime, wait) in options {
            now += Duration::from_secs(wait);
            known.learn(now, &resolver(last, lifetime));
            let shown = known.show(now);
            prop_assert!(shown.dns.len() <= MOST);
            prop_assert!(known.deadline().is_none_or(|deadline| deadline > now));
            if lifetime == Some(0) {
                prop_assert!(shown.dns.iter().all(|it| it.segments()[7] != last));
            }
        }
    }
}
