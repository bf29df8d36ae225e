//! Packets and the kernel's messages about the network.

use std::net::Ipv4Addr;
use std::time::Duration;

use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;

use super::Input;
use super::input::put;
use super::kernel::{attribute, netlink};
use crate::net::acd::{Detector, Own, arp};
use crate::net::frame;
use crate::net::ipv6::options::{Content, fake, is_host, read};
use crate::net::ipv6::{Known, default_router};
use crate::net::names::name;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

/// An IPv4 packet from a packet socket: what a server sends comes out as it went in; of any other packet at most a part of it.
pub fn frame(data: &[u8]) {
    let mut input = Input::new(data);
    let (mode, summed) = (input.byte() % 4, input.byte() & 1 == 0);
    if mode == 0 {
        let packet = input.rest();
        let payload = frame::payload(packet, summed).unwrap_or_default();
        assert!(payload.len() <= packet.len().saturating_sub(28));
        return;
    }
    // Ours with the ports exchanged: the sums stay the same.
    let length = usize::from(input.byte()) * 2;
    let sent = input.take(length);
    let mut packet = frame::broadcast(ADDRESS, sent).unwrap_or_default();
    if let Some(ports) = packet.get_mut(20..24) {
        ports.rotate_left(2);
    }
    assert_eq!(frame::payload(&packet, summed), Some(sent));
    input.damage(&mut packet);
    if mode > 1 {
        let words = usize::from(packet.first().map_or(0, |first| first & 0xf));
        put(&mut packet, 10, &[0; 2]);
        let sum = complement(packet.get(..words * 4).unwrap_or_default());
        put(&mut packet, 10, &sum.to_be_bytes());
    }
    if mode > 2 {
        packet.extend_from_slice(input.rest());
    }
    let payload = frame::payload(&packet, summed && mode < 3).unwrap_or_default();
    assert!(payload.len() <= packet.len() - 28);
}

/// RFC 1071 in its shortest form.
fn complement(bytes: &[u8]) -> u16 {
    let sum = bytes.chunks(2).fold(0_u32, |sum, word| {
        let high = u32::from(word.first().copied().unwrap_or(0)) << 8;
        sum + high + u32::from(word.get(1).copied().unwrap_or(0))
    });
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// The detector of address conflicts with time going by: five packets at most for an address, a deadline ahead, and no conflict but
/// one with somebody else about the address that is watched.
pub fn arp(data: &[u8]) {
    let mut input = Input::new(data);
    let mut detector = Detector::new(MAC, Own::default());
    let mut now = Duration::ZERO;
    let mut sent = 0;
    for _ in 0..100 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 8 {
            0 => {
                let address = Ipv4Addr::from_bits(ADDRESS.to_bits() ^ u32::from(input.byte() & 1));
                if detector.watches() != Some(address) {
                    sent = 0;
                }
                detector.start(now, address);
            }
            1 => {
                detector.stop();
                assert_eq!((detector.watches(), detector.deadline()), (None, None));
            }
            2 => detector.rest(),
            3 => now += Duration::from_millis(input.u16().into()),
            4 => now = now.max(detector.deadline().unwrap_or_default()),
            5 => {
                assert!(detector.receive(input.piece()).is_none_or(|mac| mac != MAC));
            }
            _ => {
                let (mac, number) = (input.pick([2, 0, 0, 0, 0, 9], &[MAC]), input.byte());
                let operation = match number & 7 {
                    0..=2 => arp::Operation::Request,
                    3..=5 => arp::Operation::Reply,
                    _ => arp::Operation::Other(input.u16()),
                };
                let sender = input.pick(ADDRESS, &[Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST]);
                let mut packet = arp::encode(operation, mac, sender, ADDRESS);
                let intact = number & 8 == 0;
                if !intact {
                    input.damage(&mut packet);
                }
                let conflict = detector.receive(&packet);
                assert!(conflict.is_none() || detector.watches().is_some());
                assert_ne!(conflict, Some(MAC));
                if intact && mac != MAC && number & 7 < 6 && detector.watches() == Some(sender) {
                    assert_eq!(conflict, Some(mac));
                }
            }
        }
        sent += usize::from(detector.tick(now, input.u32()).is_some());
        assert!(sent <= 5, "{sent} packets");
        assert!(detector.deadline().is_none_or(|at| at > now));
    }
}

