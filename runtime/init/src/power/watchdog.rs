//! The hardware watchdog: it restarts the machine when init's event loop stands still
//! (Documentation/watchdog/watchdog-api.rst).
//!
//! It is armed before anything that can hang, and never disarmed: also during a shutdown it is the last resort for a
//! machine that hangs. The kernel's drivers stop or restart their timer themselves when they are told of the reboot or
//! power-off.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc::c_int;

use crate::uevent::{Event, Subscription};

const DEVICE: &str = "/dev/watchdog";
/// Seconds without food until the machine restarts.
const TIMEOUT: c_int = 60;
/// What is counted on where the driver does not let itself be told: most start with 60 s, few with less than 10.
const UNKNOWN: c_int = 10;

/// `struct watchdog_info` (linux/watchdog.h).
#[repr(C)]
#[derive(Default)]
struct Info {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

nix::ioctl_read!(
    /// WDIOC_GETSUPPORT: which driver it is.
    get_support,
    b'W',
    0,
    Info
);

nix::ioctl_readwrite!(
    /// WDIOC_SETTIMEOUT: asks for a number of seconds and gets the one that the hardware can do.
    set_timeout,
    b'W',
    6,
    c_int
);

/// One that runs and wants to be fed.
#[derive(Debug)]
pub struct Armed {
    device: File,
    /// How long it waits for food.
    timeout: Duration,
    /// What the driver said when it was asked for another time.
    refusal: Option<nix::errno::Errno>,
}

/// Arms the watchdog, if there is one. It waits for food from then on.
///
/// # Errors
///
/// What the kernel says, `NotFound` when there is none.
pub fn arm() -> io::Result<Armed> {
    let device = OpenOptions::new().write(true).open(DEVICE)?;
    let mut info = Info::default();
    // SAFETY: the descriptor is open, and the kernel writes no more than one `struct watchdog_info` at this address.
    if unsafe { get_support(device.as_raw_fd(), &raw mut info) }.is_err() {
        info = Info::default();
    }
    let stages = stages(&info.identity);
    let mut stage = TIMEOUT / stages;
    // SAFETY: the descriptor is open, and the kernel reads and writes one int at the address of `stage`.
    let refusal = unsafe { set_timeout(device.as_raw_fd(), &raw mut stage) }.err();
    if refusal.is_some() {
        stage = UNKNOWN;
    }
    let seconds = u64::try_from(stage.saturating_mul(stages)).unwrap_or(1);
    Ok(Armed {
        device,
        timeout: Duration::from_secs(seconds.max(1)),
        refusal,
    })
}

/// How often the hardware of this driver counts down before it restarts the machine: the time that the driver is told is
/// that of once. Intel's TCO has a first time for the firmware to do something, and restarts at the end of a second one;
/// i6300esb has two as well, but its driver divides by itself.
fn stages(identity: &[u8]) -> c_int {
    if identity.starts_with(b"iTCO_wdt\0") {
        2
    } else {
        1
    }
}

/// Feeds the watchdog for ever: the one that was armed, or the one that comes.
pub async fn run(mut armed: io::Result<Armed>, mut uevents: Subscription) {
    loop {
        match armed {
            Ok(armed) => {
                if let Some(error) = armed.refusal {
                    log::info!(
                        "power: the watchdog keeps its own timeout, it refused {TIMEOUT} s: {}",
                        error.desc()
                    );
                }
                log::info!(
                    "power: the watchdog restarts the machine if init stands still for {} s",
                    armed.timeout.as_secs()
                );
                let error = feed(armed.device, armed.timeout).await;
                log::error!("power: the watchdog cannot be fed: {error}");
                return;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => log::warn!("power: {DEVICE} cannot be used: {error}"),
        }
        loop {
            match uevents.next().await {
                Event::Device(uevent)
                    if uevent.action == "add" && uevent.field("DEVNAME") == "watchdog" =>
                {
                    break;
                }
                Event::Device(_) => {}
                Event::Lost => break,
            }
        }
        armed = arm();
    }
}

async fn feed(mut device: File, timeout: Duration) -> io::Error {
    let mut meals = tokio::time::interval(timeout / 4);
    meals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        meals.tick().await;
        // Any byte but `V`, which would disarm it when the file is closed.
        if let Err(error) = device.write_all(&[0]) {
            return error;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_counts_twice_is_told_half_the_time() {
        let identity = |name: &str| {
            let mut identity = [0; 32];
            identity
                .iter_mut()
                .zip(name.bytes())
                .for_each(|(to, from)| *to = from);
            identity
        };
        assert_eq!(stages(&identity("iTCO_wdt")), 2);
        assert_eq!(stages(&identity("i6300ESB timer")), 1);
        assert_eq!(stages(&identity("")), 1);
    }
}
