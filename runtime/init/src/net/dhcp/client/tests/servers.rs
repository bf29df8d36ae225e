//! A server that offers and does not keep its word, beside one that does.

use super::*;

const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 77);

/// The server that a REQUEST is for.
fn asked(actions: &[Action]) -> Option<Ipv4Addr> {
    match sent(actions)?.1.opts().get(OptionCode::ServerIdentifier)? {
        dhcproto::v4::DhcpOption::ServerIdentifier(server) => Some(*server),
        _ => None,
    }
}

/// What becomes of the bad server's offer.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Silence,
    AckWithoutTime,
    AddressOfTheNetwork,
    Nak,
}

/// A client that has taken the bad server's offer once, and is SELECTING again.
fn disappointed(fault: Fault) -> Bench {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let address = match fault {
        Fault::AddressOfTheNetwork => Ipv4Addr::new(10, 0, 2, 0),
        _ => ADDRESS,
    };
    let actions = bench.reply(OFFER, address, SERVER, &[]);
    assert_eq!(asked(&actions), Some(SERVER), "{fault:?}");
    while bench.state() == State::Requesting {
        let actions = match fault {
            Fault::Silence => Vec::new(),
            Fault::AckWithoutTime => bench.reply(ACK, address, SERVER, &[(51, vec![0; 4])]),
            Fault::AddressOfTheNetwork => bench.reply(ACK, address, SERVER, &[]),
            Fault::Nak => bench.reply(NAK, address, SERVER, &[]),
        };
        if actions.is_empty() {
            bench.step();
        }
    }
    assert_eq!(bench.state(), State::Selecting, "{fault:?}");
    bench
}

#[test]
fn a_server_that_fails_gives_way_to_another() {
    for fault in [
        Fault::Silence,
        Fault::AckWithoutTime,
        Fault::AddressOfTheNetwork,
        Fault::Nak,
    ] {
        let mut bench = disappointed(fault);
        assert_eq!(bench.reply(OFFER, ADDRESS, SERVER, &[]), [], "{fault:?}");
        bench.now += Duration::from_millis(5);
        let actions = bench.reply(OFFER, ELSEWHERE, OTHER, &[]);
        assert_eq!(
            (asked(&actions), requested(&actions)),
            (Some(OTHER), Some(ELSEWHERE)),
            "{fault:?}"
        );
        assert!(matches!(
            bench.reply(ACK, ELSEWHERE, OTHER, &[]).as_slice(),
            [Action::Acquired(lease)] if lease.server == OTHER
        ));
    }
}

#[test]
fn a_server_that_failed_is_asked_again_if_it_is_alone() {
    let mut bench = disappointed(Fault::Silence);
    let before = bench.now;
    assert_eq!(bench.reply(OFFER, ADDRESS, SERVER, &[]), []);
    assert_eq!(
        (bench.state(), bench.client.listens()),
        (State::Selecting, true)
    );
    assert_eq!(asked(&bench.step()), Some(SERVER));
    assert!(bench.now - before <= Duration::from_secs(1));
    assert!(matches!(
        bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(),
        [Action::Acquired(_)]
    ));
    // It is as good as any other from then on.
    while bench.client.lease().is_some() {
        bench.step();
    }
    assert_eq!(
        asked(&bench.reply(OFFER, ADDRESS, SERVER, &[])),
        Some(SERVER)
    );
}

#[test]
fn an_offer_that_comes_late_is_taken_whoever_makes_it() {
    let mut bench = disappointed(Fault::Silence);
    assert_eq!(kind(&bench.step()), Some(MessageType::Discover));
    assert_eq!(
        asked(&bench.reply(OFFER, ADDRESS, SERVER, &[])),
        Some(SERVER)
    );
}

#[test]
fn an_offer_that_waits_lends_its_server_to_nobody() {
    let mut bench = disappointed(Fault::Silence);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    let options = [(53, vec![ACK]), (80, vec![]), (51, vec![0, 0, 14, 16])];
    let nameless = fake::reply(bench.client.xid, MAC, ELSEWHERE, &options);
    assert_eq!(bench.client.receive(bench.now, &nameless), []);
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn on_another_network_every_server_is_new() {
    let mut bench = disappointed(Fault::Silence);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    bench.client.carrier_down();
    assert_eq!(bench.client.deadline(), None);
    bench.client.carrier_up(bench.now);
    assert_eq!(
        asked(&bench.reply(OFFER, ADDRESS, SERVER, &[])),
        Some(SERVER)
    );
}
