use proptest::prelude::*;

use super::super::message::fake;
use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;

/// A client with a clock, whose random numbers count up.
struct Bench {
    client: Client,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        let mut count = 0_u32;
        let random = Box::new(move || {
            count = count.wrapping_add(1);
            count
        });
        let identity = Identity { mac: MAC, host_name: None };
        Self { client: Client::new(identity, Backoff::default(), random), now: Duration::from_secs(1000) }
    }

    /// A client that has a lease of an hour since now.
    fn bound() -> Self {
        let mut bench = Self::new();
        bench.client.carrier_up(bench.now);
        bench.reply(OFFER, ADDRESS, SERVER, &[]);
        let actions = bench.reply(ACK, ADDRESS, SERVER, &[]);
        assert!(matches!(actions.as_slice(), [Action::Acquired(_)]), "{actions:?}");
        bench
    }

    fn state(&self) -> State {
        self.client.state()
    }

    /// A server's message in the client's transaction, for a lease of an hour.
    fn reply(&mut self, kind: u8, address: Ipv4Addr, server: Ipv4Addr, more: &[(u8, Vec<u8>)]) -> Vec<Action> {
        let mut options = vec![(53, vec![kind]), (54, server.octets().to_vec()), (1, vec![255, 255, 255, 0])];
        if !more.iter().any(|(code, _)| *code == 51) {
            options.push((51, 3600_u32.to_be_bytes().to_vec()));
        }
        options.extend_from_slice(more);
        let bytes = fake::reply(self.client.xid, MAC, address, &options);
        self.client.receive(self.now, &bytes)
    }

    /// Lets time pass until the next deadline.
    fn step(&mut self) -> Vec<Action> {
        if let Some(deadline) = self.client.deadline() {
            assert!(deadline > self.now, "a deadline that has passed: {deadline:?} at {:?}", self.now);
            self.now = deadline;
        }
        self.client.tick(self.now)
    }

    fn pass(&mut self, seconds: u64) -> Vec<Action> {
        self.now += Duration::from_secs(seconds);
        self.client.tick(self.now)
    }
}

/// The one message among the actions.
fn sent(actions: &[Action]) -> Option<(&Action, dhcproto::v4::Message)> {
    let mut messages = actions.iter().filter_map(|action| match action {
        Action::Broadcast { message, .. } | Action::Unicast { message, .. } => Some((action, message)),
        _ => None,
    });
    let (action, message) = messages.next().filter(|_| messages.next().is_none())?;
    let mut decoder = dhcproto::Decoder::new(message);
    Some((action, <dhcproto::v4::Message as dhcproto::Decodable>::decode(&mut decoder).ok()?))
}

fn kind(actions: &[Action]) -> Option<MessageType> {
    sent(actions)?.1.opts().msg_type()
}

fn requested(actions: &[Action]) -> Option<Ipv4Addr> {
    match sent(actions)?.1.opts().get(OptionCode::RequestedIpAddress)? {
        dhcproto::v4::DhcpOption::RequestedIpAddress(address) => Some(*address),
        _ => None,
    }
}

fn removed(cause: Cause) -> Action {
    Action::Removed { address: ADDRESS, cause }
}

#[test]
fn init_discovers_without_delay() {
    let mut bench = Bench::new();
    assert_eq!((bench.state(), bench.client.deadline(), bench.client.listens()), (State::Init, None, false));
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!(kind(&actions), Some(MessageType::Discover));
    assert_eq!((bench.state(), bench.client.listens()), (State::Selecting, true));
    assert!(bench.client.deadline().is_some_and(|at| at <= bench.now + Duration::from_secs(1)));
    assert_eq!(bench.client.carrier_up(bench.now), [], "it has begun already");
}

#[test]
fn selecting_asks_again_and_then_for_broadcasts() {
    let mut bench = Bench::new();
    let mut actions = bench.client.carrier_up(bench.now);
    let mut flags = Vec::new();
    for _ in 0..5 {
        let message = sent(&actions).map(|(_, message)| (message.xid(), message.flags().broadcast()));
        flags.push(message);
        actions = bench.step();
    }
    let xid = flags.first().copied().flatten().map(|(xid, _)| xid);
    let expected: Vec<_> = [false, false, false, true, true].iter().map(|flag| xid.map(|xid| (xid, *flag))).collect();
    assert_eq!(flags, expected);
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn an_offer_is_requested_from_its_server() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(OFFER, ADDRESS, SERVER, &[]);
    assert_eq!((bench.state(), kind(&actions)), (State::Requesting, Some(MessageType::Request)));
    assert_eq!(requested(&actions), Some(ADDRESS));
    let message = sent(&actions).map(|(_, message)| message);
    let server = message.as_ref().and_then(|message| message.opts().get(OptionCode::ServerIdentifier));
    assert_eq!(server, Some(&dhcproto::v4::DhcpOption::ServerIdentifier(SERVER)));
    assert_eq!(message.map(|message| message.ciaddr()), Some(Ipv4Addr::UNSPECIFIED));
}

