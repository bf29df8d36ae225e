//! Address conflict detection (RFC 5227) for an address that is in use already: probing before would cost each boot
//! seconds. No I/O and no clock; the socket is in [`socket`].

pub(crate) mod arp;
pub mod socket;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arp::{Arp, Operation};

/// The hardware addresses of all links of this machine by the links' indices, also of those that init leaves alone. Two NICs in
/// one network hear each other, and a bridge speaks with the address of its port.
#[derive(Clone, Debug, Default)]
pub struct Own(Arc<Mutex<BTreeMap<u32, [u8; 6]>>>);

impl Own {
    /// The link with this index has this hardware address; `None` if it has none, or is gone.
    pub fn note(&self, link: u32, mac: Option<[u8; 6]>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match mac {
            Some(mac) => all.insert(link, mac),
            None => all.remove(&link),
        };
    }

    /// Forgets all links but those for which `there` is true.
    pub fn retain(&self, there: impl Fn(u32) -> bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|link, _| there(*link));
    }

    fn has(&self, mac: [u8; 6]) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().any(|own| *own == mac)
    }
}

/// How long to wait after each packet (RFC 5227, section 1.1): PROBE_MIN to PROBE_MAX between two probes, ANNOUNCE_WAIT
/// after the last one, ANNOUNCE_INTERVAL between the announcements and once more before the socket is closed.
const SCHEDULE: [(Sent, Duration); 5] = [
    (Sent::Probe, Duration::from_secs(1)),
    (Sent::Probe, Duration::from_secs(1)),
    (Sent::Probe, Duration::from_secs(2)),
    (Sent::Announcement, Duration::from_secs(2)),
    (Sent::Announcement, Duration::from_secs(2)),
];

/// The spread between two probes: PROBE_MAX - PROBE_MIN.
const SPREAD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Probe,
    Announcement,
}

/// One link's detector. Time is what the caller says it is.
#[derive(Debug)]
pub struct Detector {
    mac: [u8; 6],
    own: Own,
    /// What is watched, or was and was found free since the carrier came.
    address: Option<Ipv4Addr>,
    step: usize,
    next: Option<Duration>,
}

impl Detector {
    /// A detector for the link with this hardware address, in a machine with those, that watches nothing.
    pub fn new(mac: [u8; 6], own: Own) -> Self {
        Self {
            mac,
            own,
            address: None,
            step: 0,
            next: None,
        }
    }

    /// The address is in use from now on. Without effect for one that is watched, or that nobody else was found to have
    /// since [`Detector::stop`].
    pub fn start(&mut self, now: Duration, address: Ipv4Addr) {
        if self.address != Some(address) {
            self.address = Some(address);
            self.step = 0;
            self.next = Some(now);
        }
    }

    /// The address is not in use any longer, or the link may be on another network.
    pub fn stop(&mut self) {
        self.address = None;
        self.next = None;
    }

    /// Nothing more is to be found out about the address.
    pub fn rest(&mut self) {
        self.next = None;
    }

    /// The address that is watched.
    pub fn watches(&self) -> Option<Ipv4Addr> {
        self.address.filter(|_| self.next.is_some())
    }

