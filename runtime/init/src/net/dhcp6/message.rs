//! DHCPv6 messages: those that we send, and the parts of a reply that we read (RFC 8415, sections 8 and 21).
//!
//! The bytes are read and written here. What dhcproto 0.15 has for them draws a transaction id from a source that blocks
//! early in a boot, whoever names the id; takes a message that is cut for a whole one, up to the cut; and brings a library for
//! DNS names. Tests take it for a second opinion.

use std::net::Ipv6Addr;

use super::super::ipv6::options::is_host;

/// Kinds of messages (section 7.3).
pub mod kind {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const SOLICIT: u8 = 1;
    pub const ADVERTISE: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const CONFIRM: u8 = 4;
    pub const RENEW: u8 = 5;
    pub const REBIND: u8 = 6;
    pub const REPLY: u8 = 7;
    pub const DECLINE: u8 = 9;
    pub const INFORMATION_REQUEST: u8 = 11;
}

/// Options (section 21; RFC 3646, RFC 4075, RFC 5908, RFC 7083).
pub mod option {
    #![allow(missing_docs, reason = "the RFCs' names")]
    pub const CLIENT_ID: u16 = 1;
    pub const SERVER_ID: u16 = 2;
    pub const IA_NA: u16 = 3;
    pub const IA_ADDRESS: u16 = 5;
    pub const WANTED: u16 = 6;
    pub const PREFERENCE: u16 = 7;
    pub const ELAPSED_TIME: u16 = 8;
    pub const STATUS: u16 = 13;
    pub const RAPID_COMMIT: u16 = 14;
    pub const DNS: u16 = 23;
    pub const SEARCH: u16 = 24;
    pub const SNTP: u16 = 31;
    pub const REFRESH_TIME: u16 = 32;
    pub const NTP: u16 = 56;
    pub const SOL_MAX_RT: u16 = 82;
    pub const INF_MAX_RT: u16 = 83;
}

/// Status codes (section 21.13).
pub mod status {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const SUCCESS: u16 = 0;
    pub const NO_ADDRS_AVAIL: u16 = 2;
    pub const NO_BINDING: u16 = 3;
    pub const NOT_ON_LINK: u16 = 4;
}

/// A server's identifier: two bytes of type and at most 128 more (section 11.1).
const LONGEST_DUID: usize = 130;
/// Of a list of addresses no more are read; nobody asks so many resolvers.
const MOST_ADDRESSES: usize = 16;

/// What every message of one client says about it. Both values come from the hardware address, so that they are the same
/// at each boot without storage, and it is what a server's operator knows of a virtual machine. A machine's UUID would do
/// for the first one, but not every machine has one, and some have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A DUID-LL (section 11.4) of an Ethernet address.
    pub duid: [u8; 10],
    /// The identity association's number (section 12): one link has one.
    pub iaid: u32,
}

impl Identity {
    /// That of the link with this hardware address.
    pub fn of(mac: [u8; 6]) -> Self {
        let [a, b, c, d, e, f] = mac;
        Self {
            duid: [0, 3, 0, 1, a, b, c, d, e, f],
            iaid: u32::from_be_bytes([c, d, e, f]),
        }
    }
}

/// The parts in which one request differs from another.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// One of [`kind`].
    pub kind: u8,
    /// Transaction id, of which 24 bits count.
    pub xid: u32,
    /// Hundredths of a second since the exchange began.
    pub elapsed: u16,
    /// Whether an identity association is there, and with which address.
    pub association: Option<Option<Ipv6Addr>>,
    /// The server that is meant; any if there is none.
    pub server: Option<&'a [u8]>,
    /// Asks for an address without an Advertise (section 21.14).
    pub rapid: bool,
}

