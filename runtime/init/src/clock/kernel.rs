//! The machine's own clocks: clock_settime(2), adjtimex(2), rtc(4) and the host's by PTP.

use std::fs::File;
use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc;
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime, clock_settime};
use tokio::time::timeout;

use super::calendar::Date;
use super::ptp::{self, Host};
use super::resume::Reading;
use crate::threads;

/// The RTC's time in seconds since 1970, as the kernel reads it.
const RTC: &str = "/sys/class/rtc/rtc0/since_epoch";
const NANOSECONDS: i64 = 1_000_000_000;
/// How long a device may take that the clock's task waits for.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the clock's task does to the machine; tests have another one.
pub trait Machine: Send + Sync + 'static {
    /// The time in nanoseconds since 1970.
    fn now(&self) -> i64;
    /// Sets the time at once.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    fn set(&self, nanoseconds: i64) -> io::Result<()>;
    /// Lets the clock run faster or slower by at most 500 ppm until it has gained these nanoseconds; replaces what
    /// was left of the last time.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    fn slew(&self, nanoseconds: i64) -> io::Result<()>;
    /// Tells programs that ask by adjtimex(2) that the clock is right within `error`. The kernel takes it back when
    /// it was not told again for nine hours.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    fn vouch(&self, error: Duration) -> io::Result<()>;
    /// What the hypervisor shows of the host's clock; `None` if there is no such thing.
    fn host(&self) -> Option<Host>;
    /// What RTC and clock say, and how long the machine has run; `None` if there is no RTC, or if reading it took so
    /// long that they do not belong together. Takes about a millisecond.
    fn reading(&self) -> Option<Reading>;
    /// Writes the time into the RTC. May block for a second.
    ///
    /// # Errors
    ///
    /// What the kernel says, for one that there is no RTC.
    fn write_rtc(&self) -> io::Result<()>;
    /// Does `work`, which asks a device, beside the event loop; `None` if the device takes too long, or still has not
    /// answered an earlier question.
    fn beside<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = Option<T>> + Send;
}

/// The real one.
pub struct Kernel;

impl Machine for Kernel {
    fn now(&self) -> i64 {
        // The real-time clock can always be read.
        let now = clock_gettime(ClockId::CLOCK_REALTIME).unwrap_or(TimeSpec::new(0, 0));
        now.tv_sec()
            .saturating_mul(NANOSECONDS)
            .saturating_add(now.tv_nsec())
    }

    fn set(&self, nanoseconds: i64) -> io::Result<()> {
        let time = TimeSpec::new(
            nanoseconds.div_euclid(NANOSECONDS),
            nanoseconds.rem_euclid(NANOSECONDS),
        );
        Ok(clock_settime(ClockId::CLOCK_REALTIME, time)?)
    }

    fn slew(&self, nanoseconds: i64) -> io::Result<()> {
        // SAFETY: a timex of zeros is valid.
        let mut request: libc::timex = unsafe { zeroed() };
        request.modes = libc::ADJ_OFFSET_SINGLESHOT;
        request.offset = nanoseconds / 1000;
        adjtimex(&mut request)
    }

    fn vouch(&self, error: Duration) -> io::Result<()> {
        // SAFETY: a timex of zeros is valid. Its status is then without STA_UNSYNC.
        let mut request: libc::timex = unsafe { zeroed() };
        request.modes = libc::ADJ_STATUS | libc::ADJ_MAXERROR | libc::ADJ_ESTERROR;
        request.maxerror = libc::c_long::try_from(error.as_micros()).unwrap_or(libc::c_long::MAX);
        request.esterror = request.maxerror;
        adjtimex(&mut request)
    }

    fn host(&self) -> Option<Host> {
        ptp::read()
    }

    fn reading(&self) -> Option<Reading> {
        let running = || {
            let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
            Some(time.tv_sec() * NANOSECONDS + time.tv_nsec())
        };
        let before = running()?;
        let reading = Reading {
            rtc: read_rtc().ok()?,
            clock: self.now(),
            running: running()?,
        };
        (reading.running - before < NANOSECONDS / 2).then_some(reading)
    }

    fn write_rtc(&self) -> io::Result<()> {
        let rtc = File::open("/dev/rtc0")?;
        // To the nearest second: the RTC knows no parts of one.
        let time = rtc_time(Date::of(
            (self.now() + NANOSECONDS / 2).div_euclid(NANOSECONDS),
        ));
        // SAFETY: the descriptor is open and the time outlives the call.
        unsafe { rtc_set_time(rtc.as_raw_fd(), &raw const time) }?;
        Ok(())
    }

    async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        static WAITING: AtomicBool = AtomicBool::new(false);
        if WAITING.swap(true, Ordering::Relaxed) {
            return None;
        }
        let answer = threads::DEVICES.run(move || {
            let answer = work();
            WAITING.store(false, Ordering::Relaxed);
            answer
        });
        timeout(PATIENCE, answer).await.ok()
    }
}

/// The RTC's time in seconds since 1970.
///
/// # Errors
///
/// There is none, or it cannot be read.
pub fn read_rtc() -> io::Result<i64> {
    let text = std::fs::read_to_string(RTC)?;
    text.trim()
        .parse()
        .map_err(|_| io::ErrorKind::InvalidData.into())
}

fn adjtimex(request: &mut libc::timex) -> io::Result<()> {
    // SAFETY: the request outlives the call.
    match unsafe { libc::adjtimex(request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// `struct rtc_time` (linux/rtc.h).
#[repr(C)]
#[derive(Debug, PartialEq, Eq)]
struct RtcTime {
    sec: libc::c_int,
    min: libc::c_int,
    hour: libc::c_int,
    mday: libc::c_int,
    mon: libc::c_int,
    year: libc::c_int,
    wday: libc::c_int,
    yday: libc::c_int,
    isdst: libc::c_int,
}

nix::ioctl_write_ptr!(rtc_set_time, b'p', 0x0a, RtcTime);

/// The kernel's form of a date; it takes neither the day of the week nor that of the year from it.
fn rtc_time(date: Date) -> RtcTime {
    RtcTime {
        sec: (date.seconds % 60) as libc::c_int,
        min: (date.seconds / 60 % 60) as libc::c_int,
        hour: (date.seconds / 3600) as libc::c_int,
        mday: date.day as libc::c_int,
        mon: (date.month - 1) as libc::c_int,
        year: (date.year - 1900) as libc::c_int,
        wday: 0,
        yday: 0,
        isdst: 0,
    }
}

/// Nanoseconds as signed seconds, for the log and the status.
pub fn seconds(nanoseconds: i64) -> f64 {
    let magnitude = Duration::from_nanos(nanoseconds.unsigned_abs()).as_secs_f64();
    if nanoseconds < 0 {
        -magnitude
    } else {
        magnitude
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_in_the_kernels_form() {
        let time = rtc_time(Date::of(1_795_435_200 + 3_723));
        assert_eq!((time.year, time.mon, time.mday), (126, 10, 23));
        assert_eq!((time.hour, time.min, time.sec), (13, 2, 3));
    }

    #[test]
    fn the_clock_can_be_read() {
        assert!(Kernel.now() > 0);
    }

    #[test]
    fn offsets_have_a_sign() {
        assert_eq!(
            (seconds(-1_500_000_000), seconds(250_000_000)),
            (-1.5, 0.25)
        );
    }
}
