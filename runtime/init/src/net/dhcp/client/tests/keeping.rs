//! From BOUND on.

use super::*;

#[test]
fn bound_renews_at_t1_by_unicast_and_rebinds_at_t2_by_broadcast() {
    let mut bench = Bench::bound();
    let start = bench.now;
    assert_eq!(bench.state(), State::Bound);
    let actions = bench.step();
    assert_eq!(
        (bench.state(), bench.now - start),
        (State::Renewing, Duration::from_secs(1800))
    );
    assert!(
        matches!(sent(&actions), Some((Action::Unicast { source: ADDRESS, server: SERVER, .. }, message))
            if message.ciaddr() == ADDRESS && message.opts().msg_type() == Some(MessageType::Request)),
        "{actions:?}"
    );
    assert_eq!(requested(&actions), None);
    while bench.state() == State::Renewing {
        let actions = bench.step();
        assert_eq!(kind(&actions), Some(MessageType::Request));
    }
    assert_eq!(
        (bench.state(), bench.now - start),
        (State::Rebinding, Duration::from_secs(3150))
    );
    let actions = bench.step();
    assert!(
        matches!(
            sent(&actions),
            Some((
                Action::Broadcast {
                    source: ADDRESS,
                    ..
                },
                _
            ))
        ),
        "{actions:?}"
    );
}

#[test]
fn a_renewal_goes_on_from_when_it_was_asked_for() {
    let mut bench = Bench::bound();
    bench.step();
    let asked = bench.now;
    bench.now += Duration::from_secs(1);
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[]);
    assert!(
        matches!(actions.as_slice(), [Action::Renewed(_)]),
        "{actions:?}"
    );
    assert_eq!(
        bench.client.deadline(),
        Some(asked + Duration::from_secs(1800))
    );
    assert_eq!(
        bench.client.left(bench.now),
        Some(Duration::from_secs(3599))
    );
}

#[test]
fn another_server_may_rebind() {
    let mut bench = Bench::bound();
    while bench.state() != State::Rebinding {
        bench.step();
    }
    let actions = bench.reply(ACK, ADDRESS, OTHER, &[]);
    assert!(
        matches!(actions.as_slice(), [Action::Renewed(lease)] if lease.server == OTHER),
        "{actions:?}"
    );
    assert_eq!(bench.state(), State::Bound);
}

#[test]
fn renewals_do_not_change_the_address() {
    let mut bench = Bench::bound();
    bench.step();
    assert_eq!(bench.reply(ACK, OTHER, SERVER, &[]), []);
    assert_eq!(bench.state(), State::Renewing);
}

#[test]
fn a_nak_ends_the_lease_and_begins_anew() {
    for target in [State::Renewing, State::Rebinding] {
        let mut bench = Bench::bound();
        while bench.state() != target {
            bench.step();
        }
        let actions = bench.reply(NAK, Ipv4Addr::UNSPECIFIED, SERVER, &[]);
        assert_eq!(actions.first(), Some(&removed(Cause::Refused)));
        assert_eq!(
            (bench.state(), kind(&actions)),
            (State::Selecting, Some(MessageType::Discover))
        );
        assert_eq!(
            requested(&actions),
            None,
            "what was refused is not asked for again"
        );
        assert_eq!(bench.client.lease(), None);
    }
}

#[test]
fn expiry_ends_the_lease_and_asks_for_the_same_address() {
    let mut bench = Bench::bound();
    let start = bench.now;
    let mut actions = Vec::new();
    while bench.client.lease().is_some() {
        actions = bench.step();
    }
    assert_eq!(bench.now - start, Duration::from_secs(3600));
    assert_eq!(actions.first(), Some(&removed(Cause::Expired)));
    assert_eq!(
        (bench.state(), kind(&actions)),
        (State::Selecting, Some(MessageType::Discover))
    );
    assert_eq!(requested(&actions), Some(ADDRESS));
}

#[test]
fn a_lease_for_ever_has_no_deadline() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    bench.reply(ACK, ADDRESS, SERVER, &[(51, vec![0xff; 4])]);
    assert_eq!(
        (
            bench.state(),
            bench.client.deadline(),
            bench.client.left(bench.now)
        ),
        (State::Bound, None, None)
    );
}

