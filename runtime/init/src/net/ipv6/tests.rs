//! What a link knows, by the kernel's messages and by the options of routers.

use super::*;
use proptest::prelude::*;
use rtnetlink::packet_core::DefaultNla;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::Inet6IfaceFlags;

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
    let nothing = Shown {
        local: Some(ADDRESS),
        ..Shown::default()
    };
    assert_eq!(known.show(START), nothing);
}

#[test]
fn the_flags_of_advertisements_say_what_is_asked_for() {
    let mut known = Known::default();
    // What the kernel has besides: IF_READY, IF_RA_RCVD.
    for (flags, expected) in [
        (0x8000_0020, Ask::Nothing),
        (0x8000_00e0, Ask::Address),
        (0x8000_00a0, Ask::Settings),
        (0x8000_0060, Ask::Address),
    ] {
        let flag = Inet6IfaceFlags::from_bits_retain(flags);
        let families = vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::Flags(flag)])];
        let mut of_link = LinkMessage::default();
        of_link.attributes = vec![LinkAttribute::AfSpecUnspec(families)];
        let part =
            |kind, bytes: &[u8]| LinkProtoInfoInet6::Other(DefaultNla::new(kind, bytes.to_vec()));
        let parts = vec![part(2, &[0; 4]), part(1, &flags.to_ne_bytes())];
        let mut of_protocol = LinkMessage::default();
        of_protocol.attributes = vec![LinkAttribute::ProtoInfoInet6(parts)];
        for message in [of_link, of_protocol] {
            known.ask = Ask::default();
            known.link(&message);
            assert_eq!(known.show(START).ask, expected, "{message:?}");
            known.link(&LinkMessage::default());
            assert_eq!(
                known.show(START).ask,
                expected,
                "one that says nothing of it"
            );
        }
    }
    let mut short = LinkMessage::default();
    let part = LinkProtoInfoInet6::Other(DefaultNla::new(1, vec![0; 2]));
    short.attributes = vec![LinkAttribute::ProtoInfoInet6(vec![part])];
    assert_eq!(flags(&short), None);
}

#[test]
fn the_links_own_address_counts_when_it_was_checked() {
    let mut known = Known::default();
    let mut message = address(AddressFlags::Tentative);
    message.header.scope = AddressScope::Link;
    known.address(&message, true);
    assert_eq!(known.show(START).local, None);
    message.attributes.pop();
    known.address(&message, true);
    assert_eq!(known.show(START).local, Some(ADDRESS));
    assert_eq!(known.show(START).addresses, []);
    known.address(&message, false);
    assert_eq!(known.show(START).local, None);
}

#[test]
fn addresses_that_another_machine_has_are_told_each_time() {
    let mut known = Known::default();
    known.address(&address(AddressFlags::Tentative), true);
    assert_eq!(known.show(START).duplicates, []);
    for number in 1..=3 {
        // The kernel removes it, and says why.
        let failed = AddressFlags::Tentative | AddressFlags::Dadfailed;
        known.address(&address(failed), false);
        assert_eq!(known.show(START).duplicates, [(ADDRESS, number)]);
        known.address(&address(AddressFlags::Tentative), true);
        assert_eq!(known.show(START).duplicates, [(ADDRESS, number)]);
    }
    for last in 0..100 {
        known.duplicate(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last));
    }
    assert_eq!(known.show(START).duplicates.len(), MOST);
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
fn ever_new_routers_fill_nothing_and_drive_nobody_out() {
    let mut known = Known::default();
    known.route(&route(), true);
    for last in 2..100 {
        let other = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let mut message = route();
        message
            .attributes
            .push(RouteAttribute::Gateway(RouteAddress::Inet6(other)));
        known.route(&message, true);
    }
    let routers = known.show(START).routers;
    assert_eq!(routers.len(), MOST);
    assert!(routers.contains(&(ROUTER, 1024)));
    known.route(&route(), false);
    assert_eq!(known.show(START).routers.len(), MOST - 1);
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
