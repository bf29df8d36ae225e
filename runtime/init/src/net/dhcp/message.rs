//! The messages that we send (RFC 2131, section 2 and table 5), and the numbers of kinds and options.
//!
//! The bytes are written and read here, as for DHCPv6. Tests take dhcproto for a second opinion.

use std::net::Ipv4Addr;

/// Kinds of messages (RFC 2132, section 9.6).
pub mod kind {
    #![allow(missing_docs, reason = "the RFC's names")]
    pub const DISCOVER: u8 = 1;
    pub const OFFER: u8 = 2;
    pub const REQUEST: u8 = 3;
    pub const DECLINE: u8 = 4;
    pub const ACK: u8 = 5;
    pub const NAK: u8 = 6;
}

/// Options (RFC 2132, RFC 3397, RFC 3442, RFC 4039).
pub mod option {
    #![allow(missing_docs, reason = "nearly the RFCs' names")]
    pub const PAD: u8 = 0;
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTER: u8 = 3;
    pub const DNS: u8 = 6;
    pub const HOST_NAME: u8 = 12;
    pub const DOMAIN: u8 = 15;
    pub const MTU: u8 = 26;
    pub const BROADCAST: u8 = 28;
    pub const STATIC_ROUTES: u8 = 33;
    pub const NTP: u8 = 42;
    pub const REQUESTED: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const KIND: u8 = 53;
    pub const SERVER_ID: u8 = 54;
    pub const WANTED: u8 = 55;
    pub const LONGEST: u8 = 57;
    pub const RENEWAL: u8 = 58;
    pub const REBINDING: u8 = 59;
    pub const CLIENT_ID: u8 = 61;
    pub const RAPID_COMMIT: u8 = 80;
    pub const SEARCH: u8 = 119;
    pub const CLASSLESS_ROUTES: u8 = 121;
    pub const END: u8 = 255;
}

/// What every message of one client says about it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The link's hardware address.
    pub mac: [u8; 6],
    /// The host name to tell the server (option 12).
    pub host_name: Option<String>,
}

impl Identity {
    /// The client identifier (option 61): hardware type and address, which is what a server takes without it too.
    pub fn client_id(&self) -> Vec<u8> {
        let mut id = vec![1];
        id.extend_from_slice(&self.mac);
        id
    }
}

/// The parts in which one request differs from another.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// One of [`kind`]: DISCOVER, REQUEST or DECLINE.
    pub kind: u8,
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Asks for broadcast replies.
    pub broadcast: bool,
    /// The address in use, when there is one: in RENEWING and REBINDING.
    pub ciaddr: Ipv4Addr,
    /// The address that is asked for (option 50).
    pub requested: Option<Ipv4Addr>,
    /// The server whose offer is taken (option 54).
    pub server: Option<Ipv4Addr>,
    /// Asks for a lease without an offer (option 80, RFC 4039).
    pub rapid: bool,
    /// The longest reply that fits into a packet of the link (option 57).
    pub longest_reply: u16,
}

/// The options that a reply should carry (option 55), the important ones first.
const WANTED: [u8; 13] = [
    option::SUBNET_MASK,
    option::CLASSLESS_ROUTES,
    option::ROUTER,
    option::STATIC_ROUTES,
    option::DNS,
    option::DOMAIN,
    option::SEARCH,
    option::HOST_NAME,
    option::MTU,
    option::BROADCAST,
    option::NTP,
    option::RENEWAL,
    option::REBINDING,
];

/// Relays and old servers drop what is shorter than a BOOTP message (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// Says that options follow (RFC 2131, section 3).
pub(super) const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The bytes of a message, header by header as RFC 2131's figure 1 has them.
pub fn encode(identity: &Identity, request: &Request) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SHORTEST);
    bytes.extend_from_slice(&[1, 1, 6, 0]);
    bytes.extend_from_slice(&request.xid.to_be_bytes());
    bytes.extend_from_slice(&request.secs.to_be_bytes());
    bytes.extend_from_slice(&(if request.broadcast { 0x8000_u16 } else { 0 }).to_be_bytes());
    bytes.extend_from_slice(&request.ciaddr.octets());
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&identity.mac);
    bytes.resize(236, 0);
    bytes.extend_from_slice(&COOKIE);

    // The kind comes first: some servers look for it nowhere else.
    let mut put = |code: u8, value: &[u8]| {
        // None of ours is longer than an option can be.
        if let Ok(length) = u8::try_from(value.len()) {
            bytes.extend_from_slice(&[code, length]);
            bytes.extend_from_slice(value);
        }
    };
    put(option::KIND, &[request.kind]);
    put(option::CLIENT_ID, &identity.client_id());
    // A DECLINE has nothing that asks for an answer: RFC 2131, table 5.
    if request.kind != kind::DECLINE {
        put(option::WANTED, &WANTED);
        let longest = request.longest_reply.to_be_bytes();
        put(option::LONGEST, &longest);
        if let Some(name) = &identity.host_name {
            put(option::HOST_NAME, name.as_bytes());
        }
    }
    if let Some(address) = request.requested {
        put(option::REQUESTED, &address.octets());
    }
    if let Some(server) = request.server {
        put(option::SERVER_ID, &server.octets());
    }
    if request.rapid {
        put(option::RAPID_COMMIT, &[]);
    }
    bytes.push(option::END);
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

#[cfg(test)]
#[allow(clippy::panic, reason = "a test that panics is a test that fails")]
mod tests {
    use super::*;
    use dhcproto::v4::{DhcpOption, MessageType, Opcode, OptionCode};

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];

    fn discover() -> Request {
        Request {
            kind: kind::DISCOVER,
            xid: 0x0102_0304,
            secs: 3,
            broadcast: true,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
            rapid: true,
            longest_reply: 1500,
        }
    }

    #[test]
    fn a_discover_is_what_the_library_reads_back() {
        let identity = Identity {
            mac: MAC,
            host_name: Some("box".into()),
        };
        let bytes = encode(&identity, &discover());
        assert!(bytes.len() >= SHORTEST);
        assert_eq!(bytes.get(240..243), Some([53, 1, 1].as_slice()));
        let read = <dhcproto::v4::Message as dhcproto::Decodable>::decode(
            &mut dhcproto::Decoder::new(&bytes),
        );
        let Ok(read) = read else { panic!("{read:?}") };
        assert_eq!(read.opcode(), Opcode::BootRequest);
        assert_eq!(read.xid(), 0x0102_0304);
        assert_eq!(read.secs(), 3);
        assert!(read.flags().broadcast());
        assert_eq!(read.chaddr(), MAC);
        let options = read.opts();
        assert!(options.has_msg_type(MessageType::Discover));
        assert_eq!(
            options.get(OptionCode::Hostname),
            Some(&DhcpOption::Hostname("box".into()))
        );
        assert_eq!(
            options.get(OptionCode::RapidCommit),
            Some(&DhcpOption::RapidCommit)
        );
        assert_eq!(
            options.get(OptionCode::ClientIdentifier),
            Some(&DhcpOption::ClientIdentifier(identity.client_id()))
        );
        assert_eq!(options.get(OptionCode::RequestedIpAddress), None);
    }
}
