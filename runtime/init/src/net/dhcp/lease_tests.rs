//! What an ACK's options give.

use super::super::reply::fake;
use super::*;
use proptest::prelude::*;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

fn lease_at(address: [u8; 4], options: &[(u8, Vec<u8>)]) -> Option<Lease> {
    let mut all = vec![(53, vec![5]), (54, SERVER.octets().to_vec())];
    all.extend_from_slice(options);
    let reply = Reply::decode(&fake::reply(1, MAC, address.into(), &all), MAC)?;
    Lease::from_reply(&reply, None)
}

fn lease(options: &[(u8, Vec<u8>)]) -> Lease {
    let mut all = vec![
        (51, 3600_u32.to_be_bytes().to_vec()),
        (1, vec![255, 255, 255, 0]),
    ];
    all.extend_from_slice(options);
    match lease_at([10, 0, 2, 15], &all) {
        Some(lease) => lease,
        None => panic!("no lease in {options:?}"),
    }
}

fn seconds(value: u32) -> Vec<u8> {
    value.to_be_bytes().to_vec()
}

#[test]
fn a_lease_without_a_router_is_a_lease() {
    let lease = lease(&[]);
    assert_eq!(
        (lease.prefix, lease.router(), lease.routes.len()),
        (24, None, 0)
    );
}

#[test]
fn the_first_router_is_the_default_route() {
    assert_eq!(
        lease(&[(3, vec![10, 0, 2, 2, 10, 0, 2, 3])]).router(),
        Some(SERVER)
    );
    assert_eq!(
        lease(&[(3, vec![0, 0, 0, 0, 10, 0, 2, 2])]).router(),
        Some(SERVER)
    );
}

#[test]
fn classless_routes_replace_the_router() {
    let option = vec![
        0, 10, 0, 2, 9, 8, 11, 10, 0, 2, 8, 12, 172, 31, 10, 0, 2, 7, 32, 10, 0, 3, 3, 0, 0, 0, 0,
    ];
    let lease = lease(&[(3, vec![10, 0, 2, 2]), (121, option)]);
    assert_eq!(lease.router(), Some(Ipv4Addr::new(10, 0, 2, 9)));
    let shown: Vec<_> = lease
        .routes
        .iter()
        .map(|it| (it.destination.octets(), it.prefix, it.gateway.is_some()))
        .collect();
    assert_eq!(
        shown,
        [
            ([0, 0, 0, 0], 0, true),
            ([11, 0, 0, 0], 8, true),
            ([172, 16, 0, 0], 12, true),
            ([10, 0, 3, 3], 32, false)
        ]
    );
}

#[test]
fn routes_by_class_stand_beside_the_router() {
    let pairs = vec![
        10, 1, 2, 3, 10, 0, 2, 9, 192, 0, 2, 7, 10, 0, 2, 8, 0, 0, 0, 0, 10, 0, 2, 7, 172, 16, 0,
        0, 10, 0, 2, 15,
    ];
    let shown = |lease: &Lease| -> Vec<_> {
        let routes = lease.routes.iter();
        let routes = routes.map(|it| (it.destination.octets(), it.prefix, it.gateway));
        routes.collect()
    };
    let by_class = lease(&[(3, vec![10, 0, 2, 2]), (33, pairs.clone())]);
    let via = |last| Some(Ipv4Addr::new(10, 0, 2, last));
    assert_eq!(
        shown(&by_class),
        [
            ([0, 0, 0, 0], 0, via(2)),
            ([10, 0, 0, 0], 8, via(9)),
            ([192, 0, 2, 0], 24, via(8)),
        ],
        "no default route, and none by way of ourselves"
    );
    let option = vec![0, 10, 0, 2, 9];
    let replaced = lease(&[(3, vec![10, 0, 2, 2]), (33, pairs), (121, option)]);
    assert_eq!(shown(&replaced), [([0, 0, 0, 0], 0, via(9))]);
    assert_eq!(lease(&[(33, vec![10, 0, 2, 2])]).routes, []);
}

#[test]
fn a_lease_without_a_time_is_for_an_hour() {
    for options in [vec![], vec![(51, vec![0, 1])]] {
        let times = lease_at([10, 0, 2, 15], &options).map(|it| it.times);
        assert_eq!(times, Some(lease(&[]).times));
    }
}

#[test]
fn a_mask_that_comes_twice_is_that_mask() {
    let mask = (1, vec![255, 255, 0, 0]);
    let twice = lease_at([10, 0, 2, 15], &[mask.clone(), mask]);
    assert_eq!(twice.map(|it| it.prefix), Some(16));
}

#[test]
fn a_domain_may_be_several() {
    let several = (15, b"us-west-2.compute.internal corp.example".to_vec());
    let found = lease(std::slice::from_ref(&several));
    assert_eq!(
        found.domains(),
        ["us-west-2.compute.internal", "corp.example"]
    );
    assert_eq!(found.domain.as_deref(), Some("us-west-2.compute.internal"));
    let found = lease(&[several, (119, b"\x01a\x00".to_vec())]);
    assert_eq!(found.domains(), ["a"]);
    assert_eq!(lease(&[(15, b"one.example".to_vec())]).search, [""; 0]);
}

#[test]
fn malformed_classless_routes_leave_the_router() {
    for option in [
        vec![33, 1, 2, 3, 4, 10, 0, 2, 2],
        vec![24, 10, 0],
        vec![8, 11, 10, 0, 2],
    ] {
        assert_eq!(
            lease(&[(3, vec![10, 0, 2, 2]), (121, option)]).router(),
            Some(SERVER)
        );
    }
}