#[test]
fn offers_that_cannot_be_are_ignored() {
    for address in [[0, 0, 0, 0], [255, 255, 255, 255], [224, 0, 0, 1], [127, 0, 0, 1]] {
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
    assert_eq!(bench.reply(OFFER, ADDRESS, SERVER, &[]), [], "before the first DISCOVER");
    bench.client.carrier_up(bench.now);
    assert_eq!(bench.reply(ACK, ADDRESS, SERVER, &[]), [], "an ACK without an offer");
    assert_eq!(bench.reply(NAK, ADDRESS, SERVER, &[]), []);
    bench.client.xid = bench.client.xid.wrapping_add(1);
    let stale = fake::reply(bench.client.xid.wrapping_sub(1), MAC, ADDRESS, &[(53, vec![OFFER])]);
    assert_eq!(bench.client.receive(bench.now, &stale), [], "another transaction");
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn a_rapid_commit_saves_a_round_trip() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[(80, vec![])]);
    assert!(matches!(actions.as_slice(), [Action::Acquired(lease)] if lease.address == ADDRESS), "{actions:?}");
    assert_eq!((bench.state(), bench.client.listens()), (State::Bound, false));
}

#[test]
fn requesting_takes_only_what_was_offered() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    assert_eq!(bench.reply(OFFER, OTHER, OTHER, &[]), [], "another offer");
    assert_eq!(bench.reply(ACK, OTHER, SERVER, &[]), [], "another address");
    assert_eq!(bench.reply(ACK, ADDRESS, OTHER, &[]), [], "another server");
    assert_eq!(bench.reply(NAK, ADDRESS, OTHER, &[]), [], "another server's NAK");
    assert_eq!(bench.reply(ACK, ADDRESS, SERVER, &[(51, vec![0; 4])]), [], "no time");
    assert_eq!(bench.state(), State::Requesting);
    assert!(matches!(bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(), [Action::Acquired(_)]));
}

#[test]
fn requesting_gives_up_and_discovers() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    let kinds: Vec<_> = (0..3).map(|_| kind(&bench.step())).collect();
    assert_eq!(kinds, [Some(MessageType::Request), Some(MessageType::Request), Some(MessageType::Discover)]);
    assert_eq!(bench.state(), State::Selecting);
}

#[test]
fn servers_that_refuse_what_they_offer_are_asked_less_and_less() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        bench.reply(OFFER, ADDRESS, SERVER, &[]);
        let actions = bench.reply(NAK, ADDRESS, SERVER, &[]);
        let before = bench.now;
        if kind(&actions).is_none() {
            assert_eq!(bench.state(), State::Init);
            assert_eq!(kind(&bench.step()), Some(MessageType::Discover));
        }
        pauses.push((bench.now - before).as_secs_f64().round());
    }
    assert!(pauses.is_sorted() && pauses.first() == Some(&0.0) && pauses.last() > Some(&5.0), "{pauses:?}");
}

#[test]
fn bound_renews_at_t1_by_unicast_and_rebinds_at_t2_by_broadcast() {
    let mut bench = Bench::bound();
    let start = bench.now;
    assert_eq!(bench.state(), State::Bound);
    let actions = bench.step();
    assert_eq!((bench.state(), bench.now - start), (State::Renewing, Duration::from_secs(1800)));
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
    assert_eq!((bench.state(), bench.now - start), (State::Rebinding, Duration::from_secs(3150)));
    let actions = bench.step();
    assert!(matches!(sent(&actions), Some((Action::Broadcast { source: ADDRESS, .. }, _))), "{actions:?}");
}

#[test]
fn a_renewal_goes_on_from_when_it_was_asked_for() {
    let mut bench = Bench::bound();
    bench.step();
    let asked = bench.now;
    bench.now += Duration::from_secs(1);
    let actions = bench.reply(ACK, ADDRESS, SERVER, &[]);
    assert!(matches!(actions.as_slice(), [Action::Renewed(_)]), "{actions:?}");
    assert_eq!(bench.client.deadline(), Some(asked + Duration::from_secs(1800)));
    assert_eq!(bench.client.left(bench.now), Some(Duration::from_secs(3599)));
}