/// The bytes of a message.
pub fn encode(identity: &Identity, request: &Request<'_>) -> Vec<u8> {
    let [_, a, b, c] = request.xid.to_be_bytes();
    let mut bytes = vec![request.kind, a, b, c];
    put(&mut bytes, option::CLIENT_ID, &identity.duid);
    if let Some(server) = request.server {
        put(&mut bytes, option::SERVER_ID, server);
    }
    put(
        &mut bytes,
        option::ELAPSED_TIME,
        &request.elapsed.to_be_bytes(),
    );
    let wanted: &[u16] = match request.kind {
        kind::INFORMATION_REQUEST => &[
            option::DNS,
            option::SEARCH,
            option::NTP,
            option::SNTP,
            option::REFRESH_TIME,
            option::INF_MAX_RT,
        ],
        kind::CONFIRM | kind::DECLINE => &[],
        _ => &[
            option::DNS,
            option::SEARCH,
            option::NTP,
            option::SNTP,
            option::SOL_MAX_RT,
        ],
    };
    if !wanted.is_empty() {
        let codes: Vec<u8> = wanted.iter().flat_map(|code| code.to_be_bytes()).collect();
        put(&mut bytes, option::WANTED, &codes);
    }
    if request.rapid {
        put(&mut bytes, option::RAPID_COMMIT, &[]);
    }
    if let Some(address) = request.association {
        // T1, T2 and the lifetimes are the server's to choose: zero (sections 21.4 and 21.6).
        let mut association = identity.iaid.to_be_bytes().to_vec();
        association.extend_from_slice(&[0; 8]);
        if let Some(address) = address {
            let mut value = address.octets().to_vec();
            value.extend_from_slice(&[0; 8]);
            put(&mut association, option::IA_ADDRESS, &value);
        }
        put(&mut bytes, option::IA_NA, &association);
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, code: u16, value: &[u8]) {
    // Ours are short, and a server's identifier has a limit.
    let length = u16::try_from(value.len()).unwrap_or(0);
    bytes.extend_from_slice(&code.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(value);
}

/// Options, one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options<'a>(&'a [u8]);

impl<'a> Options<'a> {
    /// `None` if one is cut.
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, _, rest) = first(rest)?;
        }
        Some(Self(bytes))
    }

    /// The values of the options with a code.
    pub fn all(self, code: u16) -> impl Iterator<Item = &'a [u8]> {
        let mut rest = self.0;
        let options = std::iter::from_fn(move || {
            let (code, value, after) = first(rest)?;
            rest = after;
            Some((code, value))
        });
        options
            .filter(move |(other, _)| *other == code)
            .map(|(_, value)| value)
    }

    /// The value of the first option with a code. Of those that may be there only once, the others are ignored.
    pub fn get(self, code: u16) -> Option<&'a [u8]> {
        self.all(code).next()
    }

    /// An option that is one number.
    pub fn number(self, code: u16) -> Option<u32> {
        Some(u32::from_be_bytes(self.get(code)?.try_into().ok()?))
    }

    /// The status, which is success where none is said (section 21.13).
    pub fn status(self) -> u16 {
        let said = self.get(option::STATUS).and_then(|it| it.first_chunk());
        said.map_or(status::SUCCESS, |code| u16::from_be_bytes(*code))
    }

    /// The addresses of an option that is a list of them, those that a host can have, each once. Some servers send an option
    /// for each. One of a wrong length is as if it were not there.
    pub fn addresses(self, code: u16) -> Vec<Ipv6Addr> {
        let mut addresses = Vec::new();
        for value in self.all(code) {
            let (chunks, rest) = value.as_chunks::<16>();
            for address in chunks.iter().map(|octets| Ipv6Addr::from(*octets)) {
                let new = is_host(&address) && !addresses.contains(&address);
                if new && rest.is_empty() && addresses.len() < MOST_ADDRESSES {
                    addresses.push(address);
                }
            }
        }
        addresses
    }

    /// Time servers: the addresses of RFC 5908, else those of RFC 4075. Names and multicast are not used.
    pub fn time_servers(self) -> Vec<Ipv6Addr> {
        const ADDRESS: u16 = 1;
        // One to an option, says the RFC; some servers put all into one.
        let parts = self.all(option::NTP).filter_map(Options::read);
        let octets = parts.flat_map(|parts| parts.all(ADDRESS));
        let octets = octets.filter_map(|octets| <[u8; 16]>::try_from(octets).ok());
        let servers = octets.map(Ipv6Addr::from).filter(is_host);
        let servers: Vec<Ipv6Addr> = servers.take(MOST_ADDRESSES).collect();
        if servers.is_empty() {
            return self.addresses(option::SNTP);
        }
        servers
    }
}