    /// When [`Detector::tick`] is to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        self.next
    }

    /// A deadline has passed: the packet to send to all on the link, if one is due. `random` spreads the probes, so
    /// that machines that were switched on together do not stay in step.
    pub fn tick(&mut self, now: Duration, random: u32) -> Option<[u8; arp::LENGTH]> {
        let address = self.address?;
        if self.next.is_none_or(|next| now < next) {
            return None;
        }
        let Some((sent, wait)) = SCHEDULE.get(self.step).copied() else {
            self.next = None;
            return None;
        };
        self.step += 1;
        let probes_follow = matches!(SCHEDULE.get(self.step), Some((Sent::Probe, _)));
        let share = if probes_follow {
            f64::from(random) / f64::from(u32::MAX)
        } else {
            0.0
        };
        self.next = Some(now + wait + SPREAD.mul_f64(share));
        Some(match sent {
            Sent::Probe => arp::probe(self.mac, address),
            Sent::Announcement => arp::announcement(self.mac, address),
        })
    }

    /// An ARP packet came: who else has the address, if it says so (RFC 5227, section 2.4). A probe of another machine
    /// is none: the kernel answers it, and that machine will do without the address.
    pub fn receive(&self, packet: &[u8]) -> Option<[u8; 6]> {
        let arp = Arp::decode(packet)?;
        let known = matches!(arp.operation, Operation::Request | Operation::Reply);
        let ours = arp.mac == self.mac || self.own.has(arp.mac);
        (known && !ours && Some(arp.sender) == self.watches()).then_some(arp.mac)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);

    fn started() -> Detector {
        let mut detector = Detector::new(MAC, Own::default());
        detector.start(Duration::ZERO, ADDRESS);
        detector
    }

    #[test]
    fn three_probes_and_two_announcements_within_eight_seconds() {
        for (random, expected) in [(0, [0, 1, 2, 4, 6]), (u32::MAX, [0, 2, 4, 6, 8])] {
            let mut detector = started();
            let mut seen = Vec::new();
            while let Some(deadline) = detector.deadline() {
                if let Some(before) = deadline.checked_sub(Duration::from_nanos(1)) {
                    assert_eq!(detector.tick(before, random), None);
                }
                if let Some(packet) = detector.tick(deadline, random) {
                    seen.push((deadline.as_secs(), packet));
                }
            }
            let packets = [
                arp::probe(MAC, ADDRESS),
                arp::probe(MAC, ADDRESS),
                arp::probe(MAC, ADDRESS),
                arp::announcement(MAC, ADDRESS),
                arp::announcement(MAC, ADDRESS),
            ];
            assert_eq!(
                seen,
                expected.into_iter().zip(packets).collect::<Vec<_>>(),
                "random {random}"
            );
            assert_eq!(detector.watches(), None, "it is over, and nothing wakes up");
            detector.start(Duration::from_secs(100), ADDRESS);
            assert_eq!(detector.deadline(), None, "it is known to be free");
            detector.stop();
            detector.start(Duration::from_secs(100), ADDRESS);
            assert_eq!(detector.watches(), Some(ADDRESS), "the carrier came again");
        }
    }

    #[test]
    fn who_else_has_the_address_is_a_conflict() {
        let detector = started();
        let reply = arp::encode(Operation::Reply, OTHER, ADDRESS, Ipv4Addr::UNSPECIFIED);
        assert_eq!(detector.receive(&reply), Some(OTHER));
        assert_eq!(
            detector.receive(&arp::announcement(OTHER, ADDRESS)),
            Some(OTHER)
        );
        let next = Ipv4Addr::new(10, 0, 2, 16);
        for (packet, why) in [
            (arp::announcement(MAC, ADDRESS), "our own, sent back to us"),
            (arp::probe(OTHER, ADDRESS), "a probe of another machine"),
            (arp::announcement(OTHER, next), "another address"),
            (
                arp::encode(Operation::Request, OTHER, next, ADDRESS),
                "a request for ours",
            ),
            (
                arp::encode(Operation::Other(9), OTHER, ADDRESS, ADDRESS),
                "no request or reply",
            ),
        ] {
            assert_eq!(detector.receive(&packet), None, "{why}");
        }
        let mut stopped = started();
        stopped.stop();
        assert_eq!(stopped.receive(&reply), None, "nothing is watched");
    }

    #[test]
    fn another_link_of_this_machine_is_no_conflict() {
        let own = Own::default();
        let mut detector = Detector::new(MAC, own.clone());
        detector.start(Duration::ZERO, ADDRESS);
        let reply = arp::encode(Operation::Reply, OTHER, ADDRESS, Ipv4Addr::UNSPECIFIED);
        own.note(3, Some(OTHER));
        assert_eq!(detector.receive(&reply), None, "the link came later");
        own.note(3, None);
        assert_eq!(detector.receive(&reply), Some(OTHER), "it went");
        own.note(3, Some(OTHER));
        own.retain(|link| link != 3);
        assert_eq!(detector.receive(&reply), Some(OTHER), "it went unheard");
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..60), random: u32) {
            let mut detector = started();
            let _ = detector.tick(Duration::ZERO, random);
            let _ = detector.receive(&bytes);
            prop_assert!(detector.deadline().is_some_and(|at| at >= Duration::from_secs(1)));
        }
    }
}