#[test]
fn times_default_to_half_and_seven_eighths() {
    let times = lease(&[]).times;
    assert_eq!(times.lease, Some(Duration::from_secs(3600)));
    assert_eq!(
        (times.renew, times.rebind),
        (Duration::from_secs(1800), Duration::from_secs(3150))
    );
}

#[test]
fn times_of_the_server_count_if_they_are_in_order() {
    let times = lease(&[(58, seconds(10)), (59, seconds(20))]).times;
    assert_eq!(
        (times.renew, times.rebind),
        (Duration::from_secs(10), Duration::from_secs(20))
    );
    for (t1, t2) in [(0, 20), (20, 10), (10, 3600), (4000, 5000)] {
        let times = lease(&[(58, seconds(t1)), (59, seconds(t2))]).times;
        assert_eq!(times.renew, Duration::from_secs(1800), "{t1} {t2}");
    }
}

#[test]
fn a_time_of_the_server_counts_without_the_other_too() {
    for (code, value, renew, rebind, why) in [
        (58, 10, 10, 3150, "T1 alone"),
        (59, 2000, 1800, 2000, "T2 alone"),
        (58, 3150, 1800, 3150, "T1 not before our T2"),
        (59, 1800, 1800, 3150, "T2 not after our T1"),
        (58, 0, 1800, 3150, "no T1"),
        (59, 0, 1800, 3150, "no T2"),
    ] {
        let times = lease(&[(code, seconds(value))]).times;
        assert_eq!(
            (times.renew, times.rebind),
            (Duration::from_secs(renew), Duration::from_secs(rebind)),
            "{why}"
        );
    }
}

#[test]
fn a_lease_for_ever_has_no_end() {
    assert_eq!(
        lease_at([10, 0, 2, 15], &[(51, seconds(u32::MAX))]).map(|it| it.times.lease),
        Some(None)
    );
}

#[test]
fn leases_that_cannot_be_are_none() {
    let hour = (51, seconds(3600));
    let mask = (1, vec![255, 255, 255, 0]);
    assert_eq!(
        lease_at([10, 0, 2, 15], &[(51, seconds(0)), mask.clone()]),
        None,
        "no seconds"
    );
    for address in [
        [0, 0, 0, 0],
        [127, 0, 0, 1],
        [224, 0, 0, 1],
        [255, 255, 255, 255],
        [10, 0, 2, 0],
        [10, 0, 2, 255],
    ] {
        assert_eq!(
            lease_at(address, &[hour.clone(), mask.clone()]),
            None,
            "{address:?}"
        );
    }
    assert!(
        lease_at([10, 0, 2, 0], &[hour, (1, vec![255; 4])]).is_some(),
        "a /32 has no broadcast address"
    );
}

#[test]
fn masks_with_holes_give_way_to_the_class() {
    let hour = (51, seconds(3600));
    for mask in [vec![255, 0, 255, 0], vec![0; 4]] {
        assert_eq!(
            lease_at([192, 168, 1, 5], &[hour.clone(), (1, mask)]).map(|it| it.prefix),
            Some(24)
        );
    }
    assert_eq!(
        lease_at([172, 16, 1, 5], &[hour]).map(|it| it.prefix),
        Some(16)
    );
}

#[test]
fn an_mtu_that_nothing_works_with_is_left_out() {
    for (mtu, taken) in [
        (1400_u16, Some(1400)),
        (576, Some(576)),
        (575, None),
        (68, None),
        (0, None),
        (65_535, Some(65_535)),
    ] {
        assert_eq!(lease(&[(26, mtu.to_be_bytes().to_vec())]).mtu, taken);
    }
}

#[test]
fn names_that_could_break_a_file_are_left_out() {
    assert_eq!(
        lease(&[(15, b"example.org.\0".to_vec())]).domain.as_deref(),
        Some("example.org")
    );
    for text in [
        b"a\nnameserver 6.6.6.6".to_vec(),
        b"a/b -c".to_vec(),
        b"..".to_vec(),
        b"-x".to_vec(),
        vec![b'a'; 64],
        vec![0xff],
    ] {
        assert_eq!(lease(&[(15, text.clone()), (12, text)]), lease(&[]));
    }
}

#[test]
fn a_search_list_comes_before_the_domain() {
    let domain = (15, b"d.example".to_vec());
    let parts = [
        (119, b"\x01a\x07exam".to_vec()),
        (119, b"ple\x00\x01b\xc0\x02".to_vec()),
    ];
    let mut options = vec![domain.clone()];
    options.extend(parts);
    assert_eq!(
        lease(&options).domains(),
        ["a.example", "b.example"],
        "a name may be split"
    );
    for malformed in [vec![1, b'a'], vec![0xc0, 0], Vec::new()] {
        assert_eq!(
            lease(&[domain.clone(), (119, malformed)]).domains(),
            ["d.example"]
        );
    }
}

proptest! {
    #[test]
    fn classless_routes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        for route in classless(&bytes, SERVER).unwrap_or_default() {
            prop_assert_eq!(route.destination.to_bits() & !mask(route.prefix), 0);
        }
    }

    #[test]
    fn a_lease_has_times_in_order(total in prop_oneof![1_u32..10, 1_u32..], t1: Option<u32>, t2: Option<u32>) {
        let mut options = vec![(51, seconds(total))];
        options.extend(t1.map(|it| (58, seconds(it % total.saturating_add(2)))));
        options.extend(t2.map(|it| (59, seconds(it % total.saturating_add(2)))));
        if let Some(lease) = lease_at([10, 0, 2, 15], &options) {
            prop_assert!(!lease.times.renew.is_zero());
            prop_assert!(lease.times.renew < lease.times.rebind);
            prop_assert!(lease.times.lease.is_none_or(|it| lease.times.rebind < it));
        }
    }
}
