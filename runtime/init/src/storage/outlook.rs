//! Whether more devices are to be expected, and what would tell. No I/O and no clock here.

use std::time::Duration;

use crate::drivers::Progress;

/// How long nothing must have moved on a machine with USB: root hubs report a device within 100 ms after power is good,
/// and each further hub on the way as late again.
const QUIET: Duration = Duration::from_millis(800);
/// How long nothing must have moved until a device without a disk is taken for one that has none. usb_storage gives a
/// device one second before it asks for its disks, and an NVMe controller names its own within milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Devices that may become disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Coming {
    /// There are none.
    None,
    /// Some have no disk, and nothing is under way for them that has an end: an NVMe controller without a namespace is
    /// one of these, and a USB stick for which the image has no driver.
    Perhaps,
    /// A driver is at work on one.
    Surely,
}

/// What sysfs says of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Sight {
    pub coming: Coming,
    /// There is a bus that finds its devices in its own time.
    pub slow_bus: bool,
}

/// What has to be waited for until all devices are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// Nothing: they are.
    Nothing,
    /// A message from a thread or from the drivers.
    Message,
    /// That time passes, in which no message may come.
    Time,
}

/// What has to be waited for. `reading` says that a device is being read, `complete` that there is a file system for both
/// places, and `calm` how long nothing has moved.
pub fn awaited(
    drivers: Progress,
    reading: bool,
    complete: bool,
    calm: Duration,
    look: impl FnOnce() -> Sight,
) -> Awaited {
    if !drivers.is_idle() || reading {
        return Awaited::Message;
    }
    let Sight { coming, slow_bus } = look();
    let wait = match coming {
        Coming::Surely => true,
        Coming::Perhaps => calm < PATIENCE,
        Coming::None => false,
    };
    if wait || (slow_bus && !complete && calm < QUIET) {
        Awaited::Time
    } else {
        Awaited::Nothing
    }
}

/// What the event loop has to listen to besides the kernel's messages and the threads' reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The progress of the drivers.
    pub drivers: bool,
    /// The passing of time.
    pub time: bool,
}

impl Watch {
    /// `settled` says that the app does not wait any more, `open` that it is not decided yet whether a blank disk becomes
    /// `/persistent`: that may take longer.
    pub fn new(settled: bool, open: bool, awaited: impl FnOnce() -> Awaited) -> Self {
        Self {
            drivers: !settled || open,
            time: !settled || (open && awaited() == Awaited::Time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Progress = Progress {
        coldplugged: true,
        waiting: 0,
    };

    fn after(calm: u64, coming: Coming, slow_bus: bool) -> Awaited {
        let calm = Duration::from_millis(calm);
        awaited(IDLE, false, false, calm, || Sight { coming, slow_bus })
    }

    #[test]
    fn a_controller_without_a_disk_is_not_waited_for_without_end() {
        assert_eq!(after(1_999, Coming::Perhaps, false), Awaited::Time);
        assert_eq!(after(2_000, Coming::Perhaps, false), Awaited::Nothing);
        assert_eq!(after(0, Coming::None, false), Awaited::Nothing);
    }

    #[test]
    fn a_disk_that_spins_up_is_waited_for() {
        assert_eq!(after(60_000, Coming::Surely, true), Awaited::Time);
    }

    #[test]
    fn usb_has_to_be_quiet_while_something_is_missing() {
        assert_eq!(after(799, Coming::None, true), Awaited::Time);
        assert_eq!(after(800, Coming::None, true), Awaited::Nothing);
        let sight = || Sight {
            coming: Coming::None,
            slow_bus: true,
        };
        let complete = awaited(IDLE, false, true, Duration::ZERO, sight);
        assert_eq!(complete, Awaited::Nothing);
    }

    #[test]
    fn nobody_looks_before_drivers_and_readers_are_done() {
        let busy = [
            (Progress::default(), false),
            (Progress { waiting: 1, ..IDLE }, false),
            (IDLE, true),
        ];
        for (drivers, reading) in busy {
            let look = || unreachable!("there are messages to come");
            let awaited = awaited(drivers, reading, true, Duration::MAX, look);
            assert_eq!(awaited, Awaited::Message);
        }
    }

    #[test]
    fn what_is_undecided_is_followed_after_the_deadline() {
        let watch = |settled, open, awaited| {
            let Watch { drivers, time } = Watch::new(settled, open, || awaited);
            (drivers, time)
        };
        // A driver is slower than the deadline: its end is heard of.
        assert_eq!(watch(true, true, Awaited::Message), (true, false));
        // After it, USB has to be quiet, which nobody announces.
        assert_eq!(watch(true, true, Awaited::Time), (true, true));
        assert_eq!(watch(true, true, Awaited::Nothing), (true, false));
        for awaited in [Awaited::Nothing, Awaited::Message, Awaited::Time] {
            assert_eq!(watch(true, false, awaited), (false, false));
            assert_eq!(watch(false, false, awaited), (true, true));
        }
    }
}
