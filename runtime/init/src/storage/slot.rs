//! The two places for what storage brings, and how each changes. No I/O here.

use std::path::Path;

/// Where a file system goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// `/iso`.
    Iso,
    /// `/persistent`.
    Persistent,
}

impl Place {
    /// Where it is.
    pub fn path(self) -> &'static Path {
        Path::new(match self {
            Self::Iso => "/iso",
            Self::Persistent => "/persistent",
        })
    }
}

/// What is in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing but the file system that refuses writes.
    Empty,
    /// A thread mounts this device.
    Mounting(String),
    /// The same, but the device is not there any more. Only the thread's report tells whether there is something to
    /// unmount: before it, what lies on top may still be the file system that refuses writes.
    Lost(String),
    /// This device.
    Mounted(String),
    /// A thread unmounts what was there. Until it has, nothing else is mounted: it would be unmounted in its place.
    Leaving,
}

/// What has to be done about a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    Nothing,
    /// Its device went while it was being mounted: wait for the report.
    Wait,
    /// Unmount its device, which is gone; the place is empty after that.
    Vacate,
    /// Take note that it is mounted.
    Settle,
    /// Take note that it was not mounted; the place is empty.
    Clear,
}

impl Slot {
    /// The device that this is about, as long as it is there.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Empty | Self::Lost(_) | Self::Leaving => None,
            Self::Mounting(name) | Self::Mounted(name) => Some(name),
        }
    }

    /// The device whose mounting has not ended.
    pub fn unanswered(&self) -> Option<&str> {
        match self {
            Self::Mounting(name) | Self::Lost(name) => Some(name),
            Self::Empty | Self::Mounted(_) | Self::Leaving => None,
        }
    }

    /// The device `name`, or the medium in it, was taken away.
    pub fn removed(&mut self, name: &str) -> Change {
        match self {
            Self::Mounting(device) if device == name => {
                *self = Self::Lost(name.to_owned());
                Change::Wait
            }
            Self::Mounted(device) if device == name => {
                *self = Self::Leaving;
                Change::Vacate
            }
            _ => Change::Nothing,
        }
    }

    /// The thread that mounts has ended, with success or without.
    pub fn answered(&mut self, name: &str, success: bool) -> Change {
        let lost = matches!(self, Self::Lost(_));
        *self = match (lost, success) {
            (false, true) => Self::Mounted(name.to_owned()),
            (true, true) => Self::Leaving,
            (_, false) => Self::Empty,
        };
        match (lost, success) {
            (false, true) => Change::Settle,
            (false, false) => Change::Clear,
            (true, true) => Change::Vacate,
            // The name may be another device's by now.
            (true, false) => Change::Nothing,
        }
    }

    /// Begins to give up what is mounted there while its device is still there: its name, or `None` if nothing is mounted.
    pub fn release(&mut self) -> Option<String> {
        let Self::Mounted(name) = self else {
            return None;
        };
        let name = std::mem::take(name);
        *self = Self::Leaving;
        Some(name)
    }

    /// What was there is unmounted.
    pub fn left(&mut self) {
        if *self == Self::Leaving {
            *self = Self::Empty;
        }
    }

    /// What was to be given up is in use and stays.
    pub fn stays(&mut self, name: &str) {
        if *self == Self::Leaving {
            *self = Self::Mounted(name.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounting() -> Slot {
        Slot::Mounting("vdb".into())
    }

    #[test]
    fn what_is_mounted_is_unmounted_with_its_device() {
        let mut slot = mounting();
        assert_eq!(slot.answered("vdb", true), Change::Settle);
        assert_eq!(slot, Slot::Mounted("vdb".into()));
        assert_eq!(slot.removed("vda"), Change::Nothing);
        assert_eq!(slot.removed("vdb"), Change::Vacate);
        // The place is free when the thread says so, and not before.
        assert_eq!(slot, Slot::Leaving);
        assert_eq!((slot.device(), slot.unanswered()), (None, None));
        assert_eq!(slot.removed("vdb"), Change::Nothing);
        slot.left();
        assert_eq!(slot, Slot::Empty);
        slot.left();
        assert_eq!(slot, Slot::Empty);
    }

    #[test]
    fn what_is_in_use_is_not_given_up() {
        let mut slot = Slot::Mounted("sr0".into());
        assert_eq!(slot.release().as_deref(), Some("sr0"));
        assert_eq!(slot.release(), None);
        slot.stays("sr0");
        assert_eq!(slot.release().as_deref(), Some("sr0"));
        slot.left();
        assert_eq!(slot, Slot::Empty);
        slot.stays("sr0");
        assert_eq!(slot, Slot::Empty);
    }

    #[test]
    fn what_refuses_writes_stays_when_a_disk_goes_before_it_is_mounted() {
        let mut slot = mounting();
        assert_eq!(slot.removed("vdb"), Change::Wait);
        assert_eq!(slot.unanswered(), Some("vdb"));
        assert_eq!(slot.answered("vdb", false), Change::Nothing);
        assert_eq!(slot, Slot::Empty);
    }

    #[test]
    fn a_disk_that_goes_while_it_is_mounted_leaves_its_place_to_another() {
        let mut slot = mounting();
        assert_eq!(slot.removed("vdb"), Change::Wait);
        // The next one of that name is another disk, and nothing is mounted before the report.
        assert_eq!(slot.device(), None);
        assert_ne!(slot, Slot::Empty);
        assert_eq!(slot.removed("vdb"), Change::Nothing);
        assert_eq!(slot.answered("vdb", true), Change::Vacate);
        assert_eq!(slot, Slot::Leaving);
        slot.left();
        assert_eq!(slot, Slot::Empty);
    }

    #[test]
    fn a_device_that_cannot_be_mounted_leaves_the_place_empty() {
        let mut slot = mounting();
        assert_eq!(slot.answered("vdb", false), Change::Clear);
        assert_eq!(slot, Slot::Empty);
        assert_eq!(slot.unanswered(), None);
    }
}
