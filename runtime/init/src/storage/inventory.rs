//! What is known of the devices that are there, and when one is looked at once more. No I/O and no clock here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use super::slot::Place;

/// Which device it is that has a name now, and which medium is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The kernel gives each disk and each medium another number (`diskseq`).
    pub sequence: u64,
    /// Where the partition begins.
    pub start: u64,
}

/// Devices by their names.
pub type There = BTreeMap<String, Identity>;

/// The devices that have been looked at.
#[derive(Debug, Default)]
pub struct Inventory {
    known: There,
    /// Their first bytes are being read.
    probing: BTreeSet<String>,
    /// Those among them that changed meanwhile.
    again: BTreeSet<String>,
}

impl Inventory {
    /// Begins to look at a device; false if it is being looked at already: it will be once more then.
    pub fn begin(&mut self, name: &str) -> bool {
        let begins = self.probing.insert(name.to_owned());
        if !begins {
            self.again.insert(name.to_owned());
        }
        begins
    }

    /// The look at a device has ended; false if it has to be looked at once more.
    pub fn end(&mut self, name: &str) -> bool {
        self.probing.remove(name);
        !self.again.remove(name)
    }

    /// Devices that are being looked at.
    pub fn probing(&self) -> impl Iterator<Item = &str> {
        self.probing.iter().map(String::as_str)
    }

    /// Which device has the name.
    pub fn identity(&self, name: &str) -> Option<Identity> {
        self.known.get(name).copied()
    }

    /// Takes down which device has the name.
    pub fn know(&mut self, name: &str, identity: Identity) {
        self.known.insert(name.to_owned(), identity);
    }

    /// The device went.
    pub fn forget(&mut self, name: &str) {
        self.known.remove(name);
        // A look that has not ended may be one at the device that went.
        if self.probing.contains(name) {
            self.again.insert(name.to_owned());
        }
    }

    /// Whether a message about the removal of the disk with this number is about what has the name now.
    pub fn concerns(&self, name: &str, sequence: Option<u64>) -> bool {
        match (self.identity(name), sequence) {
            (Some(now), Some(sequence)) => now.sequence <= sequence,
            _ => true,
        }
    }

    /// Devices that went, or in whose place there is another: nobody may have said so.
    pub fn gone(&self, there: &There) -> Vec<String> {
        let replaced =
            |(name, identity): &(&String, &Identity)| there.get(*name) != Some(*identity);
        let known = self.known.iter().filter(replaced).map(|(name, _)| name);
        let unread = self
            .probing
            .iter()
            .filter(|name| !there.contains_key(*name));
        known
            .chain(unread)
            .cloned()
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    }
}

/// The first pause before another attempt, and the longest.
const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(3600);

/// Devices that could not be read or mounted, and when that is tried again: the cause may have been a passing one.
#[derive(Debug, Default)]
pub struct Retries {
    failed: BTreeMap<String, (Duration, Option<Instant>)>,
    /// Causes that the log has.
    said: BTreeMap<(String, Option<Place>), String>,
}

impl Retries {
    /// An attempt failed. True if the log does not have this cause yet. `place` is where it was to be mounted.
    pub fn failed(&mut self, name: &str, place: Option<Place>, cause: &str, now: Instant) -> bool {
        let pause = self
            .failed
            .get(name)
            .map_or(FIRST, |(pause, _)| (*pause * 2).min(LONGEST));
        self.failed
            .insert(name.to_owned(), (pause, Some(now + pause)));
        let key = (name.to_owned(), place);
        self.said.insert(key, cause.to_owned()).as_deref() != Some(cause)
    }

    /// It has worked, or the device went.
    pub fn forget(&mut self, name: &str) {
        self.failed.remove(name);
        self.said.retain(|(device, _), _| device != name);
    }

    /// Whether something could not be mounted there.
    pub fn concern(&self, place: Place) -> bool {
        self.said.keys().any(|(_, at)| *at == Some(place))
    }

    /// When the next attempt is due.
    pub fn next(&self) -> Option<Instant> {
        self.failed.values().filter_map(|(_, at)| *at).min()
    }

    /// The devices whose time has come.
    pub fn due(&mut self, now: Instant) -> Vec<String> {
        let mut due = Vec::new();
        for (name, (_, at)) in &mut self.failed {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                due.push(name.clone());
            }
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there(devices: &[(&str, u64, u64)]) -> There {
        let identity = |sequence, start| Identity { sequence, start };
        devices
            .iter()
            .map(|(name, sequence, start)| ((*name).to_owned(), identity(*sequence, *start)))
            .collect()
    }

    fn inventory(devices: &[(&str, u64, u64)]) -> Inventory {
        let mut inventory = Inventory::default();
        for (name, identity) in there(devices) {
            inventory.know(&name, identity);
        }
        inventory
    }

    #[test]
    fn lost_messages_cost_nothing() {
        let inventory = inventory(&[
            ("sr0", 4, 0),
            ("vda", 1, 0),
            ("vdb", 2, 0),
            ("vdb1", 2, 2048),
        ]);
        let same = [
            ("sr0", 4, 0),
            ("vda", 1, 0),
            ("vdb", 2, 0),
            ("vdb1", 2, 2048),
            ("vdc", 9, 0),
        ];
        assert!(inventory.gone(&there(&same)).is_empty());
        // One went, one is another of the same name, one has another medium, one begins elsewhere.
        let other = [("sr0", 5, 0), ("vdb", 2, 0), ("vdb1", 2, 4096)];
        assert_eq!(inventory.gone(&there(&other)), ["sr0", "vda", "vdb1"]);
    }

    #[test]
    fn a_device_that_goes_while_it_is_read_is_looked_at_again() {
        let mut inventory = Inventory::default();
        assert!(inventory.begin("vda"));
        assert!(!inventory.begin("vda"));
        assert!(!inventory.end("vda"));
        assert!(inventory.begin("vda"));
        assert_eq!(inventory.gone(&There::new()), ["vda"]);
        inventory.forget("vda");
        assert!(!inventory.end("vda"));
        assert!(inventory.begin("vda") && inventory.end("vda"));
    }

    #[test]
    fn a_late_message_is_not_about_the_next_disk() {
        let inventory = inventory(&[("vda", 7, 0)]);
        assert!(!inventory.concerns("vda", Some(6)));
        for sequence in [None, Some(7), Some(8)] {
            assert!(inventory.concerns("vda", sequence));
        }
        assert!(inventory.concerns("vdb", Some(1)));
    }

    #[test]
    fn an_attempt_is_made_again_later_and_later() {
        let (mut retries, mut now) = (Retries::default(), Instant::now());
        assert_eq!(retries.next(), None);
        assert!(retries.failed("vda", Some(Place::Persistent), "Input/output error", now));
        assert!(retries.concern(Place::Persistent) && !retries.concern(Place::Iso));
        for pause in [10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600] {
            let pause = Duration::from_secs(pause);
            assert_eq!(retries.next(), Some(now + pause));
            assert!(retries.due(now).is_empty());
            now += pause;
            assert_eq!(retries.due(now), ["vda"]);
            assert_eq!(retries.next(), None, "while it is under way");
            assert!(!retries.failed("vda", Some(Place::Persistent), "Input/output error", now));
        }
        assert!(retries.failed("vda", Some(Place::Persistent), "No medium found", now));
        retries.forget("vda");
        assert_eq!(retries.next(), None);
        assert!(!retries.concern(Place::Persistent));
    }
}
