//! Servers that mean no good, and whatever comes in whatever state.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use super::*;

#[test]
fn what_was_not_asked_is_not_heard() {
    let mut bench = Bench::new();
    assert_eq!(bench.gives(SERVER, ADDRESS, 60), [], "before anything");
    let mut bench = Bench::soliciting();
    let identity = Identity::of(MAC);
    // Either is what would be taken at once if it were for this client and this exchange.
    let options = [
        given(ADDRESS, 60),
        fake::option(option::RAPID_COMMIT, &[]),
        fake::option(option::PREFERENCE, &[255]),
    ];
    let xid = bench.client.xid;
    for kind in [kind::ADVERTISE, kind::REPLY] {
        let stale = fake::reply(kind, xid + 1, &identity, SERVER, &options);
        assert_eq!(
            bench.client.receive(bench.now, &stale),
            [],
            "another exchange"
        );
        let other = Identity::of([1; 6]);
        let others = fake::reply(kind, xid, &other, SERVER, &options);
        assert_eq!(
            bench.client.receive(bench.now, &others),
            [],
            "another client"
        );
    }
    for local in [0xfe80, 0xff02, 0] {
        let address = Ipv6Addr::new(local, 0, 0, 0, 0, 0, 0, 1);
        assert_eq!(bench.offers(SERVER, address, 255), [], "{address}");
        assert_eq!(bench.gives(SERVER, address, 60), [], "{address}");
    }
    assert_eq!(bench.client.state, State::Soliciting);
    let mut bench = Bench::bound();
    assert_eq!(bench.gives(SERVER, OTHER, 60), [], "in BOUND");
}

#[test]
fn a_storm_of_refusals_is_met_with_patience() {
    let mut bench = Bench::soliciting();
    let mut pauses = Vec::new();
    for _ in 0..6 {
        // From the second time on its offer waits for a better one.
        if bench.offers(SERVER, ADDRESS, 255).is_empty() {
            assert_eq!(sent(&bench.step()), Some(kind::REQUEST));
        }
        let actions = bench.refuses(SERVER, status::NOT_ON_LINK);
        let before = bench.now;
        if sent(&actions).is_none() {
            assert_eq!(
                bench.refuses(SERVER, status::NOT_ON_LINK),
                [],
                "nothing is asked"
            );
            assert_eq!(sent(&bench.step()), Some(kind::SOLICIT));
        }
        pauses.push((bench.now - before).as_secs_f64().round());
    }
    assert!(
        pauses.is_sorted() && pauses.first() == Some(&0.0) && pauses.last() > Some(&5.0),
        "{pauses:?}"
    );
}

/// A client that has taken an offer of the first server, which wants to be taken by all means, and is soliciting again after the
/// server was silent, answered with something of no use, or refused.
fn disappointed(answer: Option<&[Vec<u8>]>) -> Bench {
    let mut bench = Bench::soliciting();
    let actions = bench.offers(SERVER, ADDRESS, 255);
    assert_eq!(addressed(&actions), Some(SERVER));
    while bench.client.state == State::Requesting {
        let actions = answer.map(|options| bench.says(kind::REPLY, SERVER, options));
        if actions.is_none_or(|actions| actions.is_empty()) {
            bench.step();
        }
    }
    assert_eq!(bench.client.state, State::Soliciting);
    bench
}

#[test]
fn a_server_that_fails_gives_way_to_another() {
    let unusable = [given(Ipv6Addr::LOCALHOST, 60)];
    let refused = [association(&[fake::status(status::NO_ADDRS_AVAIL)])];
    let unspecific = [fake::status(1)];
    for answer in [
        None,
        Some(unusable.as_slice()),
        Some(refused.as_slice()),
        Some(unspecific.as_slice()),
    ] {
        let mut bench = disappointed(answer);
        assert_eq!(bench.offers(SERVER, ADDRESS, 255), [], "{answer:?}");
        bench.now += Duration::from_millis(5);
        assert_eq!(bench.offers(SECOND, OTHER, 0), [], "{answer:?}");
        assert_eq!(bench.offers(SERVER, ADDRESS, 255), [], "{answer:?}");
        let before = bench.now;
        let actions = bench.step();
        assert_eq!(addressed(&actions), Some(SECOND), "{answer:?}");
        assert_eq!(bench.now - before, COLLECT);
        assert!(matches!(
            bench.gives(SECOND, OTHER, 60).as_slice(),
            [Action::Acquired(_)]
        ));
    }
    // One that wants to be taken by all means still is.
    let mut bench = disappointed(None);
    bench.offers(SERVER, ADDRESS, 255);
    assert_eq!(addressed(&bench.offers(SECOND, OTHER, 255)), Some(SECOND));
}

