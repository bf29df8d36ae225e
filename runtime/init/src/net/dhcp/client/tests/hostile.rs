//! Servers that are broken, or mean harm.

use proptest::prelude::*;

use super::*;

/// What a lease's message must not exceed on average, whatever servers do.
const MESSAGES_PER_MINUTE: usize = 300;

/// A client that has taken the server's offer.
fn requesting() -> Bench {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    assert_eq!(bench.state(), State::Requesting);
    bench
}

/// The bytes of a good ACK for the client's transaction.
fn ack(bench: &Bench, more: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut options = vec![
        (53, vec![ACK]),
        (54, SERVER.octets().to_vec()),
        (51, vec![0, 0, 14, 16]),
    ];
    options.extend_from_slice(more);
    fake::reply(bench.client.xid, MAC, ADDRESS, &options)
}

fn acquired(actions: &[Action]) -> Option<&Lease> {
    actions.iter().find_map(|action| match action {
        Action::Acquired(lease) => Some(lease),
        _ => None,
    })
}

#[test]
fn a_truncated_reply_is_no_reply() {
    let length = ack(&requesting(), &[]).len();
    // The mark at the end may be missing, and so may whole options but for the first.
    let whole = [length - 1, length - 7, length - 13];
    for length in 0..length {
        let mut bench = requesting();
        let bytes = ack(&bench, &[]);
        let cut = bytes.get(..length).unwrap_or_default();
        let actions = bench.client.receive(bench.now, cut);
        let found = acquired(&actions).is_some();
        assert_eq!(found, whole.contains(&length), "{length} bytes");
    }
}

#[test]
fn a_huge_reply_gives_no_more_than_can_be_used() {
    let mut bench = requesting();
    let host = |number: usize| [10, 0, (number >> 8) as u8, number as u8];
    let addresses: Vec<u8> = (1..500).flat_map(host).collect();
    let routes: Vec<u8> = (1..500)
        .flat_map(|number| [[32].as_slice(), &host(number), &[10, 0, 2, 2]].concat())
        .collect();
    let domains: Vec<u8> = (0..250_u8)
        .flat_map(|letter| [2, b'a' + letter % 26, b'a' + letter / 26, 0])
        .collect();
    let bytes = ack(
        &bench,
        &[
            (6, addresses.clone()),
            (42, addresses),
            (121, routes),
            (119, domains),
            (12, vec![b'x'; 2000]),
        ],
    );
    let actions = bench.client.receive(bench.now, &bytes);
    let sizes = acquired(&actions).map(|lease| {
        (
            lease.dns.len(),
            lease.ntp.len(),
            lease.routes.len(),
            lease.search.len(),
            lease.host_name.clone(),
        )
    });
    assert_eq!(sizes, Some((16, 16, 64, 32, None)));
}

#[test]
fn options_without_length_are_not_there() {
    let mut bench = requesting();
    let empty: Vec<(u8, Vec<u8>)> = [1, 3, 6, 12, 15, 26, 28, 42, 58, 59, 119, 121]
        .map(|code| (code, Vec::new()))
        .into();
    let bytes = ack(&bench, &empty);
    let with = bench.client.receive(bench.now, &bytes);
    let mut bench = requesting();
    let bytes = ack(&bench, &[]);
    assert_eq!(
        acquired(&with),
        acquired(&bench.client.receive(bench.now, &bytes))
    );
    let mut bench = requesting();
    let options = [(53, Vec::new()), (51, vec![0, 0, 1, 0])];
    let bytes = fake::reply(bench.client.xid, MAC, ADDRESS, &options);
    assert_eq!(bench.client.receive(bench.now, &bytes), []);
}

#[test]
fn contradictions_are_resolved_or_refused() {
    let mut bench = requesting();
    let kinds = ack(&bench, &[(53, vec![NAK])]);
    assert_eq!(
        bench.client.receive(bench.now, &kinds),
        [],
        "ACK and NAK at once"
    );
    // The first of two lease times counts.
    let twice = ack(&bench, &[(51, vec![0, 0, 0, 60])]);
    let actions = bench.client.receive(bench.now, &twice);
    assert_eq!(
        acquired(&actions).and_then(|lease| lease.times.lease),
        Some(Duration::from_secs(3600))
    );
    // What the ACK says counts, whatever was offered.
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[(51, vec![0, 1, 0, 0])]);
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[(51, vec![0, 0, 0, 60])]);
    assert_eq!(
        acquired(&actions).and_then(|lease| lease.times.lease),
        Some(Duration::from_secs(60))
    );
    // No machine is its own router.
    let mut bench = requesting();
    let own = [ADDRESS.octets(), SERVER.octets()].concat();
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[(3, own)]);
    assert_eq!(acquired(&actions).and_then(Lease::router), Some(SERVER));
    let mut bench = requesting();
    let own = [
        &[0],
        ADDRESS.octets().as_slice(),
        &[8, 11],
        &SERVER.octets(),
    ]
    .concat();
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[(121, own)]);
    assert_eq!(
        acquired(&actions).map(|lease| (lease.router(), lease.routes.len())),
        Some((None, 1))
    );
}