#[test]
fn a_lease_of_a_second_is_no_hot_loop() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let second = [(51, vec![0, 0, 0, 1])];
    let start = bench.now;
    let mut messages = 0;
    while bench.now < start + Duration::from_secs(60) {
        let kind = if bench.state() == State::Selecting {
            OFFER
        } else {
            ACK
        };
        bench.reply(kind, ADDRESS, SERVER, &second);
        messages += usize::from(sent(&bench.step()).is_some());
    }
    assert!(messages <= 180, "{messages} messages in a minute");
}

#[test]
fn an_answer_that_is_older_than_its_lease_counts_from_now() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    bench.now += Duration::from_millis(700);
    bench.reply(ACK, ADDRESS, SERVER, &[(51, vec![0, 0, 0, 1])]);
    assert!(bench.client.deadline().is_some_and(|at| at > bench.now));
}

#[test]
fn carrier_loss_pauses_and_its_return_verifies() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    assert_eq!(
        (bench.state(), bench.client.listens()),
        (State::Bound, false)
    );
    assert_eq!(bench.pass(2000), [], "nothing is sent without a carrier");
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!(
        (bench.state(), kind(&actions)),
        (State::Rebooting, Some(MessageType::Request))
    );
    assert_eq!(requested(&actions), Some(ADDRESS));
    assert!(matches!(sent(&actions), Some((_, message)) if message.ciaddr().is_unspecified()));
    assert!(matches!(
        bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(),
        [Action::Renewed(_)]
    ));
    assert_eq!(bench.state(), State::Bound);
}

#[test]
fn a_lease_expires_without_a_carrier_too() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    assert_eq!(bench.step(), [removed(Cause::Expired)]);
    assert_eq!(
        (bench.state(), bench.client.deadline()),
        (State::Init, None)
    );
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!(
        (bench.state(), kind(&actions)),
        (State::Selecting, Some(MessageType::Discover))
    );
}

#[test]
fn a_link_on_another_network_learns_it_by_a_nak() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(NAK, Ipv4Addr::UNSPECIFIED, OTHER, &[]);
    assert_eq!(actions.first(), Some(&removed(Cause::Refused)));
    assert_eq!(kind(&actions), Some(MessageType::Discover));
}

#[test]
fn a_nak_without_a_name_counts_where_all_servers_were_asked() {
    let mut bench = Bench::bound();
    let nameless = |bench: &mut Bench| {
        let bytes = fake::reply(bench.client.xid, MAC, ADDRESS, &[(53, vec![NAK])]);
        bench.client.receive(bench.now, &bytes)
    };
    bench.step();
    assert_eq!(bench.state(), State::Renewing);
    assert_eq!(nameless(&mut bench), []);
    bench.client.carrier_down();
    bench.client.carrier_up(bench.now);
    let actions = nameless(&mut bench);
    assert_eq!(actions.first(), Some(&removed(Cause::Refused)));
}

#[test]
fn no_reply_may_be_longer_than_a_packet_of_the_link() {
    let longest =
        |actions: &[Action]| match sent(actions)?.1.opts().get(OptionCode::MaxMessageSize)? {
            dhcproto::v4::DhcpOption::MaxMessageSize(it) => Some(*it),
            _ => None,
        };
    for (mtu, expected) in [(1400_u16, 1400), (9000, 1500)] {
        let mut bench = Bench::new();
        let actions = bench.client.carrier_up(bench.now);
        assert_eq!(longest(&actions), Some(1500));
        bench.reply(OFFER, ADDRESS, SERVER, &[]);
        bench.reply(ACK, ADDRESS, SERVER, &[(26, mtu.to_be_bytes().to_vec())]);
        assert_eq!(longest(&bench.step()), Some(expected), "{mtu}");
    }
}