#[test]
fn another_server_may_rebind() {
    let mut bench = Bench::bound();
    while bench.state() != State::Rebinding {
        bench.step();
    }
    let actions = bench.reply(ACK, ADDRESS, OTHER, &[]);
    assert!(matches!(actions.as_slice(), [Action::Renewed(lease)] if lease.server == OTHER), "{actions:?}");
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
        assert_eq!((bench.state(), kind(&actions)), (State::Selecting, Some(MessageType::Discover)));
        assert_eq!(requested(&actions), None, "what was refused is not asked for again");
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
    assert_eq!((bench.state(), kind(&actions)), (State::Selecting, Some(MessageType::Discover)));
    assert_eq!(requested(&actions), Some(ADDRESS));
}

#[test]
fn a_lease_for_ever_has_no_deadline() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    bench.reply(OFFER, ADDRESS, SERVER, &[]);
    bench.reply(ACK, ADDRESS, SERVER, &[(51, vec![0xff; 4])]);
    assert_eq!((bench.state(), bench.client.deadline(), bench.client.left(bench.now)), (State::Bound, None, None));
}

#[test]
fn a_lease_of_a_second_is_no_hot_loop() {
    let mut bench = Bench::new();
    bench.client.carrier_up(bench.now);
    let second = [(51, vec![0, 0, 0, 1])];
    let start = bench.now;
    let mut messages = 0;
    while bench.now < start + Duration::from_secs(60) {
        let kind = if bench.state() == State::Selecting { OFFER } else { ACK };
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
    assert_eq!((bench.state(), bench.client.listens()), (State::Bound, false));
    assert_eq!(bench.pass(2000), [], "nothing is sent without a carrier");
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!((bench.state(), kind(&actions)), (State::Rebooting, Some(MessageType::Request)));
    assert_eq!(requested(&actions), Some(ADDRESS));
    assert!(matches!(sent(&actions), Some((_, message)) if message.ciaddr().is_unspecified()));
    assert!(matches!(bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(), [Action::Renewed(_)]));
    assert_eq!(bench.state(), State::Bound);
}

#[test]
fn a_lease_expires_without_a_carrier_too() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    assert_eq!(bench.step(), [removed(Cause::Expired)]);
    assert_eq!((bench.state(), bench.client.deadline()), (State::Init, None));
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!((bench.state(), kind(&actions)), (State::Selecting, Some(MessageType::Discover)));
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
fn no_answer_proves_nothing_against_a_valid_lease() {
    let mut bench = Bench::bound();
    bench.client.carrier_down();
    bench.client.carrier_up(bench.now);
    while bench.state() == State::Rebooting {
        bench.step();
    }
    assert_eq!(bench.state(), State::Rebinding);
    assert!(bench.client.lease().is_some());
    assert!(bench.client.deadline().is_some_and(|at| at <= bench.now + LONGEST_REBINDING));
}

#[test]
fn an_address_of_an_earlier_boot_is_asked_for_first() {
    let mut bench = Bench::new();
    bench.client.remember(ADDRESS);
    assert_eq!(bench.state(), State::InitReboot);
    let actions = bench.client.carrier_up(bench.now);
    assert_eq!((bench.state(), kind(&actions)), (State::Rebooting, Some(MessageType::Request)));
    assert_eq!(requested(&actions), Some(ADDRESS));
    assert!(matches!(bench.reply(ACK, ADDRESS, SERVER, &[]).as_slice(), [Action::Acquired(_)]));
}

#[test]
fn an_address_of_an_earlier_boot_that_nobody_knows_is_given_up() {
    let mut bench = Bench::new();
    bench.client.remember(ADDRESS);
    bench.client.carrier_up(bench.now);
    let kinds: Vec<_> = (0..3).map(|_| kind(&bench.step())).collect();
    assert_eq!(kinds, [Some(MessageType::Request), Some(MessageType::Request), Some(MessageType::Discover)]);

    let mut bench = Bench::new();
    bench.client.remember(ADDRESS);
    bench.client.carrier_up(bench.now);
    let actions = bench.reply(NAK, Ipv4Addr::UNSPECIFIED, SERVER, &[]);
    assert_eq!((kind(&actions), actions.len()), (Some(MessageType::Discover), 1));
}

/// What can happen to a client.
#[derive(Clone, Debug)]
enum Event {
    Reply { kind: u8, address: Ipv4Addr, server: Ipv4Addr, options: Vec<(u8, Vec<u8>)> },
    Bytes(Vec<u8>),
    Tick,
    Wait(u32),
    CarrierUp,
    CarrierDown,
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
    let reply = (prop_oneof![3 => Just(OFFER), 5 => Just(ACK), 1 => Just(NAK)], address, server, options)
        .prop_map(|(kind, address, server, options)| Event::Reply { kind, address, server, options });
    prop_oneof![
        8 => reply,
        1 => proptest::collection::vec(any::<u8>(), 0..400).prop_map(Event::Bytes),
        6 => Just(Event::Tick),
        2 => any::<u32>().prop_map(Event::Wait),
        1 => Just(Event::CarrierUp),
        1 => Just(Event::CarrierDown),
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