#[test]
fn no_address_is_no_lease_whoever_gives_it() {
    for options in [vec![], vec![(80, vec![])]] {
        let mut bench = Bench::new();
        bench.client.carrier_up(bench.now);
        assert_eq!(
            bench.reply(ACK, Ipv4Addr::UNSPECIFIED, SERVER, &options),
            []
        );
        assert_eq!(bench.state(), State::Selecting);
    }
    let mut bench = Bench::bound();
    bench.step();
    assert_eq!(bench.reply(ACK, Ipv4Addr::UNSPECIFIED, SERVER, &[]), []);
    assert_eq!(bench.state(), State::Renewing);
}

#[test]
fn of_two_servers_one_is_taken() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    let second = Ipv4Addr::new(10, 0, 2, 77);
    assert_eq!(bench.reply(OFFER, second, OTHER, &[]), []);
    assert_eq!(
        bench.reply(ACK, second, OTHER, &[(80, vec![])]),
        [],
        "not asked"
    );
    assert!(acquired(&bench.reply(ACK, ADDRESS, SERVER, &[])).is_some());
    for kind in [OFFER, ACK, NAK] {
        assert_eq!(
            bench.reply(kind, ADDRESS, OTHER, &[]),
            [],
            "BOUND hears nobody"
        );
    }
    bench.step();
    assert_eq!(
        bench.reply(NAK, ADDRESS, OTHER, &[]),
        [],
        "nor does RENEWING hear another"
    );
    assert_eq!(bench.reply(ACK, second, OTHER, &[]), []);
    assert_eq!(
        bench.client.lease().map(|lease| lease.address),
        Some(ADDRESS)
    );
}

/// Runs the client for two minutes against a server that answers each message at once with the next of `answers`, and
/// counts the messages.
fn storm(answers: &[(u8, u32)]) -> usize {
    let mut bench = Bench::new();
    let start = bench.now;
    let mut actions = bench.client.carrier_up(bench.now);
    let mut answers = answers.iter().cycle();
    let mut messages = 0;
    while bench.now < start + Duration::from_secs(120) {
        while let Some(kind) = kind(&actions) {
            messages += 1;
            assert!(messages < 10_000, "a hot loop");
            let (answer, seconds) = answers.next().copied().unwrap_or((0, 0));
            actions = match (answer, kind) {
                (0, _) => break,
                (_, MessageType::Discover) => bench.reply(OFFER, ADDRESS, SERVER, &[]),
                (answer, _) => bench.reply(
                    answer,
                    ADDRESS,
                    SERVER,
                    &[(51, seconds.to_be_bytes().to_vec())],
                ),
            };
        }
        actions = bench.step();
    }
    messages
}

#[test]
fn refusals_make_no_storm() {
    for (answers, why) in [
        ([(NAK, 0), (NAK, 0), (NAK, 0)], "every offer is refused"),
        (
            [(ACK, 1), (ACK, 1), (NAK, 0)],
            "a lease of a second, and every renewal refused",
        ),
        ([(ACK, 2), (ACK, 2), (NAK, 0)], "two seconds"),
    ] {
        let messages = storm(&answers);
        assert!(messages <= 60, "{messages} messages in two minutes: {why}");
    }
    assert!(
        storm(&[(ACK, 1)]) <= 2 * MESSAGES_PER_MINUTE,
        "a lease of a second"
    );
}

#[test]
fn a_refusal_of_a_lease_that_lasted_is_no_part_of_a_row() {
    let mut bench = Bench::bound();
    for _ in 0..5 {
        bench.step();
        let actions = bench.reply(NAK, ADDRESS, SERVER, &[]);
        assert_eq!(kind(&actions), Some(MessageType::Discover), "at once");
        bench.reply(OFFER, ADDRESS, SERVER, &[]);
        bench.reply(ACK, ADDRESS, SERVER, &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_order_of_answers_makes_a_storm(answers in proptest::collection::vec((prop_oneof![Just(0_u8), Just(ACK), Just(NAK), Just(OFFER)], 0_u32..5), 1..12)) {
        let messages = storm(&answers);
        prop_assert!(messages <= 2 * MESSAGES_PER_MINUTE, "{} messages", messages);
    }

    #[test]
    fn damage_to_a_good_reply_gives_a_sound_lease_or_none(places in proptest::collection::vec((0_usize..300, any::<u8>()), 1..6)) {
        let mut bench = requesting();
        let mut bytes = ack(&bench, &[(1, vec![255, 255, 255, 0]), (3, SERVER.octets().to_vec()), (15, b"example.org".to_vec())]);
        for (place, value) in places {
            if let Some(byte) = bytes.get_mut(place) {
                *byte = value;
            }
        }
        let actions = bench.client.receive(bench.now, &bytes);
        if let Some(lease) = acquired(&actions) {
            prop_assert_eq!(lease.address, ADDRESS);
            prop_assert!((1..=32).contains(&lease.prefix));
            prop_assert!(lease.times.renew < lease.times.rebind);
            prop_assert!(lease.routes.iter().all(|route| route.gateway != Some(ADDRESS)));
            prop_assert!(is_host(lease.server));
        }
        prop_assert!(bench.client.deadline().is_none_or(|deadline| deadline > bench.now));
    }
}
