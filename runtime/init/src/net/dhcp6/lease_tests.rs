//! What replies give.

use super::super::message::{fake, kind};
use super::*;
use proptest::prelude::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x16);

/// What these options say to a client that wants `wanted`.
fn said(options: &[Vec<u8>], wanted: Option<Ipv6Addr>) -> Option<Association> {
    let identity = Identity::of(MAC);
    let bytes = fake::reply(kind::REPLY, 1, &identity, b"server", options);
    let reply = Reply::decode(&bytes, &identity)?;
    Some(Association::of(&reply, &identity, wanted))
}

fn association(t1: u32, t2: u32, parts: &[Vec<u8>]) -> Vec<u8> {
    fake::association(Identity::of(MAC).iaid, t1, t2, parts)
}

fn held(t1: u32, t2: u32, preferred: u32, valid: u32) -> Option<Held> {
    let parts = [fake::address(ADDRESS, preferred, valid)];
    match said(&[association(t1, t2, &parts)], None) {
        Some(Association::Address(held)) => Some(held),
        _ => None,
    }
}

fn seconds(time: u64) -> Option<Duration> {
    Some(Duration::from_secs(time))
}

#[test]
fn lists_that_come_in_several_options_are_one() {
    let dns = [ADDRESS, OTHER, ADDRESS].map(|it| fake::option(option::DNS, &it.octets()));
    let malformed = fake::option(option::DNS, &[0; 15]);
    let search = [b"\x01a\x00".as_slice(), b"\x01b\x00\x01a\x00", b"\x01"];
    let search = search.map(|names| fake::option(option::SEARCH, names));
    let options = [dns.as_slice(), &[malformed], &search].concat().concat();
    let settings = Options::read(&options).map(Settings::of);
    let found = settings.map(|it| (it.dns, it.search));
    assert_eq!(
        found,
        Some((vec![ADDRESS, OTHER], vec!["a".to_owned(), "b".to_owned()]))
    );
}

#[test]
fn times_are_the_servers_if_they_are_in_order() {
    let times = |held: Option<Held>| held.map(|it| (it.renew, it.rebind, it.preferred, it.valid));
    let cases = [
        (
            (10, 20, 100, 200),
            (seconds(10), seconds(20), seconds(100), seconds(200)),
            "in order",
        ),
        (
            (0, 0, 100, 200),
            (seconds(50), seconds(80), seconds(100), seconds(200)),
            "ours to choose",
        ),
        (
            (0, 20, 100, 200),
            (seconds(50), seconds(80), seconds(100), seconds(200)),
            "T2 before our T1",
        ),
        (
            (10, 0, 100, 200),
            (seconds(10), seconds(80), seconds(100), seconds(200)),
            "T1 alone",
        ),
        (
            (0, 60, 100, 200),
            (seconds(50), seconds(60), seconds(100), seconds(200)),
            "T2 alone",
        ),
        (
            (90, 0, 100, 200),
            (seconds(50), seconds(80), seconds(100), seconds(200)),
            "T1 after our T2",
        ),
        (
            (10, 0, u32::MAX, u32::MAX),
            (seconds(10), None, None, None),
            "for ever, but to be renewed",
        ),
        (
            (10, 300, 100, 200),
            (seconds(50), seconds(80), seconds(100), seconds(200)),
            "after the end",
        ),
        (
            (0, 0, 0, 200),
            (seconds(100), seconds(160), seconds(0), seconds(200)),
            "not preferred",
        ),
        (
            (u32::MAX, u32::MAX, u32::MAX, u32::MAX),
            (None, None, None, None),
            "for ever",
        ),
        (
            (0, 0, u32::MAX, u32::MAX),
            (None, None, None, None),
            "for ever, without times",
        ),
    ];
    for ((t1, t2, preferred, valid), expected, why) in cases {
        assert_eq!(
            times(held(t1, t2, preferred, valid)),
            Some(expected),
            "{why}"
        );
    }
    assert_eq!(held(20, 10, 100, 200), None, "T1 after T2");
    assert_eq!(held(0, 0, 201, 200), None, "preferred longer than valid");
    assert_eq!(held(0, 0, 0, 0), None, "over already");
}

#[test]
fn addresses_that_no_link_can_have_are_none() {
    for address in [
        Ipv6Addr::UNSPECIFIED,
        Ipv6Addr::LOCALHOST,
        Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1),
    ] {
        let bad = fake::address(address, 100, 200);
        let alone = said(&[association(0, 0, std::slice::from_ref(&bad))], None);
        assert_eq!(alone, Some(Association::Nothing), "{address}");
        let both = [bad, fake::address(ADDRESS, 100, 200)];
        let both = said(&[association(0, 0, &both)], None);
        assert!(matches!(both, Some(Association::Address(it)) if it.address == ADDRESS));
    }
}

#[test]
fn the_wanted_address_comes_before_others() {
    let both = [
        fake::address(OTHER, 100, 200),
        fake::address(ADDRESS, 100, 200),
    ];
    for (wanted, expected) in [(None, OTHER), (Some(ADDRESS), ADDRESS)] {
        let found = said(&[association(0, 0, &both)], wanted);
        assert!(matches!(found, Some(Association::Address(it)) if it.address == expected));
    }
    let withdrawn = [fake::address(ADDRESS, 0, 0)];
    let withdrawn = [association(0, 0, &withdrawn)];
    assert_eq!(
        said(&withdrawn, Some(ADDRESS)),
        Some(Association::Withdrawn)
    );
    assert_eq!(said(&withdrawn, Some(OTHER)), Some(Association::Nothing));
}

#[test]
fn a_status_counts_wherever_it_is() {
    let address = fake::address(ADDRESS, 100, 200);
    let inside = association(0, 0, &[address.clone(), fake::status(status::NO_BINDING)]);
    assert_eq!(
        said(&[inside], None),
        Some(Association::Status(status::NO_BINDING))
    );
    let good = association(0, 0, std::slice::from_ref(&address));
    let outside = [good.clone(), fake::status(status::NOT_ON_LINK)];
    assert_eq!(
        said(&outside, None),
        Some(Association::Status(status::NOT_ON_LINK))
    );
    let success = [good, fake::status(status::SUCCESS)];
    assert!(matches!(
        said(&success, None),
        Some(Association::Address(_))
    ));
    let other = fake::association(1, 0, 0, std::slice::from_ref(&address));
    assert_eq!(
        said(&[other], None),
        Some(Association::Nothing),
        "another association"
    );
    let cut = fake::option(option::IA_NA, &Identity::of(MAC).iaid.to_be_bytes());
    assert_eq!(said(&[cut], None), Some(Association::Nothing), "cut");
}

proptest! {
    #[test]
    fn what_is_given_makes_sense(t1: u32, t2: u32, preferred: u32, valid: u32,
        rest in proptest::collection::vec(prop_oneof![any::<u8>(), 0_u8..4], 0..80), wanted: bool) {
        let parts = [fake::address(ADDRESS, preferred, valid), rest.clone()];
        let options = [association(t1, t2, &parts), association(t1, t2, &[rest])];
        if let Some(Association::Address(held)) = said(&options, wanted.then_some(ADDRESS)) {
            prop_assert!(can_be_given(&held.address));
            let order = [held.renew, held.rebind, held.valid].map(|it| it.unwrap_or(Duration::MAX));
            prop_assert!(order.is_sorted(), "{:?}", held);
            prop_assert!(held.valid != Some(Duration::ZERO));
        }
    }
}