/// The code and the value of the first option, and what follows it.
fn first(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (code, rest) = bytes.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    Some((u16::from_be_bytes(*code), value, rest))
}

/// What a server said to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply<'a> {
    /// True for an Advertise, false for a Reply.
    pub advertise: bool,
    /// Transaction id.
    pub xid: u32,
    /// Who says it.
    pub server: &'a [u8],
    /// All options.
    pub options: Options<'a>,
}

impl<'a> Reply<'a> {
    /// Reads a reply for the client. `None` is a message that is malformed, for another client, of nobody, or of a kind
    /// that servers do not send to clients unasked (section 16).
    pub fn decode(bytes: &'a [u8], identity: &Identity) -> Option<Self> {
        let ([kind, a, b, c], rest) = bytes.split_first_chunk::<4>()?;
        let options = Options::read(rest)?;
        let server = options.get(option::SERVER_ID)?;
        let possible = (3..=LONGEST_DUID).contains(&server.len());
        if options.get(option::CLIENT_ID)? != identity.duid || !possible {
            return None;
        }
        Some(Self {
            advertise: match *kind {
                kind::ADVERTISE => true,
                kind::REPLY => false,
                _ => return None,
            },
            xid: u32::from_be_bytes([0, *a, *b, *c]),
            server,
            options,
        })
    }

    /// How much a server wants to be taken (section 21.8).
    pub fn preference(&self) -> u8 {
        match self.options.get(option::PREFERENCE) {
            Some([preference]) => *preference,
            _ => 0,
        }
    }
}

/// True for an address that a link can be given: not unspecified, loopback, multicast, of the link alone, or IPv4's.
pub fn can_be_given(address: &Ipv6Addr) -> bool {
    is_host(address) && !address.is_unicast_link_local()
}

/// What tests send as a server.
#[cfg(any(test, fuzzing))]
pub mod fake {
    use super::*;

    /// An option's bytes.
    pub fn option(code: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, code, value);
        bytes
    }

    /// An option that is one number.
    pub fn number(code: u16, value: u32) -> Vec<u8> {
        option(code, &value.to_be_bytes())
    }

    /// A status.
    pub fn status(code: u16) -> Vec<u8> {
        option(option::STATUS, &code.to_be_bytes())
    }

    /// An address with its preferred and valid lifetimes.
    pub fn address(address: Ipv6Addr, preferred: u32, valid: u32) -> Vec<u8> {
        let mut value = address.octets().to_vec();
        value.extend_from_slice(&preferred.to_be_bytes());
        value.extend_from_slice(&valid.to_be_bytes());
        option(option::IA_ADDRESS, &value)
    }

    /// An identity association with what is in it.
    pub fn association(iaid: u32, t1: u32, t2: u32, parts: &[Vec<u8>]) -> Vec<u8> {
        let mut value = [iaid, t1, t2].map(u32::to_be_bytes).concat();
        value.extend_from_slice(&parts.concat());
        option(option::IA_NA, &value)
    }

    /// A server's message to the client.
    pub fn reply(
        kind: u8,
        xid: u32,
        identity: &Identity,
        server: &[u8],
        options: &[Vec<u8>],
    ) -> Vec<u8> {
        let [_, a, b, c] = xid.to_be_bytes();
        let mut bytes = vec![kind, a, b, c];
        put(&mut bytes, option::CLIENT_ID, &identity.duid);
        put(&mut bytes, option::SERVER_ID, server);
        bytes.extend_from_slice(&options.concat());
        bytes
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
