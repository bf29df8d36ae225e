//! The IPv4 and UDP headers around a DHCP message. A packet socket delivers what the link delivers, so everything
//! that the kernel would check is checked here (RFC 791, RFC 768, RFC 1071).

use std::net::Ipv4Addr;

/// The client's port.
pub const CLIENT_PORT: u16 = 68;
/// The server's port.
pub const SERVER_PORT: u16 = 67;

const UDP: u8 = 17;

/// An IPv4 packet with `payload` as a client's broadcast. `None` if it is too long for a packet.
pub fn broadcast(source: Ipv4Addr, payload: &[u8]) -> Option<Vec<u8>> {
    let udp_length = u16::try_from(payload.len().checked_add(8)?).ok()?;
    let total = udp_length.checked_add(20)?;
    let destination = Ipv4Addr::BROADCAST;

    let mut udp = Vec::with_capacity(udp_length.into());
    udp.extend_from_slice(&CLIENT_PORT.to_be_bytes());
    udp.extend_from_slice(&SERVER_PORT.to_be_bytes());
    udp.extend_from_slice(&udp_length.to_be_bytes());
    let check = checksum(pseudo_header(source, destination, udp_length) + sum(&udp) + sum(payload));
    // Zero would say that there is no checksum.
    udp.extend_from_slice(&(if check == 0 { 0xffff } else { check }).to_be_bytes());

    // Version 4, five words, best effort; no identification, don't fragment; time to live 64.
    let mut header = vec![0x45, 0];
    header.extend_from_slice(&total.to_be_bytes());
    header.extend_from_slice(&[0, 0, 0x40, 0, 64, UDP]);
    let fields = sum(&header) + address_sum(source) + address_sum(destination);
    header.extend_from_slice(&checksum(fields).to_be_bytes());
    header.extend_from_slice(&source.octets());
    header.extend_from_slice(&destination.octets());
    header.extend_from_slice(&udp);
    header.extend_from_slice(payload);
    Some(header)
}

/// The UDP payload of an IPv4 packet to a client, or `None` if it is anything else or damaged.
/// `summed` is false if the sender left the UDP checksum to its network card: a packet of the same host.
pub fn payload(packet: &[u8], summed: bool) -> Option<&[u8]> {
    let words = packet.first().filter(|first| *first >> 4 == 4)? & 0xf;
    let header_length = usize::from(words) * 4;
    let total = usize::from(word(packet, 2)?);
    let header = packet.get(..header_length).filter(|_| words >= 5)?;
    if checksum(sum(header)) != 0 || header.get(9) != Some(&UDP) {
        return None;
    }
    // More fragments, or not the first one.
    if word(header, 6)? & 0x3fff != 0 {
        return None;
    }
    // An Ethernet frame may be longer than the packet in it, never shorter.
    let udp = packet.get(header_length..total)?;
    let udp_length = word(udp, 4)?;
    let udp = udp.get(..udp_length.into())?;
    // RFC 2131 has no word about the port that a server sends from, and other clients do not look at it.
    if word(udp, 2)? != CLIENT_PORT {
        return None;
    }
    if summed && word(udp, 6)? != 0 {
        let source = Ipv4Addr::from(*header.get(12..)?.first_chunk::<4>()?);
        let destination = Ipv4Addr::from(*header.get(16..)?.first_chunk::<4>()?);
        if checksum(pseudo_header(source, destination, udp_length) + sum(udp)) != 0 {
            return None;
        }
    }
    udp.get(8..)
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes
        .get(offset..)?
        .first_chunk::<2>()
        .map(|octets| u16::from_be_bytes(*octets))
}

fn pseudo_header(source: Ipv4Addr, destination: Ipv4Addr, udp_length: u16) -> u64 {
    address_sum(source) + address_sum(destination) + u64::from(UDP) + u64::from(udp_length)
}

fn address_sum(address: Ipv4Addr) -> u64 {
    sum(&address.octets())
}

