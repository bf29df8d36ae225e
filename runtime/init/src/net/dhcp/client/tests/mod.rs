//! The client on a bench: a clock that stands still until it is moved, and a server that says what it is told.

mod hostile;
mod keeping;
mod obtaining;
mod properties;
mod servers;
mod storm;

use dhcproto::v4::{MessageType, OptionCode};

use super::*;
use crate::net::dhcp::reply::fake;

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
        let identity = Identity {
            mac: MAC,
            host_name: None,
        };
        Self {
            client: Client::new(identity, Backoff::default(), random),
            now: Duration::from_secs(1000),
        }
    }

    /// A client that has a lease of an hour since now.
    fn bound() -> Self {
        let mut bench = Self::new();
        bench.client.carrier_up(bench.now);
        bench.reply(OFFER, ADDRESS, SERVER, &[]);
        let actions = bench.reply(ACK, ADDRESS, SERVER, &[]);
        assert!(
            matches!(actions.as_slice(), [Action::Acquired(_)]),
            "{actions:?}"
        );
        bench
    }

    fn state(&self) -> State {
        self.client.state()
    }

    /// A server's message in the client's transaction, for a lease of an hour.
    fn reply(
        &mut self,
        kind: u8,
        address: Ipv4Addr,
        server: Ipv4Addr,
        more: &[(u8, Vec<u8>)],
    ) -> Vec<Action> {
        let mut options = vec![
            (53, vec![kind]),
            (54, server.octets().to_vec()),
            (1, vec![255, 255, 255, 0]),
        ];
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
            assert!(
                deadline > self.now,
                "a deadline that has passed: {deadline:?} at {:?}",
                self.now
            );
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
        Action::Broadcast { message, .. } | Action::Unicast { message, .. } => {
            Some((action, message))
        }
        _ => None,
    });
    let (action, message) = messages.next().filter(|_| messages.next().is_none())?;
    let mut decoder = dhcproto::Decoder::new(message);
    Some((
        action,
        <dhcproto::v4::Message as dhcproto::Decodable>::decode(&mut decoder).ok()?,
    ))
}

fn kind(actions: &[Action]) -> Option<MessageType> {
    sent(actions)?.1.opts().msg_type()
}

fn requested(actions: &[Action]) -> Option<Ipv4Addr> {
    match sent(actions)?
        .1
        .opts()
        .get(OptionCode::RequestedIpAddress)?
    {
        dhcproto::v4::DhcpOption::RequestedIpAddress(address) => Some(*address),
        _ => None,
    }
}

fn removed(cause: Cause) -> Action {
    Action::Removed {
        address: ADDRESS,
        cause,
    }
}
