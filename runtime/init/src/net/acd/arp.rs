//! ARP packets for IPv4 on Ethernet (RFC 826), without the Ethernet header.

use std::net::Ipv4Addr;

/// How long a packet is.
pub const LENGTH: usize = 28;

/// Hardware type Ethernet with addresses of 6 bytes, protocol type IPv4 with addresses of 4.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// The operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has it.
    Reply,
    /// What is neither, such as RARP.
    Other(u16),
}

/// What is read of a packet: who sends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    /// The operation.
    pub operation: Operation,
    /// The sender's hardware address.
    pub mac: [u8; 6],
    /// The sender's address; `0.0.0.0` in a probe.
    pub sender: Ipv4Addr,
}

impl Arp {
    /// Reads a packet, which may be followed by padding. `None` if it is too short or not for IPv4 on Ethernet.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.get(..LENGTH)?.split_first_chunk::<6>()?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, _) = rest.split_first_chunk::<4>()?;
        let operation = match u16::from_be_bytes(*operation) {
            1 => Operation::Request,
            2 => Operation::Reply,
            other => Operation::Other(other),
        };
        (*kind == KIND).then_some(Self {
            operation,
            mac: *mac,
            sender: (*sender).into(),
        })
    }
}

/// Asks who has `address` without saying that we do (RFC 5227, section 2.1.1): nobody's cache changes by it.
pub fn probe(mac: [u8; 6], address: Ipv4Addr) -> [u8; LENGTH] {
    encode(Operation::Request, mac, Ipv4Addr::UNSPECIFIED, address)
}

/// Says that we have `address` (RFC 5227, section 2.3), which corrects the caches of others.
pub fn announcement(mac: [u8; 6], address: Ipv4Addr) -> [u8; LENGTH] {
    encode(Operation::Request, mac, address, address)
}

/// A packet whose target's hardware address is not known.
pub fn encode(
    operation: Operation,
    mac: [u8; 6],
    sender: Ipv4Addr,
    target: Ipv4Addr,
) -> [u8; LENGTH] {
    let number: u16 = match operation {
        Operation::Request => 1,
        Operation::Reply => 2,
        Operation::Other(other) => other,
    };
    let mut packet = [0; LENGTH];
    let parts = [
        KIND.as_slice(),
        &number.to_be_bytes(),
        &mac,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    ];
    for (place, byte) in packet.iter_mut().zip(parts.concat()) {
        *place = byte;
    }
    packet
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_announcement_is_as_the_rfc_has_it() {
        let mac = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
        let expected = [
            0, 1, 8, 0, 6, 4, 0, 1, 0x52, 0x54, 0, 0x12, 0x34, 0x56, 10, 0, 2, 15, 0, 0, 0, 0, 0,
            0, 10, 0, 2, 15,
        ];
        assert_eq!(announcement(mac, Ipv4Addr::new(10, 0, 2, 15)), expected);
    }

    proptest! {
        #[test]
        fn what_is_sent_can_be_read(number: u16, mac: [u8; 6], sender: [u8; 4], target: [u8; 4], padding in 0_usize..40) {
            let operation = match number {
                1 => Operation::Request,
                2 => Operation::Reply,
                other => Operation::Other(other),
            };
            let packet = encode(operation, mac, sender.into(), target.into());
            let mut bytes = packet.to_vec();
            bytes.resize(LENGTH + padding, 0);
            prop_assert_eq!(Arp::decode(&bytes), Some(Arp { operation, mac, sender: sender.into() }));
            for length in 0..LENGTH {
                prop_assert_eq!(packet.get(..length).and_then(Arp::decode), None);
            }
            for place in 0..KIND.len() {
                let mut other = packet;
                if let Some(byte) = other.get_mut(place) {
                    *byte ^= 1;
                }
                prop_assert_eq!(Arp::decode(&other), None, "byte {}", place);
            }
        }
    }
}