#[test]
fn no_answer_proves_nothing_against_a_valid_lease() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    bench.client.carrier_up(bench.now);
    while bench.state() == State::Rebooting {
        bench.step();
    }
    assert_eq!(bench.state(), State::Rebinding);
    assert!(bench.client.lease().is_some());
    assert!(
        bench
            .client
            .deadline()
            .is_some_and(|at| at <= bench.now + LONGEST_REBINDING)
    );
}

#[test]
fn an_address_of_an_earlier_boot_is_asked_for_first() {
    let mut bench = Bench::new();
    bench.client.remember(ADDRESS);
    assert_eq!(bench.state(), State::InitReboot);
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!(
        (bench.state(), kind(&actions)),
        (State::Rebooting, Some(MessageType::Request))
    );
    assert_eq!(requested(&actions), Some(ADDRESS));
    assert!(matches!(
        bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(),
        [Action::Acquired(_)]
    ));
}

#[test]
fn an_address_of_an_earlier_boot_that_nobody_knows_is_given_up() {
    let mut bench = Bench::new();
    bench.client.remember(ADDRESS);
    bench.client.carrier_up(bench.now);
    let before = bench.now;
    let actions = bench.step();
    assert_eq!(
        (kind(&actions), requested(&actions)),
        (Some(MessageType::Discover), Some(ADDRESS))
    );
    assert!(bench.now - before <= Duration::from_secs(1));

    let mut bench = Bench::new();
    bench.client.remember(ADDRESS);
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(NAK, Ipv4Addr::UNSPECIFIED, SERVER, &[]);
    assert_eq!(
        (kind(&actions), actions.len()),
        (Some(MessageType::Discover), 1)
    );
}

#[test]
fn an_address_that_another_machine_has_is_declined() {
    let mut bench = Bench::bound();
    let actions = bench.client.conflict(bench.now);
    assert_eq!(actions.first(), Some(&removed(Cause::Conflict)));
    assert!(matches!(
        sent(&actions),
        Some((Action::Broadcast { source: Ipv4Addr::UNSPECIFIED, .. }, message)) if message.ciaddr().is_unspecified()
    ));
    assert_eq!(kind(&actions), Some(MessageType::Decline));
    assert_eq!(requested(&actions), Some(ADDRESS));
    let carries =
        |code| sent(&actions).is_some_and(|(_, message)| message.opts().get(code).is_some());
    assert!(carries(OptionCode::ServerIdentifier) && carries(OptionCode::ClientIdentifier));
    for forbidden in [
        OptionCode::ParameterRequestList,
        OptionCode::MaxMessageSize,
        OptionCode::AddressLeaseTime,
    ] {
        assert!(!carries(forbidden), "RFC 2131, table 5");
    }
    assert_eq!(
        (bench.state(), bench.client.listens()),
        (State::Init, false)
    );
    assert_eq!(
        bench.client.conflict(bench.now),
        [],
        "there is no lease any longer"
    );
}

#[test]
fn conflicts_in_a_row_are_further_and_further_apart() {
    let mut bench = Bench::bound();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        bench.client.conflict(bench.now);
        let before = bench.now;
        let actions = bench.step();
        assert_eq!(
            (kind(&actions), requested(&actions)),
            (Some(MessageType::Discover), None)
        );
        pauses.push((bench.now - before).as_secs());
        bench.reply(OFFER, ADDRESS, SERVER, &[]);
        bench.reply(ACK, ADDRESS, SERVER, &[]);
    }
    assert!(pauses.is_sorted(), "{pauses:?}");
    assert_eq!(pauses.first(), Some(&10), "RFC 2131 wants ten seconds");
    assert!(
        pauses.last().is_some_and(|last| (48..=64).contains(last)),
        "{pauses:?}"
    );
    bench.step();
    bench.reply(ACK, ADDRESS, SERVER, &[]);
    bench.client.conflict(bench.now);
    let before = bench.now;
    bench.step();
    assert_eq!(
        (bench.now - before).as_secs(),
        10,
        "a renewal shows that it was ours"
    );
}

#[test]
fn a_conflict_without_a_carrier_tells_nobody() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    assert_eq!(bench.client.conflict(bench.now), [removed(Cause::Conflict)]);
    assert_eq!(bench.client.deadline(), None);
}
