//! The parts of a server's message that we read (RFC 2131, section 2; RFC 2132; RFC 3396).

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use super::message::{COOKIE, kind, option};

/// Of a list of addresses no more are read; nobody asks so many resolvers.
const MOST_ADDRESSES: usize = 16;
/// The longest value of one option.
const LONGEST: usize = 255;

/// What a server said to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// OFFER, ACK or NAK.
    pub kind: u8,
    /// Transaction id.
    pub xid: u32,
    /// The address for the client.
    pub yiaddr: Ipv4Addr,
    /// An option's values, one for each time that it came.
    options: BTreeMap<u8, Vec<Vec<u8>>>,
}

impl Reply {
    /// Reads a reply for the client `mac`. `None` is a message that is malformed or cut, for another client, or of a kind
    /// that servers do not send to clients.
    pub fn decode(bytes: &[u8], mac: [u8; 6]) -> Option<Self> {
        // Op, hardware type and address length of a BOOTREPLY by Ethernet.
        let for_us = bytes.get(..3)? == [2, 1, 6] && bytes.get(28..34)? == mac;
        if !for_us || bytes.get(236..240)? != COOKIE {
            return None;
        }
        let mut options = BTreeMap::new();
        collect(bytes.get(240..)?, &mut options)?;
        // Option 52: the header's `file` and `sname` fields hold options too, read in this order (RFC 2131, 4.1).
        let overload = options
            .get(&option::OVERLOAD)
            .and_then(|values| values.first()?.first().copied())
            .unwrap_or(0);
        if overload & 1 != 0 {
            collect(bytes.get(108..236)?, &mut options)?;
        }
        if overload & 2 != 0 {
            collect(bytes.get(44..108)?, &mut options)?;
        }
        let mut kinds = options.get(&option::KIND)?.iter();
        let first = kinds.next()?;
        // One that is two kinds at once is neither.
        let kind = match first.as_slice() {
            _ if kinds.any(|other| other != first) => return None,
            [kind @ (kind::OFFER | kind::ACK | kind::NAK)] => *kind,
            _ => return None,
        };
        Some(Self {
            kind,
            xid: u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?),
            yiaddr: Ipv4Addr::from(*bytes.get(16..)?.first_chunk::<4>()?),
            options,
        })
    }

    fn values(&self, code: u8) -> &[Vec<u8>] {
        self.options.get(&code).map_or(&[], Vec::as_slice)
    }

    /// True if the option came, whatever its value is.
    pub fn has(&self, code: u8) -> bool {
        !self.values(code).is_empty()
    }

    /// All values of an option one after the other, as RFC 3396 has it for lists. A value that came again counts once.
    pub fn joined(&self, code: u8) -> Vec<u8> {
        let values = self.values(code);
        let new = |(at, value): &(usize, &Vec<u8>)| !values.iter().take(*at).any(|it| it == *value);
        let once = values.iter().enumerate().filter(new);
        once.flat_map(|(_, value)| value).copied().collect()
    }

    /// An option of so many bytes. Of several the first one counts, as in most clients. One that was split is joined.
    pub fn bytes<const N: usize>(&self, code: u8) -> Option<[u8; N]> {
        let whole = |value: &Vec<u8>| value.as_slice().try_into().ok();
        let values = self.values(code);
        let mut found = values.iter().filter_map(whole);
        found.next().or_else(|| values.concat().try_into().ok())
    }

    /// An option that is one number.
    pub fn number(&self, code: u8) -> Option<u32> {
        self.bytes(code).map(u32::from_be_bytes)
    }

    /// An option that is one address.
    pub fn address(&self, code: u8) -> Option<Ipv4Addr> {
        self.bytes::<4>(code).map(Ipv4Addr::from)
    }

    /// An option that is a list of addresses, each once; those that no host can have are left out. An option of a wrong
    /// length is as if it were not there.
    pub fn addresses(&self, code: u8) -> Vec<Ipv4Addr> {
        let bytes = self.joined(code);
        let (chunks, rest) = bytes.as_chunks::<4>();
        let mut addresses = Vec::new();
        for address in chunks.iter().map(|octets| Ipv4Addr::from(*octets)) {
            let new = is_host(address) && !addresses.contains(&address);
            if new && rest.is_empty() && addresses.len() < MOST_ADDRESSES {
                addresses.push(address);
            }
        }
        addresses
    }

    /// The values of an option that is text, without the zero bytes that some servers end it with.
    pub fn texts(&self, code: u8) -> impl Iterator<Item = &str> {
        let texts = self.values(code).iter();
        let texts = texts.filter_map(|value| std::str::from_utf8(value).ok());
        texts.map(|text| text.trim_end_matches('\0'))
    }
}