#[test]
fn a_server_that_failed_is_asked_again_if_it_is_alone() {
    let mut bench = disappointed(None);
    let before = bench.now;
    assert_eq!(bench.offers(SERVER, ADDRESS, 255), []);
    let actions = bench.step();
    assert_eq!(
        (sent(&actions), addressed(&actions)),
        (Some(kind::REQUEST), Some(SERVER))
    );
    assert!(
        (0.9..=1.1).contains(&(bench.now - before).as_secs_f64()),
        "the first interval"
    );
    bench.gives(SERVER, ADDRESS, 60);
    // It is as good as any other from then on.
    while bench.client.held().is_some() {
        bench.step();
    }
    assert_eq!(addressed(&bench.offers(SERVER, ADDRESS, 255)), Some(SERVER));
    // And at once where it comes late, or on another network.
    let mut bench = disappointed(None);
    assert_eq!(sent(&bench.step()), Some(kind::SOLICIT));
    assert_eq!(addressed(&bench.offers(SERVER, ADDRESS, 0)), Some(SERVER));
    let mut bench = disappointed(None);
    bench.link(false, Ask::Nothing);
    bench.link(true, Ask::Address);
    assert_eq!(addressed(&bench.offers(SERVER, ADDRESS, 255)), Some(SERVER));
}

#[test]
fn refusals_of_whom_nobody_asked_change_nothing() {
    let mut bench = Bench::bound();
    bench.step();
    for code in 0..=10 {
        assert_eq!(
            bench.refuses(SECOND, code),
            [],
            "status {code} of another server"
        );
        if code != status::NO_BINDING {
            assert_eq!(bench.refuses(SERVER, code), [], "status {code}");
        }
    }
    assert_eq!(bench.client.state, State::Renewing);
    assert_eq!(bench.client.held().map(|it| it.address), Some(ADDRESS));
}

#[test]
fn a_lease_of_a_second_makes_no_hot_loop() {
    let mut bench = Bench::soliciting();
    let start = bench.now;
    let mut messages = 0;
    while bench.now < start + Duration::from_secs(60) {
        bench.gives(SERVER, ADDRESS, 1);
        messages += bench
            .step()
            .iter()
            .filter(|it| matches!(it, Action::Send(_)))
            .count();
    }
    assert!(messages <= 240, "{messages}");
}

#[test]
fn an_answer_that_comes_after_its_t1_makes_no_hot_loop() {
    let mut bench = Bench::soliciting();
    while bench.client.interval < Duration::from_secs(10) {
        bench.step();
    }
    bench.now += Duration::from_secs(5);
    let association = fake::association(
        Identity::of(MAC).iaid,
        1,
        20,
        &[fake::address(ADDRESS, 30, 30)],
    );
    let options = [association, fake::option(option::RAPID_COMMIT, &[])];
    let actions = bench.says(kind::REPLY, SERVER, &options);
    assert!(matches!(actions.as_slice(), [Action::Acquired(_)]));
    let before = bench.now;
    assert_eq!(sent(&bench.step()), Some(kind::RENEW));
    assert_eq!(bench.now - before, LEAST_BOUND);
}

#[test]
fn a_huge_reply_is_read_within_limits() {
    let mut bench = Bench::soliciting();
    let name = [[1, b'a', 7].as_slice(), b"example", &[0]].concat();
    let octets = |number| Ipv6Addr::from_bits(DNS.to_bits() + number).octets();
    let octets: Vec<u8> = (0..1000).flat_map(octets).collect();
    let options = [
        association(&vec![fake::address(ADDRESS, 60, 60); 1000]),
        fake::option(option::RAPID_COMMIT, &[]),
        fake::option(option::DNS, &octets),
        fake::option(option::SEARCH, &name.repeat(1000)),
        fake::option(option::NTP, &fake::option(1, &DNS.octets()).repeat(500)),
    ];
    let actions = bench.says(kind::REPLY, SERVER, &options);
    let counts = match actions.first() {
        Some(Action::Acquired(lease)) => {
            let settings = &lease.settings;
            [&settings.dns, &settings.ntp].map(Vec::len)
        }
        _ => [0, 0],
    };
    assert_eq!(counts, [16, 16]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_event_in_any_state_breaks_the_client(input in proptest::collection::vec(prop_oneof![1 => any::<u8>(), 2 => 0_u8..16], 0..600)) {
        drive::drive(&input);
    }
}

#[test]
fn half_of_what_is_driven_gets_an_address() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let inputs = proptest::collection::vec(any::<u8>(), 100..400);
    let reached = (0..200).filter(|_| {
        let input = inputs.new_tree(&mut runner).map(|tree| tree.current());
        input.is_ok_and(|input| drive::drive(&input))
    });
    let reached = reached.count();
    assert!(reached >= 100, "{reached} of 200");
}
