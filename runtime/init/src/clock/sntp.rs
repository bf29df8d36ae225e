//! The packets of a simple NTP client (RFC 4330), without I/O: bytes and times in, a measured offset out.
//!
//! Written here because the small crates keep their checks behind an exchange of their own, with the local time as
//! the only thing that an answer must repeat. Here a request carries 64 random bits in its place: whoever does not
//! see the request cannot forge an answer, and nobody learns what time it is here.

use std::time::Duration;

/// A packet without authentication.
pub const LENGTH: usize = 48;
/// The server's port.
pub const PORT: u16 = 123;

/// Seconds from 1900, where NTP's time starts, to 1970.
const NTP_TO_UNIX: i64 = 2_208_988_800;
const NANOSECONDS: i64 = 1_000_000_000;
/// A server that may be off by so many seconds knows nothing (MAXDISP in RFC 5905).
const INFINITY: u64 = 16;

/// What one answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Nanoseconds to add to the local clock.
    pub offset: i64,
    /// How long the packets were on their way, both together: the offset is what the server's clock says within half of
    /// this.
    pub delay: Duration,
    /// How far the server says that its own clock may be off: root dispersion and half of the root delay.
    pub root: Duration,
}

impl Sample {
    /// How far the offset may be off, if the server is right.
    pub fn error(&self) -> Duration {
        self.delay / 2 + self.root
    }
}

/// Why an answer does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reject {
    /// It is none to this request: too short, of another kind, or not with what the request carried.
    #[error("It is not an answer to the request.")]
    NotOurs,
    /// A kiss-o'-death packet with this code: the server wants no more requests.
    #[error("The server refuses to answer ({}).", .0.escape_ascii())]
    Refused([u8; 4]),
    /// The server does not know the time itself.
    #[error("The server's own clock is not synchronised.")]
    Unsynchronised,
}

/// A request: version 4, client mode, and `nonce` as the time of sending.
pub fn request(nonce: u64) -> [u8; LENGTH] {
    let mut packet = [0; LENGTH];
    packet[0] = 4 << 3 | 3;
    packet[40..].copy_from_slice(&nonce.to_be_bytes());
    packet
}

/// Reads the answer to the request with `nonce`, sent and received at these times of the local clock in nanoseconds
/// since 1970.
///
/// # Errors
///
/// See [`Reject`]. After `NotOurs` the answer may still come.
pub fn read(packet: &[u8], nonce: u64, sent: i64, received: i64) -> Result<Sample, Reject> {
    let packet = packet.first_chunk::<LENGTH>().ok_or(Reject::NotOurs)?;
    let (leap, version, mode) = (packet[0] >> 6, packet[0] >> 3 & 7, packet[0] & 7);
    let stratum = packet[1];
    if !(1..=4).contains(&version) || mode != 4 || timestamp(packet, 24) != nonce {
        return Err(Reject::NotOurs);
    }
    if stratum == 0 {
        return Err(Reject::Refused([
            packet[12], packet[13], packet[14], packet[15],
        ]));
    }
    let (arrived, answered) = (timestamp(packet, 32), timestamp(packet, 40));
    let (root_delay, root_dispersion) = (short(packet, 4)?, short(packet, 8)?);
    if leap == 3 || stratum > 15 || arrived == 0 || answered == 0 {
        return Err(Reject::Unsynchronised);
    }
    let (arrived, answered) = (unix(arrived), unix(answered));
    let round_trip = received.saturating_sub(sent);
    let at_server = answered.saturating_sub(arrived);
    // A server that says that it thought for longer than we waited is wrong about one of the two.
    if round_trip < 0 || at_server < 0 || at_server > round_trip {
        return Err(Reject::Unsynchronised);
    }
    let there = i128::from(arrived) - i128::from(sent);
    let back = i128::from(answered) - i128::from(received);
    let offset = i64::try_from((there + back) / 2).map_err(|_| Reject::Unsynchronised)?;
    Ok(Sample {
        offset,
        delay: Duration::from_nanos((round_trip - at_server).unsigned_abs()),
        root: root_delay / 2 + root_dispersion,
    })
}

/// Seconds in NTP's short form, with 16 bits behind the point. RFC 4330, section 5, calls a second infinite for the
/// paranoid; the servers of networks that nothing reaches say ten of themselves, so it is RFC 5905's 16 s here. What is
/// negative is as good as infinite.
fn short(packet: &[u8; LENGTH], offset: usize) -> Result<Duration, Reject> {
    let value = timestamp(packet, offset) >> 32;
    if value >= INFINITY << 16 {
        return Err(Reject::Unsynchronised);
    }
    Ok(Duration::from_nanos((value * 1_000_000_000) >> 16))
}

fn timestamp(packet: &[u8; LENGTH], offset: usize) -> u64 {
    packet
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<8>())
        .map_or(0, |octets| u64::from_be_bytes(*octets))
}

/// Nanoseconds since 1970. With the first bit set it is a time from 1968 to 2036, without it one from 2036 to 2104
/// (RFC 4330, section 3).
fn unix(timestamp: u64) -> i64 {
    let seconds = (timestamp >> 32) as i64;
    let fraction = (timestamp & 0xffff_ffff) as i64;
    let era = if timestamp >> 63 == 1 { 0 } else { 1 << 32 };
    (seconds + era - NTP_TO_UNIX) * NANOSECONDS + ((fraction * NANOSECONDS) >> 32)
}

/// What tests send as a server.
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
pub mod fake {
    use super::*;

    /// NTP's form of a time in nanoseconds since 1970.
    pub fn ntp(unix: i64) -> u64 {
        let seconds = unix.div_euclid(NANOSECONDS) + NTP_TO_UNIX;
        let fraction =
            (u128::from(unix.rem_euclid(NANOSECONDS).unsigned_abs()) << 32).div_ceil(1_000_000_000);
        (seconds as u64) << 32 | fraction as u64
    }

