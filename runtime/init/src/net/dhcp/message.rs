//! DHCP messages: those that we send, and the parts of a reply that we read (RFC 2131, section 2 and table 5).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use dhcproto::v4::borrowed::{DhcpOptionIterator, Message};
use dhcproto::v4::{DhcpOption, DhcpOptions, HType, MessageType, Opcode, OptionCode};
use dhcproto::{Encodable, Encoder};

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
    /// DISCOVER, REQUEST or DECLINE.
    pub kind: MessageType,
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
}

/// The options that a reply should carry (option 55), the important ones first.
const WANTED: [OptionCode; 12] = [
    OptionCode::SubnetMask,
    OptionCode::ClasslessStaticRoute,
    OptionCode::Router,
    OptionCode::DomainNameServer,
    OptionCode::DomainName,
    OptionCode::DomainSearch,
    OptionCode::Hostname,
    OptionCode::InterfaceMtu,
    OptionCode::BroadcastAddr,
    OptionCode::NtpServers,
    OptionCode::Renewal,
    OptionCode::Rebinding,
];

/// Relays and old servers drop what is shorter than a BOOTP message (RFC 1542, section 2.1).
const SHORTEST: usize = 300;
/// Of a list of addresses no more are read; nobody asks so many resolvers.
const MOST_ADDRESSES: usize = 16;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// The bytes of a message, header by header as RFC 2131's figure 1 has them. The header is written here because the
/// library's own constructor draws a random id from a source that blocks early in a boot.
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

    let mut options = DhcpOptions::new();
    options.insert(DhcpOption::MessageType(request.kind));
    options.insert(DhcpOption::ClientIdentifier(identity.client_id()));
    // A DECLINE has nothing that asks for an answer: RFC 2131, table 5.
    if request.kind != MessageType::Decline {
        options.insert(DhcpOption::ParameterRequestList(WANTED.to_vec()));
        options.insert(DhcpOption::MaxMessageSize(1500));
        if let Some(name) = &identity.host_name {
            options.insert(DhcpOption::Hostname(name.clone()));
        }
    }
    if let Some(address) = request.requested {
        options.insert(DhcpOption::RequestedIpAddress(address));
    }
    if let Some(server) = request.server {
        options.insert(DhcpOption::ServerIdentifier(server));
    }
    if request.kind == MessageType::Discover {
        options.insert(DhcpOption::RapidCommit);
    }
    let mut area = Vec::new();
    // Options of bounded length always fit into memory.
    if options.encode(&mut Encoder::new(&mut area)).is_ok() {
        bytes.extend_from_slice(&area);
    }
    bytes.resize(bytes.len().max(SHORTEST), 0);
    bytes
}

/// What a server said to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// OFFER, ACK or NAK.
    pub kind: MessageType,
    /// Transaction id.
    pub xid: u32,
    /// The address for the client.
    pub yiaddr: Ipv4Addr,
    options: BTreeMap<u8, Vec<u8>>,
}

impl Reply {
    /// Reads a reply for the client `mac`. `None` is a message that is malformed, for another client, or of a kind
    /// that servers do not send to clients.
    pub fn decode(bytes: &[u8], mac: [u8; 6]) -> Option<Self> {
        let message = Message::new(bytes).ok()?;
        let for_us = message.opcode() == Opcode::BootReply
            && message.htype() == HType::Eth
            && message.hlen() == 6
            && message.chaddr() == mac
            && bytes.get(236..240)? == COOKIE;
        if !for_us {
            return None;
        }
        let mut options = BTreeMap::new();
        collect(message.opts(), &mut options);
        // Option 52: the header's `file` and `sname` fields hold options too, read in this order (RFC 2131, 4.1).
        let overload = options
            .get(&u8::from(OptionCode::OptionOverload))
            .and_then(|v| v.first().copied())
            .unwrap_or(0);
        if overload & 1 != 0 {
            collect(DhcpOptionIterator::new(bytes.get(108..236)?), &mut options);
        }
        if overload & 2 != 0 {
            collect(DhcpOptionIterator::new(bytes.get(44..108)?), &mut options);
        }
        let kind = match options.get(&u8::from(OptionCode::MessageType))?.as_slice() {
            [2] => MessageType::Offer,
            [5] => MessageType::Ack,
            [6] => MessageType::Nak,
            _ => return None,
        };
        Some(Self {
            kind,
            xid: message.xid(),
            yiaddr: message.yiaddr(),
            options,
        })
    }

    /// The value of an option; parts of one option are joined (RFC 3396).
    pub fn option(&self, code: OptionCode) -> Option<&[u8]> {
        self.options.get(&u8::from(code)).map(Vec::as_slice)
    }

    /// An option that is one number.
    pub fn number(&self, code: OptionCode) -> Option<u32> {
        Some(u32::from_be_bytes(self.option(code)?.try_into().ok()?))
    }

    /// An option that is one address.
    pub fn address(&self, code: OptionCode) -> Option<Ipv4Addr> {
        Some(Ipv4Addr::from(
            <[u8; 4]>::try_from(self.option(code)?).ok()?,
        ))
    }

    /// An option that is a list of addresses; those that no host can have are left out. An option of a wrong length
    /// is as if it were not there.
    pub fn addresses(&self, code: OptionCode) -> Vec<Ipv4Addr> {
        let (chunks, rest) = self.option(code).unwrap_or_default().as_chunks::<4>();
        if !rest.is_empty() {
            return Vec::new();
        }
        chunks
            .iter()
            .map(|octets| Ipv4Addr::from(*octets))
            .filter(|address| is_host(*address))
            .take(MOST_ADDRESSES)
            .collect()
    }

    /// An option that is text, without the zero bytes that some servers end it with.
    pub fn text(&self, code: OptionCode) -> Option<&str> {
        let text = std::str::from_utf8(self.option(code)?)
            .ok()?
            .trim_end_matches('\0');
        (!text.is_empty()).then_some(text)
    }
}

fn collect(area: DhcpOptionIterator<'_>, options: &mut BTreeMap<u8, Vec<u8>>) {
    for option in area {
        options
            .entry(option.code().into())
            .or_default()
            .extend_from_slice(option.data());
    }
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

    fn discover() -> Request {
        Request {
            kind: MessageType::Discover,
            xid: 0x0102_0304,
            secs: 3,
            broadcast: true,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            requested: None,
            server: None,
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
            reply.and_then(|reply| reply.text(OptionCode::DomainName).map(str::len)),
            Some(300)
        );
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
        assert_eq!(
            reply.option(OptionCode::InterfaceMtu),
            Some([5, 0xdc].as_slice())
        );
        assert_eq!(reply.text(OptionCode::Hostname), Some("x"));
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
        assert_eq!(reply.number(OptionCode::AddressLeaseTime), None);
        assert!(reply.addresses(OptionCode::Router).is_empty());
        assert_eq!(reply.address(OptionCode::SubnetMask), None);
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
                    let code = OptionCode::from(code);
                    let _ = (reply.number(code), reply.address(code), reply.addresses(code), reply.text(code));
                }
            }
        }
    }
}
