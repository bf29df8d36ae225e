//! The client driven by bytes, for property tests and fuzzing: what happens next, the servers' messages and the passing of time
//! are all in them. What must hold whatever happens is asserted after each step.

#![allow(clippy::panic, reason = "a broken promise is what this is to find")]

use std::net::Ipv6Addr;
use std::time::Duration;

use super::super::dhcp::Backoff;
use super::client::{Action, Ask, Client};
use super::message::{Identity, fake, kind, option};

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);

/// Numbers that count up, in the place of random ones.
pub fn counting() -> Box<dyn FnMut() -> u32 + Send> {
    let mut count = 0_u32;
    Box::new(move || {
        count = count.wrapping_add(1);
        count
    })
}

/// Bytes from the front of the input; zeros when there are no more.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    /// A number that is small, large or a special one.
    fn number(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..=199 => byte.into(),
            byte @ 200..=249 => u32::from(byte) << (self.byte() % 24),
            _ => u32::MAX,
        }
    }

    fn bytes(&mut self, most: u8) -> Vec<u8> {
        let length = self.byte() % (most + 1);
        (0..length).map(|_| self.byte()).collect()
    }

    fn address(&mut self) -> Ipv6Addr {
        match self.byte() % 8 {
            0 => Ipv6Addr::from_bits(u128::from(self.byte()) << (self.byte() % 128)),
            1 => Ipv6Addr::from_bits(ADDRESS.to_bits() + 1),
            _ => ADDRESS,
        }
    }

    fn server(&mut self) -> Vec<u8> {
        match self.byte() % 8 {
            0 => self.bytes(140),
            1 => b"another server".to_vec(),
            _ => b"server".to_vec(),
        }
    }

    /// Something that may be in an identity association, or beside it.
    fn option(&mut self) -> Vec<u8> {
        match self.byte() % 16 {
            0 => fake::status(u16::from(self.byte() % 8)),
            1 => {
                let code = u16::from(self.byte());
                fake::option(code, &self.bytes(40))
            }
            2 => self.bytes(8),
            3 => fake::option(option::RAPID_COMMIT, &[]),
            4 => fake::option(option::PREFERENCE, &[self.byte()]),
            5 => {
                let code = if self.byte().is_multiple_of(2) {
                    option::SOL_MAX_RT
                } else {
                    option::REFRESH_TIME
                };
                fake::number(code, self.number())
            }
            _ => {
                let address = self.address();
                let (preferred, valid) = (self.number(), self.number());
                fake::address(address, preferred, valid)
            }
        }
    }

    fn options(&mut self) -> Vec<Vec<u8>> {
        (0..self.byte() % 4).map(|_| self.option()).collect()
    }

    /// A server's message in the exchange `xid`.
    fn reply(&mut self, xid: u32) -> Vec<u8> {
        let kind = if self.byte().is_multiple_of(2) {
            kind::REPLY
        } else {
            kind::ADVERTISE
        };
        let identity = Identity::of(MAC);
        let server = self.server();
        let t1 = self.number();
        let t2 = match self.byte() % 8 {
            0 => self.number(),
            _ => t1.saturating_add(self.number()),
        };
        let mut options = self.options();
        let valid = 1 + self.number() / 2;
        options.push(fake::address(self.address(), valid, valid));
        let mut all = vec![fake::association(identity.iaid, t1, t2, &options)];
        all.extend(self.options());
        if !self.byte().is_multiple_of(4) {
            all.push(fake::option(option::RAPID_COMMIT, &[]));
        }
        fake::reply(kind, xid, &identity, &server, &all)
    }
}

/// Drives a client until the input is used up. True if it had an address at some time.
///
/// # Panics
///
/// When the client does what it must not.
pub fn drive(input: &[u8]) -> bool {
    let mut input = Input(input);
    let mut now = Duration::from_secs(1000);
    let mut client = Client::new(MAC, Backoff::default(), counting());
    let mut up = true;
    let mut address = None;
    let mut has_settings = false;
    let mut reached = false;
    let first = client.link(now, true, Ask::Address);
    assert!(matches!(first.as_slice(), [Action::Send(_)]), "{first:?}");
    while !input.0.is_empty() {
        let step = match input.byte() % 16 {
            0..=6 => {
                let reply = input.reply(client.exchange());
                client.receive(now, &reply)
            }
            7 => client.receive(now, &input.bytes(u8::MAX - 1)),
            8..=11 => {
                now = client.deadline().map_or(now, |deadline| deadline.max(now));
                client.tick(now)
            }
            12 => {
                now += Duration::from_millis(input.number().into());
                client.tick(now)
            }
            13 => client.conflict(now),
            _ => {
                up = !input.byte().is_multiple_of(4);
                let ask = match input.byte() % 4 {
                    0 => Ask::Nothing,
                    1 => Ask::Settings,
                    _ => Ask::Address,
                };
                client.link(now, up, ask)
            }
        };
        let actions: Vec<Action> = step.into_iter().chain(client.tick(now)).collect();
        assert!(actions.len() <= 6, "{actions:?}");
        for action in actions {
            match action {
                Action::Send(message) => {
                    assert!(up && message.len() <= 256, "{message:?}");
                    let read = super::message::Options::read(message.get(4..).unwrap_or_default());
                    assert!(read.is_some(), "{message:?}");
                }
                Action::Acquired(lease) => {
                    assert_eq!(address, None);
                    address = lease.held.map(|held| held.address);
                    has_settings = true;
                    assert!(address.is_some_and(|it| super::message::can_be_given(&it)));
                    reached = true;
                }
                Action::Renewed(lease) | Action::Confirmed(lease) => {
                    assert_eq!(address, lease.held.map(|held| held.address));
                    assert!(address.is_some());
                }
                Action::Informed(lease) => {
                    assert!(lease.held.is_none() && address.is_none());
                    has_settings = true;
                }
                Action::Forgotten => {
                    assert!(address.is_none() && std::mem::take(&mut has_settings));
                }
                Action::Removed { address: gone, .. } => {
                    assert_eq!(address.take(), Some(gone));
                    has_settings = false;
                }
            }
        }
        assert_eq!(address, client.held().map(|held| held.address));
        assert_eq!(has_settings, client.lease().is_some());
        // Nothing is due any longer once a tick has passed, so that the caller never spins.
        assert!(client.deadline().is_none_or(|deadline| deadline > now));
        assert!(
            !client.listens() || client.deadline().is_some(),
            "it waits for ever"
        );
        assert!(!client.listens() || up);
    }
    reached
}