/// Options of router advertisements as the kernel hands them over, with time going by: few are kept, what is kept is sound, and
/// everything goes when its time is over.
pub fn router(data: &[u8]) {
    let mut input = Input::new(data);
    let mut known = Known::default();
    let mut now = Duration::from_secs(1000);
    for _ in 0..60 {
        if input.is_empty() {
            break;
        }
        let datagram = match input.byte() % 8 {
            0 => {
                now += Duration::from_millis(input.u32().into());
                Vec::new()
            }
            1 => {
                now = now.max(known.deadline().unwrap_or_default());
                Vec::new()
            }
            2 => input.piece().to_vec(),
            3 => fake::message(3, input.piece()),
            4 => {
                let mut message = fake::message(3, &fake::option(25, input.u32(), input.piece()));
                input.damage(&mut message);
                message.extend(fake::message(4, input.piece()));
                message
            }
            5 => fake::message(3, &fake::option(25, input.u32(), input.piece())),
            _ => fake::message(3, &fake::option(31, input.u32(), input.piece())),
        };
        for option in read(&datagram) {
            match &option.content {
                Content::Resolvers(list) => assert!(list.iter().all(is_host), "{list:?}"),
                Content::Search(list) => assert!(!list.is_empty()),
            }
            known.learn(now, &option);
        }
        let shown = known.show(now);
        assert!(shown.dns.len() <= 8 && shown.search.len() <= 8, "{shown:?}");
        assert!(shown.dns.iter().all(is_host), "{shown:?}");
        for domain in &shown.search {
            assert_eq!(name(domain).as_ref(), Some(domain));
        }
        assert!(known.deadline().is_none_or(|at| at > now));
    }
}

/// The kernel's messages about addresses and routes, by the crate that reads them: what is taken away is gone.
pub fn rtnetlink(data: &[u8]) {
    let mut input = Input::new(data);
    let mut known = Known::default();
    for _ in 0..20 {
        if input.is_empty() {
            break;
        }
        let bytes = if input.seldom(8) {
            input.piece().to_vec()
        } else {
            message(&mut input)
        };
        let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes) else {
            continue;
        };
        let NetlinkPayload::InnerMessage(message) = message.payload else {
            continue;
        };
        match &message {
            RouteNetlinkMessage::NewAddress(it) => known.address(it, true),
            RouteNetlinkMessage::NewRoute(it) => {
                known.route(it, true);
                if let Some((_, router)) = default_router(it) {
                    assert!(known.show(Duration::ZERO).routers.contains(&router));
                    known.route(it, false);
                    assert!(!known.show(Duration::ZERO).routers.contains(&router));
                    known.route(it, true);
                }
            }
            RouteNetlinkMessage::DelAddress(it) => known.address(it, false),
            RouteNetlinkMessage::DelRoute(it) => known.route(it, false),
            _ => {}
        }
        let shown = known.show(Duration::ZERO);
        assert!(shown.addresses.len() + shown.routers.len() <= 20);
        let _ = shown.configured();
    }
}

/// A message of rtnetlink(7) about a link, an address or a route, its attributes one after the other.
fn message(input: &mut Input<'_>) -> Vec<u8> {
    const NEW_LINK: u16 = 16;
    const NEW_ADDRESS: u16 = 20;
    const NEW_ROUTE: u16 = 24;
    let kind = input.pick(
        NEW_ROUTE,
        &[NEW_ADDRESS, NEW_ADDRESS + 1, NEW_ROUTE + 1, NEW_LINK],
    );
    let mut body = match kind {
        NEW_ADDRESS | 21 => vec![10, 64, 0, 0, 3, 0, 0, 0],
        // Main table, protocol of router advertisements.
        NEW_ROUTE | 25 => vec![10, 0, 0, 0, 254, 9, 0, 1, 0, 0, 0, 0],
        _ => vec![0; 16],
    };
    if input.seldom(4) {
        input.damage(&mut body);
    }
    for _ in 0..input.byte() % 8 {
        let number = u16::from(input.byte() % 64);
        let value = match input.byte() % 4 {
            0 => input.piece(),
            1 => input.take(4),
            _ => input.take(16),
        };
        attribute(&mut body, number, value);
    }
    netlink(kind, &body)
}
