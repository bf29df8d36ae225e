//! The client on a bench: a clock that stands still until it is moved, and servers that say what they are told.

mod exchanges;
mod hostile;

use std::time::Duration;

use super::super::drive;
use super::super::message::{Options, fake, kind, option, status};
use super::*;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
const OTHER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x16);
const DNS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
const SERVER: &[u8] = b"first server";
const SECOND: &[u8] = b"second server";

/// A client with a clock, whose random numbers count up.
struct Bench {
    client: Client,
    now: Duration,
}

impl Bench {
    /// A client whose link is down.
    fn new() -> Self {
        Self {
            client: Client::new(MAC, Backoff::default(), drive::counting()),
            now: Duration::from_secs(1000),
        }
    }

    /// A client that has sent its first Solicit.
    fn soliciting() -> Self {
        let mut bench = Self::new();
        let actions = bench.link(true, Ask::Address);
        assert_eq!(sent(&actions), Some(kind::SOLICIT));
        bench
    }

    /// A client that has an address for an hour since now, T1 at 1000 s and T2 at 2000 s.
    fn bound() -> Self {
        let mut bench = Self::soliciting();
        let actions = bench.gives(SERVER, ADDRESS, 3600);
        assert!(
            matches!(actions.as_slice(), [Action::Acquired(_)]),
            "{actions:?}"
        );
        bench
    }

    fn link(&mut self, up: bool, ask: Ask) -> Vec<Action> {
        self.client.link(self.now, up, ask)
    }

    /// A server's message in the client's exchange.
    fn says(&mut self, kind: u8, server: &[u8], options: &[Vec<u8>]) -> Vec<Action> {
        let identity = Identity::of(MAC);
        let bytes = fake::reply(kind, self.client.xid, &identity, server, options);
        self.client.receive(self.now, &bytes)
    }

    fn offers(&mut self, server: &[u8], address: Ipv6Addr, preference: u8) -> Vec<Action> {
        let options = [
            given(address, 3600),
            fake::option(option::PREFERENCE, &[preference]),
        ];
        self.says(kind::ADVERTISE, server, &options)
    }

    fn gives(&mut self, server: &[u8], address: Ipv6Addr, valid: u32) -> Vec<Action> {
        let options = [
            given(address, valid),
            fake::option(option::RAPID_COMMIT, &[]),
            fake::option(option::DNS, &DNS.octets()),
        ];
        self.says(kind::REPLY, server, &options)
    }

    /// A Reply whose identity association has this status.
    fn refuses(&mut self, server: &[u8], code: u16) -> Vec<Action> {
        let association = association(&[fake::status(code)]);
        self.says(kind::REPLY, server, &[association])
    }

    /// Lets time pass until the next deadline.
    fn step(&mut self) -> Vec<Action> {
        if let Some(deadline) = self.client.deadline() {
            assert!(deadline > self.now, "a deadline that has passed");
            self.now = deadline;
        }
        self.client.tick(self.now)
    }
}

fn association(parts: &[Vec<u8>]) -> Vec<u8> {
    fake::association(Identity::of(MAC).iaid, 1000, 2000, parts)
}

fn given(address: Ipv6Addr, valid: u32) -> Vec<u8> {
    association(&[fake::address(address, valid, valid)])
}

/// The one message among the actions.
fn message(actions: &[Action]) -> Option<&[u8]> {
    let mut messages = actions.iter().filter_map(|action| match action {
        Action::Send(message) => Some(message.as_slice()),
        _ => None,
    });
    messages.next().filter(|_| messages.next().is_none())
}

/// Its kind.
fn sent(actions: &[Action]) -> Option<u8> {
    message(actions)?.first().copied()
}

/// The server that it is for.
fn addressed(actions: &[Action]) -> Option<&[u8]> {
    Options::read(message(actions)?.get(4..)?)?.get(option::SERVER_ID)
}

fn removed(address: Ipv6Addr, cause: Cause) -> Action {
    Action::Removed { address, cause }
}
