//! The addresses that refuse to be asked (kiss-o'-death, RFC 4330, section 8), and for how long that is heeded.
//!
//! Of an address and not of a name: a name has several, of which one may refuse while the next one answers, and other
//! ones when it is resolved again.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use super::pace;

/// Of so many addresses is known that they refused. A name server can name any number of them.
const MOST: usize = 64;

/// A handle to what all exchanges know of refusals: what one has learned is kept when it is broken off.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Arc<Mutex<HashMap<IpAddr, Refusal>>>);

#[derive(Debug)]
struct Refusal {
    in_a_row: u32,
    until: Instant,
}

impl Refusals {
    /// True while this address wants to be left alone.
    pub fn holds(&self, address: IpAddr) -> bool {
        let now = Instant::now();
        self.known().get(&address).is_some_and(|it| it.until > now)
    }

    /// The address sent a kiss-o'-death packet with this code. Answers to questions that were under way at the same
    /// time, as by two names, count as one.
    pub fn refused(&self, address: IpAddr, code: [u8; 4]) {
        let now = Instant::now();
        let mut known = self.known();
        let in_a_row = match known.get(&address) {
            Some(refusal) if refusal.until > now => return,
            Some(refusal) => refusal.in_a_row.saturating_add(1),
            None => 1,
        };
        if known.len() >= MOST && !known.contains_key(&address) {
            // The one that may be asked again first.
            let first = known.iter().min_by_key(|(_, it)| it.until);
            if let Some(first) = first.map(|(address, _)| *address) {
                known.remove(&first);
            }
        }
        let pause = pace::refusal(code, in_a_row);
        log::debug!(
            "clock: {address} refuses to answer ({}) and is left alone for {pause:?}",
            code.escape_ascii()
        );
        let until = now + pause;
        known.insert(address, Refusal { in_a_row, until });
    }

    /// The address answered.
    pub fn answered(&self, address: IpAddr) {
        self.known().remove(&address);
    }

    fn known(&self) -> MutexGuard<'_, HashMap<IpAddr, Refusal>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_refuses_is_left_alone_for_longer_each_time_until_it_answers() {
        let refusals = Refusals::default();
        let address = IpAddr::from([10, 0, 0, 1]);
        assert!(!refusals.holds(address));
        for hours in [1, 2, 4] {
            refusals.refused(address, *b"DENY");
            // By another name, at the same time.
            refusals.refused(address, *b"DENY");
            tokio::time::advance(Duration::from_secs(hours * 3600 - 1)).await;
            assert!(refusals.holds(address), "after less than {hours} h");
            tokio::time::advance(Duration::from_secs(2)).await;
            assert!(!refusals.holds(address), "after {hours} h");
        }
        refusals.answered(address);
        refusals.refused(address, *b"RATE");
        tokio::time::advance(Duration::from_secs(2049)).await;
        assert!(!refusals.holds(address));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded_and_the_longest_refusals_stay() {
        let refusals = Refusals::default();
        let denied = IpAddr::from([10, 0, 0, 1]);
        refusals.refused(denied, *b"DENY");
        for number in 0..1000 {
            let address = Ipv4Addr::from_bits(0x0b00_0000 + number).into();
            refusals.refused(address, *b"RATE");
            assert!(refusals.holds(address));
        }
        assert!(refusals.holds(denied));
        assert_eq!(refusals.known().len(), MOST);
    }
}
