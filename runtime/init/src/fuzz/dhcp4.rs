//! DHCPv4: the client with time going by, and what a lease is made of.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tinyboot::status::Source;

use super::Input;
use crate::net::dhcp::client::{Action, Client, State};
use crate::net::dhcp::reply::{Reply, fake};
use crate::net::dhcp::{Backoff, Identity, Lease, is_host};
use crate::net::names::name;
use crate::net::resolv;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
const OTHER: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
const OFFER: u8 = 2;
const ACK: u8 = 5;
const NAK: u8 = 6;
/// Options that the client reads.
const OPTIONS: [u8; 17] = [
    33, 1, 3, 6, 12, 15, 26, 28, 42, 51, 54, 58, 59, 80, 119, 121, 52,
];

/// How many executions there were, and how many came beyond SELECTING.
static EXECUTIONS: AtomicU64 = AtomicU64::new(0);
static BEYOND: AtomicU64 = AtomicU64::new(0);

/// The live state machine. A step is a server's message that fits the client's last one, with options and fields of the input's; any
/// bytes; time; the next deadline; carrier; a conflict. After each of them: an address comes and goes in order and is one that a
/// host can have, it is gone when its time is over, few messages are sent and they are sound, and the next deadline lies ahead.
pub fn dhcp4(data: &[u8]) {
    let mut input = Input::new(data);
    let mut bench = Bench::new(input.byte());
    let mut beyond = false;
    for _ in 0..100 {
        if input.is_empty() {
            break;
        }
        bench.step(&mut input);
        beyond |= matches!(
            bench.client.state(),
            State::Requesting | State::Bound | State::Renewing | State::Rebinding
        );
    }
    count(beyond);
}

/// The live client of DHCPv6 in the same way: see [`drive`](crate::net::dhcp6::drive).
pub fn dhcp6(data: &[u8]) {
    crate::net::dhcp6::drive::drive(data);
}

/// Says now and again how many executions came beyond SELECTING: those that did not have tried little.
fn count(beyond: bool) {
    let beyond = BEYOND.fetch_add(beyond.into(), Ordering::Relaxed) + u64::from(beyond);
    let all = EXECUTIONS.fetch_add(1, Ordering::Relaxed) + 1;
    if all >= 4096 && (all.is_power_of_two() || all.is_multiple_of(1_000_000)) {
        let _ = std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{beyond} of {all} executions came beyond SELECTING\n").as_bytes(),
        );
    }
}

struct Bench {
    client: Client,
    now: Duration,
    carrier: bool,
    /// The transaction id of the last message.
    xid: u32,
    /// The address that the link has.
    address: Option<Ipv4Addr>,
}

impl Bench {
    fn new(mode: u8) -> Self {
        let mut random = u32::from(mode);
        let identity = Identity {
            mac: MAC,
            host_name: (mode & 2 != 0).then(|| "box".into()),
        };
        let next = move || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            random
        };
        let mut bench = Self {
            client: Client::new(identity, Backoff::default(), Box::new(next)),
            now: Duration::from_secs(1000),
            carrier: true,
            xid: 0,
            address: None,
        };
        if mode & 1 != 0 {
            bench.client.remember(ADDRESS);
        }
        let actions = bench.client.carrier_up(bench.now);
        bench.check(&actions);
        bench
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let actions = match input.byte() {
            // More often than not the exchange goes on.
            0..=159 => self.reply(input, false),
            160..=175 => self.reply(input, true),
            176..=183 => self.client.receive(self.now, input.piece()),
            184..=223 => {
                self.now = self.now.max(self.client.deadline().unwrap_or_default());
                Vec::new()
            }
            224..=239 => {
                self.now += Duration::from_millis(input.u32().into());
                Vec::new()
            }
            240..=245 => {
                self.carrier = false;
                self.client.carrier_down();
                Vec::new()
            }
            246..=251 => {
                self.carrier = true;
                self.client.carrier_up(self.now)
            }
            252..=255 => self.client.conflict(self.now),
        };
        self.check(&actions);
        let actions = self.client.tick(self.now);
        self.check(&actions);
        self.check_rest();
    }

    /// A server's message, and damage to its bytes if so wanted.
    fn reply(&mut self, input: &mut Input<'_>, damaged: bool) -> Vec<Action> {
        let expected = match self.client.state() {
            State::Selecting => OFFER,
            _ => ACK,
        };
        let (odd, number) = (input.byte(), input.byte());
        let kind = if odd & 0x0f == 0x0f {
            [OFFER, ACK, NAK, number]
                .get(usize::from(number % 4))
                .copied()
        } else {
            None
        };
        let mut other = |flag| (odd & flag == flag).then(|| input.u32());
        let address = other(0x30).map_or(ADDRESS, Ipv4Addr::from_bits);
        let server = other(0x50).map_or(
            if odd & 0x80 == 0 { SERVER } else { OTHER },
            Ipv4Addr::from_bits,
        );
        let xid = other(0x98).unwrap_or(self.xid);
        let mut options = vec![
            (53, vec![kind.unwrap_or(expected)]),
            (54, server.octets().to_vec()),
            (1, vec![255, 255, 255, 0]),
        ];
        let more = input.byte() % 6;
        for _ in 0..more {
            let code = OPTIONS.get(usize::from(input.byte()) % (OPTIONS.len() + 1));
            let code = code.copied().unwrap_or_else(|| input.byte());
            options.push((code, input.piece().to_vec()));
        }
        if !options.iter().any(|(code, _)| *code == 51) {
            let seconds = input.pick(3600_u32, &[1, 2, 60, 100_000, u32::MAX]);
            options.push((51, seconds.to_be_bytes().to_vec()));
        }
        let mut bytes = fake::reply(xid, MAC, address, &options);
        if damaged {
            input.damage(&mut bytes);
        }
        self.client.receive(self.now, &bytes)
    }

    /// What was done.
    fn check(&mut self, actions: &[Action]) {
        assert!(actions.len() <= 2, "{actions:?}");
        for action in actions {
            match action {
                Action::Acquired(lease) => {
                    assert_eq!(self.address.replace(lease.address), None);
                    check_lease(lease);
                }
                Action::Renewed(lease) => {
                    assert_eq!(self.address, Some(lease.address));
                    check_lease(lease);
                }
                Action::Removed { address, .. } => {
                    assert_eq!(self.address.take(), Some(*address));
                }
                Action::Broadcast { source, message } => {
                    assert!(source.is_unspecified() || Some(*source) == self.address);
                    self.sent(message);
                }
                Action::Unicast {
                    source,
                    server,
                    message,
                } => {
                    assert_eq!(Some(*source), self.address);
                    assert!(is_host(*server), "{server}");
                    self.sent(message);
                }
            }
        }
    }

    fn sent(&mut self, message: &[u8]) {
        assert!(self.carrier, "a message without a carrier");
        assert!((300..=576).contains(&message.len()), "{}", message.len());
        let xid = message.get(4..).and_then(|rest| rest.first_chunk());
        self.xid = xid.map_or(0, |octets| u32::from_be_bytes(*octets));
    }

    /// What holds at every time.
    fn check_rest(&self) {
        let lease = self.client.lease();
        assert_eq!(self.address, lease.map(|lease| lease.address));
        if lease.is_some_and(|lease| lease.times.lease.is_some()) {
            let left = self.client.left(self.now);
            assert!(
                left.is_some_and(|left| !left.is_zero()),
                "an address outlives its lease"
            );
        }
        let deadline = self.client.deadline();
        assert!(
            deadline.is_none_or(|at| at > self.now),
            "{deadline:?} is over at {:?}",
            self.now
        );
        if self.client.listens() {
            assert!(deadline.is_some(), "{} waits for ever", self.client.state());
        }
    }
}

