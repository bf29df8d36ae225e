//! Whatever comes, in whatever state.

use proptest::prelude::*;

use super::*;

/// What can happen to a client.
#[derive(Clone, Debug)]
enum Event {
    Reply {
        kind: u8,
        address: Ipv4Addr,
        server: Ipv4Addr,
        options: Vec<(u8, Vec<u8>)>,
    },
    Bytes(Vec<u8>),
    Tick,
    Wait(u32),
    CarrierUp,
    CarrierDown,
    Conflict,
}

fn event() -> impl Strategy<Value = Event> {
    let address = prop_oneof![5 => Just(ADDRESS), 1 => any::<u32>().prop_map(Ipv4Addr::from_bits)];
    let server = prop_oneof![5 => Just(SERVER), 1 => Just(OTHER), 1 => any::<u32>().prop_map(Ipv4Addr::from_bits)];
    let option = prop_oneof![
        3 => (prop_oneof![Just(51_u8), Just(58), Just(59)], any::<u32>().prop_map(|it| it.to_be_bytes().to_vec())),
        1 => (Just(51_u8), (1_u32..5).prop_map(|it| it.to_be_bytes().to_vec())),
        1 => Just((80_u8, Vec::new())),
        1 => (any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)),
    ];
    let options = proptest::collection::vec(option, 0..4);
    let reply = (
        prop_oneof![3 => Just(OFFER), 5 => Just(ACK), 1 => Just(NAK)],
        address,
        server,
        options,
    )
        .prop_map(|(kind, address, server, options)| Event::Reply {
            kind,
            address,
            server,
            options,
        });
    prop_oneof![
        8 => reply,
        1 => proptest::collection::vec(any::<u8>(), 0..400).prop_map(Event::Bytes),
        6 => Just(Event::Tick),
        2 => any::<u32>().prop_map(Event::Wait),
        1 => Just(Event::CarrierUp),
        1 => Just(Event::CarrierDown),
        1 => Just(Event::Conflict),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_event_in_any_state_breaks_the_client(events in proptest::collection::vec(event(), 0..60), remember: bool) {
        let mut bench = Bench::new();
        if remember {
            bench.client.remember(ADDRESS);
        }
        bench.client.carrier_up(bench.now);
        let mut has_address = None;
        for event in events {
            let mut actions = match event {
                Event::Reply { kind, address, server, options } => bench.reply(kind, address, server, &options),
                Event::Bytes(bytes) => bench.client.receive(bench.now, &bytes),
                Event::Tick => bench.step(),
                Event::Wait(milliseconds) => {
                    bench.now += Duration::from_millis(milliseconds.into());
                    Vec::new()
                }
                Event::CarrierUp => bench.client.carrier_up(bench.now),
                Event::Conflict => bench.client.conflict(bench.now),
                Event::CarrierDown => {
                    bench.client.carrier_down();
                    Vec::new()
                }
            };
            actions.extend(bench.client.tick(bench.now));
            for action in &actions {
                match action {
                    Action::Acquired(lease) => prop_assert_eq!(has_address.replace(lease.address), None),
                    Action::Renewed(lease) => prop_assert_eq!(has_address, Some(lease.address)),
                    Action::Removed { address, .. } => prop_assert_eq!(has_address.take(), Some(*address)),
                    Action::Broadcast { message, .. } | Action::Unicast { message, .. } => {
                        prop_assert!((300..=576).contains(&message.len()));
                        prop_assert!(bench.client.carrier);
                    }
                }
            }
            prop_assert!(actions.len() <= 4, "{:?}", actions);
            prop_assert_eq!(has_address, bench.client.lease().map(|lease| lease.address));
            // Nothing is due any longer once a tick has passed, so that the caller never spins.
            prop_assert!(bench.client.deadline().is_none_or(|deadline| deadline > bench.now));
            if bench.client.listens() {
                prop_assert!(bench.client.deadline().is_some(), "{} waits for ever", bench.state());
            }
        }
    }
}