/// Adds the options of one field, up to its end mark. `None` if one is cut. A value goes on in the next option of the same
/// code if one option was too short for it, or the field before (RFC 3396). Any other option that comes again is another
/// value: some servers send one twice.
fn collect(mut field: &[u8], options: &mut BTreeMap<u8, Vec<Vec<u8>>>) -> Option<()> {
    let mut before: BTreeSet<u8> = options.keys().copied().collect();
    while let Some((code, rest)) = field
        .split_first()
        .filter(|(code, _)| **code != option::END)
    {
        field = rest;
        if *code == option::PAD {
            continue;
        }
        let (length, rest) = rest.split_first()?;
        let (data, rest) = rest.split_at_checked((*length).into())?;
        field = rest;
        let values = options.entry(*code).or_default();
        let full = |value: &&mut Vec<u8>| !value.is_empty() && value.len().is_multiple_of(LONGEST);
        let continued = before.remove(code);
        match values.last_mut().filter(|value| continued || full(value)) {
            Some(value) => value.extend_from_slice(data),
            None => values.push(data.to_vec()),
        }
    }
    Some(())
}

/// True for an address that a host can have: not `0.0.0.0/8`, loopback, multicast, reserved or broadcast.
pub fn is_host(address: Ipv4Addr) -> bool {
    !matches!(address.octets(), [0 | 127 | 224..=255, ..])
}

/// What tests send as a server.
#[cfg(any(test, fuzzing))]
pub mod fake {
    use super::*;

    /// A reply's bytes, with `options` as they are.
    pub fn reply(xid: u32, mac: [u8; 6], yiaddr: Ipv4Addr, options: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = vec![2, 1, 6, 0];
        bytes.extend_from_slice(&xid.to_be_bytes());
        bytes.resize(16, 0);
        bytes.extend_from_slice(&yiaddr.octets());
        bytes.resize(28, 0);
        bytes.extend_from_slice(&mac);
        bytes.resize(236, 0);
        bytes.extend_from_slice(&COOKIE);
        for (code, value) in options {
            if value.is_empty() {
                bytes.extend_from_slice(&[*code, 0]);
            }
            for part in value.chunks(255) {
                bytes.push(*code);
                bytes.push(u8::try_from(part.len()).unwrap_or(0));
                bytes.extend_from_slice(part);
            }
        }
        bytes.push(255);
        bytes
    }
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const YIADDR: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

    #[test]
    fn replies_for_others_are_not_ours() {
        let offer = fake::reply(1, MAC, YIADDR, &[(53, vec![2])]);
        assert!(Reply::decode(&offer, MAC).is_some());
        assert!(Reply::decode(&offer, [0; 6]).is_none());
        for (offset, value) in [(0, 1), (1, 6), (2, 5), (236, 0), (242, 1)] {
            let mut changed = offer.clone();
            if let Some(byte) = changed.get_mut(offset) {
                *byte = value;
            }
            assert!(Reply::decode(&changed, MAC).is_none(), "byte {offset}");
        }
    }

    #[test]
    fn parts_of_one_option_are_joined() {
        let long = vec![b'a'; 300];
        let reply = Reply::decode(
            &fake::reply(1, MAC, YIADDR, &[(53, vec![5]), (15, long)]),
            MAC,
        );
        assert_eq!(
            reply.map(|reply| reply.texts(option::DOMAIN).map(str::len).collect()),
            Some(vec![300])
        );
    }

    #[test]
    fn an_option_that_comes_again_counts_once() {
        let hour = 3600_u32.to_be_bytes().to_vec();
        let once = [
            (53, vec![5]),
            (54, vec![10, 0, 2, 2]),
            (51, hour),
            (1, vec![255, 255, 0, 0]),
            (3, vec![10, 0, 2, 2]),
            (6, vec![10, 0, 2, 3, 10, 0, 2, 4]),
            (26, vec![5, 0]),
            (12, b"box".to_vec()),
            (121, vec![0, 10, 0, 2, 2]),
        ];
        let twice: Vec<_> = once.iter().chain(&once).cloned().collect();
        let read = |options: &[(u8, Vec<u8>)]| {
            let reply = Reply::decode(&fake::reply(1, MAC, YIADDR, options), MAC);
            reply.map(|reply| {
                let codes = [option::ROUTER, option::DNS];
                (
                    reply.kind,
                    reply.number(option::LEASE_TIME),
                    reply.address(option::SERVER_ID),
                    reply.address(option::SUBNET_MASK),
                    codes.map(|code| reply.addresses(code)),
                    reply.bytes::<2>(option::MTU),
                    reply.texts(option::HOST_NAME).next().map(str::to_owned),
                    reply.joined(option::CLASSLESS_ROUTES),
                )
            })
        };
        assert!(read(&once).is_some());
        assert_eq!(read(&twice), read(&once));
    }