    /// The answer of a good server to `request`, which arrived and was answered at these times.
    pub fn answer(request: &[u8], stratum: u8, arrived: i64, answered: i64) -> Vec<u8> {
        let mut packet = vec![0; LENGTH];
        packet[0] = 4 << 3 | 4;
        packet[1] = stratum;
        packet[12..16].copy_from_slice(b"RATE");
        packet[24..32].copy_from_slice(&request[40..48]);
        packet[32..40].copy_from_slice(&ntp(arrived).to_be_bytes());
        packet[40..48].copy_from_slice(&ntp(answered).to_be_bytes());
        packet
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

    const NONCE: u64 = 0x0123_4567_89ab_cdef;
    /// 2026-11-23T12:00:00Z.
    const NOW: i64 = 1_795_435_200 * NANOSECONDS;
    const MILLISECOND: i64 = 1_000_000;

    fn good() -> Vec<u8> {
        fake::answer(
            &request(NONCE),
            2,
            NOW + 30 * MILLISECOND,
            NOW + 31 * MILLISECOND,
        )
    }

    #[test]
    fn the_offset_is_what_lies_between_the_middles() {
        let sample = read(&good(), NONCE, NOW, NOW + 21 * MILLISECOND);
        assert_eq!(
            sample,
            Ok(Sample {
                offset: 20 * MILLISECOND,
                delay: Duration::from_millis(20),
                root: Duration::ZERO,
            })
        );
    }

    #[test]
    fn a_clock_of_2001_learns_the_time() {
        let sent = 978_307_200 * NANOSECONDS;
        let sample = read(&good(), NONCE, sent, sent + 21 * MILLISECOND);
        assert_eq!(
            sample.map(|sample| sample.offset),
            Ok(NOW + 20 * MILLISECOND - sent)
        );
    }

    #[test]
    fn the_year_2036_is_not_the_end() {
        let later = 2_200_000_000 * NANOSECONDS;
        assert_eq!(fake::ntp(later) >> 63, 0);
        let answer = fake::answer(&request(NONCE), 2, later, later);
        assert_eq!(
            read(&answer, NONCE, later, later).map(|sample| sample.offset),
            Ok(0)
        );
    }

    #[test]
    fn what_is_not_an_answer_is_not_ours() {
        assert_eq!(
            read(&good(), NONCE + 1, NOW, NOW + 21 * MILLISECOND),
            Err(Reject::NotOurs)
        );
        assert_eq!(
            read(&good()[..47], NONCE, NOW, NOW + 21 * MILLISECOND),
            Err(Reject::NotOurs)
        );
        for first in [0x23, 0x25, 0x04, 0x2c] {
            let mut packet = good();
            packet[0] = first;
            assert_eq!(
                read(&packet, NONCE, NOW, NOW + 21 * MILLISECOND),
                Err(Reject::NotOurs),
                "{first:#x}"
            );
        }
    }

    #[test]
    fn servers_that_do_not_know_do_not_count() {
        let change = |place: usize, value: u8| {
            let mut packet = good();
            packet[place] = value;
            read(&packet, NONCE, NOW, NOW + 21 * MILLISECOND)
        };
        assert_eq!(change(0, 0xe4), Err(Reject::Unsynchronised));
        assert_eq!(change(1, 16), Err(Reject::Unsynchronised));
        assert_eq!(change(1, 0), Err(Reject::Refused(*b"RATE")));
        let mut packet = good();
        packet[40..].fill(0);
        assert_eq!(
            read(&packet, NONCE, NOW, NOW + 21 * MILLISECOND),
            Err(Reject::Unsynchronised)
        );
    }

    #[test]
    fn what_the_server_says_of_itself_widens_the_error() {
        let read_with = |delay: u32, dispersion: u32| {
            let mut packet = good();
            packet[4..8].copy_from_slice(&delay.to_be_bytes());
            packet[8..12].copy_from_slice(&dispersion.to_be_bytes());
            read(&packet, NONCE, NOW, NOW + 21 * MILLISECOND).map(|sample| sample.error())
        };
        assert_eq!(read_with(0, 0), Ok(Duration::from_millis(10)));
        assert_eq!(read_with(1 << 16, 1 << 14), Ok(Duration::from_millis(760)));
        for (delay, dispersion) in [(16 << 16, 0), (0, 16 << 16), (u32::MAX, 0)] {
            assert_eq!(read_with(delay, dispersion), Err(Reject::Unsynchronised));
        }
    }

    #[test]
    fn a_server_cannot_think_for_longer_than_we_waited() {
        assert_eq!(
            read(&good(), NONCE, NOW, NOW + MILLISECOND / 2),
            Err(Reject::Unsynchronised)
        );
        assert_eq!(
            read(&good(), NONCE, NOW, NOW - 1),
            Err(Reject::Unsynchronised)
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), sent: i64, received: i64) {
            let nonce = bytes.get(24..32).and_then(|it| it.first_chunk::<8>()).map_or(0, |it| u64::from_be_bytes(*it));
            let _ = read(&bytes, nonce, sent, received);
        }

        #[test]
        fn a_clock_that_is_corrected_is_right(local in 0_i64..4_000_000_000, truth in 0_i64..4_000_000_000, way in 0_i64..2_000) {
            let (local, truth, way) = (local * NANOSECONDS, truth * NANOSECONDS, way * MILLISECOND);
            let answer = fake::answer(&request(NONCE), 1, truth + way, truth + way);
            let sample = read(&answer, NONCE, local, local + 2 * way);
            let sample = sample.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!((local + sample.offset - truth).abs() <= 2, "{sample:?}");
        }
    }
}