/// A reply's bytes to a lease: all of the message is the input's, or all behind a good header. What a lease says can be put into the
/// kernel and into resolv.conf without harm.
pub fn lease(data: &[u8]) {
    let mut input = Input::new(data);
    let reply = if input.seldom(4) {
        Reply::decode(input.rest(), MAC)
    } else {
        let yiaddr = if input.seldom(4) {
            input.u32()
        } else {
            ADDRESS.to_bits()
        };
        let mut message = fake::reply(
            1,
            MAC,
            yiaddr.into(),
            &[(53, vec![ACK]), (51, vec![0, 0, 1, 0])],
        );
        let (sname, file) = (input.piece(), input.piece());
        super::input::put(message.get_mut(44..108).unwrap_or_default(), 0, sname);
        super::input::put(message.get_mut(108..236).unwrap_or_default(), 0, file);
        message.pop();
        message.extend_from_slice(input.rest());
        Reply::decode(&message, MAC)
    };
    let Some(lease) = reply.and_then(|reply| Lease::from_reply(&reply, Some(SERVER))) else {
        return;
    };
    check_lease(&lease);
    let given = resolv::Given {
        link: "eth0".into(),
        host_name: lease.host_name.clone(),
        servers: lease
            .dns
            .iter()
            .map(|it| (IpAddr::V4(*it), Source::Dhcp))
            .collect(),
        domains: lease
            .domains()
            .iter()
            .map(|it| (it.clone(), Source::Dhcp))
            .collect(),
    };
    let links = [(1, given)].into();
    for line in resolv::text(&resolv::merge(&links)).lines().skip(1) {
        let (word, rest) = line.split_once(' ').unwrap_or_default();
        match word {
            "search" => assert!(rest.split(' ').all(|it| name(it).is_some()), "{line:?}"),
            "nameserver" => assert!(rest.parse::<Ipv4Addr>().is_ok(), "{line:?}"),
            _ => assert_eq!(line, ""),
        }
    }
    let host = resolv::host_name(None, &links, "image");
    assert!((1..=64).contains(&host.len()), "{host:?}");
}

fn check_lease(lease: &Lease) {
    assert!(is_host(lease.address), "{lease:?}");
    assert!((1..=32).contains(&lease.prefix), "{lease:?}");
    assert!(is_host(lease.server), "{lease:?}");
    assert!(
        lease.broadcast.is_none_or(|it| lease.on_link(it)),
        "{lease:?}"
    );
    assert!(lease.routes.len() <= 64, "{lease:?}");
    for route in &lease.routes {
        assert!(route.prefix <= 32, "{route:?}");
        let host = u32::MAX.checked_shr(route.prefix.into()).unwrap_or(0);
        assert_eq!(route.destination.to_bits() & host, 0, "{route:?}");
        assert!(
            route
                .gateway
                .is_none_or(|it| is_host(it) && it != lease.address),
            "{route:?}"
        );
    }
    for list in [&lease.dns, &lease.ntp] {
        assert!(
            list.len() <= 16 && list.iter().all(|it| is_host(*it)),
            "{list:?}"
        );
    }
    assert!(lease.search.len() <= 32, "{lease:?}");
    for text in lease
        .search
        .iter()
        .chain(&lease.domain)
        .chain(&lease.host_name)
    {
        assert_eq!(name(text).as_ref(), Some(text));
    }
    assert!(lease.mtu.is_none_or(|mtu| mtu >= 576), "{lease:?}");
    let times = lease.times;
    assert!(
        !times.renew.is_zero() && times.renew < times.rebind,
        "{times:?}"
    );
    assert!(
        times.lease.is_none_or(|end| times.rebind < end),
        "{times:?}"
    );
}
