//! From INIT to BOUND.

use super::*;

#[test]
fn init_discovers_without_delay() {
    let mut bench = Bench::new();
    assert_eq!(
        (
            bench.state(),
            bench.client.deadline(),
            bench.client.listens()
        ),
        (State::Init, None, false)
    );
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!(kind(&actions), Some(MessageType::Discover));
    assert_eq!(
        (bench.state(), bench.client.listens()),
        (State::Selecting, true)
    );
    assert!(
        bench
            .client
            .deadline()
            .is_some_and(|at| at <= bench.now + Duration::from_secs(1))
    );
    assert_eq!(
        bench.client.carrier_up(bench.now),
        [],
        "it has begun already"
    );
}

#[test]
fn selecting_asks_again_and_then_for_broadcasts() {
    let mut bench = Bench::new();
    let mut actions = bench.client.carrier_up(bench.now);
    let mut flags = Vec::new();
    for _ in 0..5 {
        let message =
            sent(&actions).map(|(_, message)| (message.xid(), message.flags().broadcast()));
        flags.push(message);
        actions = bench.step();
    }
    let xid = flags.first().copied().flatten().map(|(xid, _)| xid);
    let expected: Vec<_> = [false, false, false, true, true]
        .iter()
        .map(|flag| xid.map(|xid| (xid, *flag)))
        .collect();
    assert_eq!(flags, expected);
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn an_offer_is_requested_from_its_server() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(OFFER, ADDRESS, SERVER, &[]);
    assert_eq!(
        (bench.state(), kind(&actions)),
        (State::Requesting, Some(MessageType::Request))
    );
    assert_eq!(requested(&actions), Some(ADDRESS));
    let message = sent(&actions).map(|(_, message)| message);
    let server = message
        .as_ref()
        .and_then(|message| message.opts().get(OptionCode::ServerIdentifier));
    assert_eq!(
        server,
        Some(&dhcproto::v4::DhcpOption::ServerIdentifier(SERVER))
    );
    assert_eq!(
        message.map(|message| message.ciaddr()),
        Some(Ipv4Addr::UNSPECIFIED)
    );
}

#[test]
fn offers_that_cannot_be_are_ignored() {
    for address in [
        [0, 0, 0, 0],
        [255, 255, 255, 255],
        [224, 0, 0, 1],
        [127, 0, 0, 1],
    ] {
        let mut bench = Bench::new();
        bench.client.carrier_up(bench.now);
        assert_eq!(bench.reply(OFFER, address.into(), SERVER, &[]), []);
        assert_eq!(bench.reply(OFFER, ADDRESS, address.into(), &[]), []);
        assert_eq!(bench.state(), State::Selecting);
    }
}

#[test]
fn what_was_not_asked_is_not_heard() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.reply(OFFER, ADDRESS, SERVER, &[]),
        [],
        "before the first DISCOVER"
    );
    bench.client.carrier_up(bench.now);
    assert_eq!(
        bench.reply(ACK, ADDRESS, SERVER, &[]),
        [],
        "an ACK without an offer"
    );
    assert_eq!(bench.reply(NAK, ADDRESS, SERVER, &[]), []);
    let xid = bench.client.xid;
    bench.client.xid = xid.wrapping_add(1);
    let options = [(53, vec![OFFER]), (54, SERVER.octets().to_vec())];
    let stale = fake::reply(xid, MAC, ADDRESS, &options);
    assert_eq!(
        bench.client.receive(bench.now, &stale),
        [],
        "another transaction"
    );
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn a_rapid_commit_saves_a_round_trip() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[(80, vec![])]);
    assert!(
        matches!(actions.as_slice(), [Action::Acquired(lease)] if lease.address == ADDRESS),
        "{actions:?}"
    );
    assert_eq!(
        (bench.state(), bench.client.listens()),
        (State::Bound, false)
    );
}

#[test]
fn a_server_that_is_deaf_to_rapid_commit_is_asked_without_it() {
    let mut bench = Bench::new();
    let mut actions = bench.client.carrier_up(bench.now);
    let mut asked = Vec::new();
    for _ in 0..3 {
        let message = sent(&actions).map(|(_, message)| message);
        asked.push(message.map(|it| it.opts().contains(OptionCode::RapidCommit)));
        actions = bench.step();
    }
    assert_eq!(asked, [Some(true), Some(false), Some(false)]);
    // A late answer to the first message counts.
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[(80, vec![])]);
    assert!(matches!(actions.as_slice(), [Action::Acquired(_)]));
}

#[test]
fn requesting_takes_only_what_was_offered() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    assert_eq!(bench.reply(OFFER, OTHER, OTHER, &[]), [], "another offer");
    assert_eq!(bench.reply(ACK, OTHER, SERVER, &[]), [], "another address");
    assert_eq!(bench.reply(ACK, ADDRESS, OTHER, &[]), [], "another server");
    assert_eq!(
        bench.reply(NAK, ADDRESS, OTHER, &[]),
        [],
        "another server's NAK"
    );
    assert_eq!(
        bench.reply(ACK, ADDRESS, SERVER, &[(51, vec![0; 4])]),
        [],
        "no time"
    );
    assert_eq!(bench.state(), State::Requesting);
    assert!(matches!(
        bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(),
        [Action::Acquired(_)]
    ));
}

#[test]
fn requesting_gives_up_and_discovers() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    let kinds: Vec<_> = (0..3).map(|_| kind(&bench.step())).collect();
    assert_eq!(
        kinds,
        [
            Some(MessageType::Request),
            Some(MessageType::Request),
            Some(MessageType::Discover)
        ]
    );
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn servers_that_refuse_what_they_offer_are_asked_less_and_less() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        // From the second time on its offer waits for a better one.
        if bench.reply(OFFER, ADDRESS, SERVER, &[]).is_empty() {
            assert_eq!(kind(&bench.step()), Some(MessageType::Request));
        }
        let actions = bench.reply(NAK, ADDRESS, SERVER, &[]);
        let before = bench.now;
        if kind(&actions).is_none() {
            assert_eq!(bench.state(), State::Init);
            assert_eq!(kind(&bench.step()), Some(MessageType::Discover));
        }
        pauses.push((bench.now - before).as_secs_f64().round());
    }
    assert!(
        pauses.is_sorted() && pauses.first() == Some(&0.0) && pauses.last() > Some(&5.0),
        "{pauses:?}"
    );
}