    #[test]
    fn of_contradictions_the_first_value_counts_but_a_message_is_of_one_kind() {
        let options = [
            (53, vec![5]),
            (51, vec![0, 0, 0, 60]),
            (51, vec![0, 0, 1, 0]),
            (1, vec![255; 3]),
            (1, vec![255, 255, 255, 0]),
        ];
        let reply = Reply::decode(&fake::reply(1, MAC, YIADDR, &options), MAC);
        let Some(reply) = reply else {
            panic!("no reply")
        };
        assert_eq!(reply.number(option::LEASE_TIME), Some(60));
        let mask = reply.address(option::SUBNET_MASK);
        assert_eq!(mask, Some(Ipv4Addr::new(255, 255, 255, 0)));
        for (first, second) in [(5, 6), (2, 5)] {
            let kinds = [(53, vec![first]), (53, vec![second])];
            let bytes = fake::reply(1, MAC, YIADDR, &kinds);
            assert_eq!(Reply::decode(&bytes, MAC), None);
        }
    }

    #[test]
    fn a_value_goes_on_in_the_next_field() {
        let options = [(53, vec![5]), (52, vec![1]), (15, b"corp.exa".to_vec())];
        let mut bytes = fake::reply(1, MAC, YIADDR, &options);
        let rest = b"\x0f\x04mple\xff";
        if let Some(file) = bytes.get_mut(108..108 + rest.len()) {
            file.copy_from_slice(rest);
        }
        let reply = Reply::decode(&bytes, MAC);
        let names = reply.map(|reply| {
            let texts = reply.texts(option::DOMAIN).map(str::to_owned);
            texts.collect::<Vec<_>>()
        });
        assert_eq!(names, Some(vec!["corp.example".to_owned()]));
    }

    #[test]
    fn overloaded_fields_hold_options() {
        let mut bytes = fake::reply(1, MAC, YIADDR, &[(53, vec![5]), (52, vec![3])]);
        for (offset, byte) in [
            (108, 26),
            (109, 2),
            (110, 5),
            (111, 0xdc),
            (112, 255),
            (44, 12),
            (45, 1),
            (46, b'x'),
            (47, 255),
        ] {
            if let Some(place) = bytes.get_mut(offset) {
                *place = byte;
            }
        }
        let Some(reply) = Reply::decode(&bytes, MAC) else {
            panic!("no reply")
        };
        assert_eq!(reply.bytes(option::MTU), Some([5, 0xdc]));
        assert_eq!(reply.texts(option::HOST_NAME).next(), Some("x"));
    }

    #[test]
    fn values_of_a_wrong_length_are_not_there() {
        let bytes = fake::reply(
            1,
            MAC,
            YIADDR,
            &[
                (53, vec![5]),
                (51, vec![0, 1]),
                (3, vec![1; 5]),
                (1, vec![255; 3]),
            ],
        );
        let Some(reply) = Reply::decode(&bytes, MAC) else {
            panic!("no reply")
        };
        assert_eq!(reply.number(option::LEASE_TIME), None);
        assert!(reply.addresses(option::ROUTER).is_empty());
        assert_eq!(reply.address(option::SUBNET_MASK), None);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(header in proptest::collection::vec(any::<u8>(), 0..300), rest in proptest::collection::vec(any::<u8>(), 0..700)) {
            let _ = Reply::decode(&header, MAC);
            let mut bytes = fake::reply(1, MAC, YIADDR, &[(53, vec![5])]);
            bytes.pop();
            bytes.extend_from_slice(&rest);
            if let Some(reply) = Reply::decode(&bytes, MAC) {
                for code in 0..=255_u8 {
                    let _ = (reply.number(code), reply.address(code), reply.addresses(code), reply.texts(code).count());
                }
            }
        }
    }
}