/// Adds up big-endian words; an odd last byte is the upper half of one.
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: u64 = words
        .iter()
        .map(|octets| u64::from(u16::from_be_bytes(*octets)))
        .sum();
    words + rest.first().map_or(0, |last| u64::from(*last) << 8)
}

/// The one's complement of the one's complement sum.
fn checksum(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(u16::MAX)
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

    /// Turns our own broadcast into a server's packet, which has the same checksums.
    fn reply(payload: &[u8]) -> Vec<u8> {
        let mut packet = broadcast(Ipv4Addr::new(10, 0, 2, 2), payload).unwrap_or_default();
        if let Some(ports) = packet.get_mut(20..24) {
            ports.rotate_left(2);
        }
        packet
    }

    #[test]
    fn a_header_has_the_checksum_that_others_compute() {
        let packet = broadcast(Ipv4Addr::UNSPECIFIED, &[]).unwrap_or_default();
        // 4500 + 001c + 4000 + 4011 + ffff + ffff = 2c52b, folded c52d, inverted 3ad2.
        assert_eq!(word(&packet, 10), Some(0x3ad2));
    }

    #[test]
    fn what_is_damaged_is_dropped() {
        let packet = reply(b"payload");
        assert_eq!(payload(&packet, true), Some(b"payload".as_slice()));
        for offset in 0..packet.len() {
            let mut damaged = packet.clone();
            if let Some(byte) = damaged.get_mut(offset) {
                *byte ^= 0x10;
            }
            assert_eq!(payload(&damaged, true), None, "byte {offset}");
        }
        for length in 0..packet.len() {
            assert_eq!(
                packet.get(..length).and_then(|short| payload(short, true)),
                None,
                "{length} bytes"
            );
        }
    }

    #[test]
    fn a_server_may_send_from_any_port() {
        let mut packet = reply(b"payload");
        packet[20..22].copy_from_slice(&40_000_u16.to_be_bytes());
        // No checksum.
        packet[26..28].copy_from_slice(&[0, 0]);
        assert_eq!(payload(&packet, true), Some(b"payload".as_slice()));
        packet[22..24].copy_from_slice(&69_u16.to_be_bytes());
        assert_eq!(payload(&packet, true), None);
    }

    #[test]
    fn a_frame_may_be_padded() {
        let mut packet = reply(b"odd");
        packet.resize(60, 0);
        assert_eq!(payload(&packet, true), Some(b"odd".as_slice()));
    }

    #[test]
    fn a_checksum_left_to_the_card_does_not_count() {
        let mut packet = reply(b"payload");
        if let Some(byte) = packet.get_mut(26) {
            *byte ^= 1;
        }
        assert_eq!(payload(&packet, true), None);
        assert_eq!(payload(&packet, false), Some(b"payload".as_slice()));
    }

    #[test]
    fn a_fragment_is_dropped() {
        let mut packet = reply(b"payload");
        // Sets "more fragments" and repairs the header's checksum.
        if let Some(header) = packet.get_mut(..20) {
            header[6] |= 0x20;
            header[10] = 0;
            header[11] = 0;
            let sum = checksum(sum(header)).to_be_bytes();
            header[10] = sum[0];
            header[11] = sum[1];
        }
        assert_eq!(payload(&packet, true), None);
    }

    proptest! {
        #[test]
        fn what_is_sent_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..1400)) {
            let packet = reply(&bytes);
            prop_assert_eq!(payload(&packet, true), Some(bytes.as_slice()));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), summed: bool) {
            let _ = payload(&bytes, summed);
        }

        #[test]
        fn no_bytes_behind_a_good_header_panic(start in 0_usize..60, bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let mut packet = reply(&[7; 40]);
            for (place, byte) in packet.iter_mut().skip(start).zip(bytes) {
                *place = byte;
            }
            let _ = payload(&packet, false);
        }
    }
}
