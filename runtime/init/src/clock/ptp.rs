//! The host's clock, where the hypervisor shows it as a PTP hardware clock (ptp(4) in Documentation/driver-api/ptp.rst).
//!
//! KVM and Hyper-V do, in UTC as the host's own clock keeps it. A network card's clock is left alone: nobody says what it
//! counts, and most count TAI. So is VMware's, of which nobody says it either.

use std::fs::{self, File};
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

/// What the drivers call them (`clock_name` in sysfs), and what the status does.
const KNOWN: [(&str, &str); 2] = [("KVM virtual PTP", "ptp kvm"), ("hyperv", "ptp hyperv")];
/// Readings of one look; the quickest one counts.
const READINGS: usize = 5;
const NANOSECONDS: i64 = 1_000_000_000;

/// What the host's clock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Host {
    /// Which clock it is, in the words of [`tinyboot::status::Clock::source`].
    pub source: &'static str,
    /// Nanoseconds to add to the local clock.
    pub offset: i64,
    /// How far the reading may be off; how far the host's clock is, nobody says.
    pub error: Duration,
}

/// Reads the host's clock; `None` if there is none. Takes microseconds.
pub fn read() -> Option<Host> {
    let (name, source) = find(Path::new("/sys/class/ptp"))?;
    match measure(&Path::new("/dev").join(name)) {
        Ok((offset, error)) => Some(Host {
            source,
            offset,
            error,
        }),
        Err(error) => {
            log::debug!("clock: {source} cannot be read: {error}");
            None
        }
    }
}

/// The first of the known clocks below a directory like /sys/class/ptp.
fn find(class: &Path) -> Option<(String, &'static str)> {
    let mut found: Vec<(String, &'static str)> = fs::read_dir(class)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("clock_name")).ok()?;
            let (_, source) = KNOWN.iter().find(|(known, _)| *known == name.trim_end())?;
            Some((entry.file_name().into_string().ok()?, *source))
        })
        .collect();
    found.sort();
    found.into_iter().next()
}

/// `struct ptp_clock_time` (linux/ptp_clock.h).
#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    seconds: i64,
    nanoseconds: u32,
    reserved: u32,
}

impl Time {
    fn nanoseconds(self) -> i64 {
        self.seconds
            .saturating_mul(NANOSECONDS)
            .saturating_add(self.nanoseconds.into())
    }
}

/// `struct ptp_sys_offset_precise`.
#[repr(C)]
struct Precise {
    device: Time,
    realtime: Time,
    raw: Time,
    reserved: [u32; 4],
}

/// `struct ptp_sys_offset`: system, device, system, device, …, system.
#[repr(C)]
struct Interleaved {
    samples: u32,
    reserved: [u32; 3],
    times: [Time; 51],
}

nix::ioctl_readwrite!(ptp_sys_offset_precise, b'=', 8, Precise);
nix::ioctl_write_ptr!(ptp_sys_offset, b'=', 5, Interleaved);

/// Both clocks read as one by the processor where that works (KVM with the clock source that it wants), else one between
/// two readings of the other.
fn measure(device: &Path) -> io::Result<(i64, Duration)> {
    let device = File::open(device)?;
    // SAFETY: numbers, for which zeros are valid.
    let mut precise: Precise = unsafe { zeroed() };
    // SAFETY: the descriptor is open, and the structure is the one that this request fills.
    if unsafe { ptp_sys_offset_precise(device.as_raw_fd(), &raw mut precise) }.is_ok() {
        let offset = precise
            .device
            .nanoseconds()
            .saturating_sub(precise.realtime.nanoseconds());
        return Ok((offset, Duration::from_micros(1)));
    }
    // SAFETY: numbers, for which zeros are valid.
    let mut interleaved: Interleaved = unsafe { zeroed() };
    interleaved.samples = READINGS as u32;
    // SAFETY: the descriptor is open, and the structure is the one that this request reads and fills.
    unsafe { ptp_sys_offset(device.as_raw_fd(), &raw mut interleaved) }?;
    let times = interleaved.times.map(Time::nanoseconds);
    quickest(times.get(..2 * READINGS + 1).unwrap_or_default())
        .ok_or(io::ErrorKind::InvalidData.into())
}

/// The device's offset and its error by the shortest of the intervals system, device, system.
fn quickest(times: &[i64]) -> Option<(i64, Duration)> {
    times
        .windows(3)
        .step_by(2)
        .filter_map(|window| {
            let [before, device, after] = *window else {
                return None;
            };
            let took = after.checked_sub(before).filter(|took| *took >= 0)?;
            let offset = device.checked_sub(before)?.checked_sub(took / 2)?;
            Some((offset, Duration::from_nanos(took.unsigned_abs() / 2)))
        })
        .min_by_key(|(_, error)| *error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_structures_are_the_kernels() {
        assert_eq!(size_of::<Precise>(), 64);
        assert_eq!(size_of::<Interleaved>(), 16 + 51 * 16);
    }

    #[test]
    fn the_hosts_clock_is_found_among_others() -> io::Result<()> {
        let class = tempfile::tempdir()?;
        let add = |name: &str, clock: &str| {
            let directory = class.path().join(name);
            fs::create_dir(&directory)?;
            fs::write(directory.join("clock_name"), format!("{clock}\n"))
        };
        assert_eq!(find(&class.path().join("none")), None);
        assert_eq!(find(class.path()), None);
        add("ptp0", "52:54:00:12:34:56")?;
        add("ptp1", "ptp_vmw")?;
        assert_eq!(find(class.path()), None);
        add("ptp2", "hyperv")?;
        assert_eq!(find(class.path()), Some(("ptp2".into(), "ptp hyperv")));
        add("ptp10", "KVM virtual PTP")?;
        assert_eq!(find(class.path()), Some(("ptp10".into(), "ptp kvm")));
        Ok(())
    }

    #[test]
    fn the_quickest_reading_counts() {
        let times = [1000, 51_010, 1100, 51_150, 1120, 51_200, 1400];
        assert_eq!(quickest(&times), Some((50_040, Duration::from_nanos(10))));
        assert_eq!(quickest(&[5, 3, 1]), None);
        assert_eq!(quickest(&[5]), None);
    }

    proptest! {
        #[test]
        fn nothing_overflows(times in proptest::collection::vec(any::<i64>(), 0..11)) {
            let _ = quickest(&times);
        }
    }
}
