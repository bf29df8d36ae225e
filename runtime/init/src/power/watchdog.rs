//! The hardware watchdogs: they restart the machine when init's event loop stands still
//! (Documentation/watchdog/watchdog-api.rst).
//!
//! All that there are are used: the TCO timer of QEMU's q35 says that it can restart the machine, also where it is told
//! not to, and then only the other one does.
//!
//! They are armed before anything that can hang, and never disarmed: also during a shutdown they are the last resort for a
//! machine that hangs. The kernel's drivers stop or restart their timer themselves when they are told of the reboot or
//! power-off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::libc::c_int;

use crate::uevent::{Event, Subscription};

const DEVICES: &str = "/dev";
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

nix::ioctl_read!(
    /// WDIOC_GETBOOTSTATUS: why the machine started.
    get_boot_status,
    b'W',
    2,
    c_int
);

/// WDIOF_CARDRESET: the watchdog has reset the machine.
const HAS_RESET: c_int = 0x20;

static RESTARTED: AtomicBool = AtomicBool::new(false);

/// Whether a watchdog says that it was the one that started this boot. Not all drivers can tell.
pub fn has_restarted() -> bool {
    RESTARTED.load(Ordering::Relaxed)
}

/// One that runs and wants to be fed.
#[derive(Debug)]
pub struct Armed {
    device: File,
    driver: String,
    /// How long it waits for food.
    timeout: Duration,
    /// What the driver said when it was asked for another time.
    refusal: Option<nix::errno::Errno>,
}

/// Arms each watchdog that is there and that nobody has armed. They wait for food from then on.
pub fn arm() -> Vec<Armed> {
    let mut names: Vec<String> = fs::read_dir(DEVICES)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_watchdog(name))
        .collect();
    names.sort();
    names.iter().filter_map(|name| arm_one(name)).collect()
}

/// The devices have numbers; the one without is the first of them again.
fn is_watchdog(name: &str) -> bool {
    name.strip_prefix("watchdog")
        .is_some_and(|number| number.parse::<u8>().is_ok())
}

fn arm_one(name: &str) -> Option<Armed> {
    let path = Path::new(DEVICES).join(name);
    match open(&path) {
        Ok(armed) => Some(armed),
        Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => None,
        Err(error) => {
            log::warn!("power: {} cannot be used: {error}", path.display());
            None
        }
    }
}

fn open(path: &Path) -> io::Result<Armed> {
    let device = OpenOptions::new().write(true).open(path)?;
    let mut info = Info::default();
    // SAFETY: the descriptor is open, and the kernel writes no more than one `struct watchdog_info` at this address.
    if unsafe { get_support(device.as_raw_fd(), &raw mut info) }.is_err() {
        info = Info::default();
    }
    let mut boot = 0;
    // SAFETY: the descriptor is open, and the kernel writes one int at the address of `boot`.
    if unsafe { get_boot_status(device.as_raw_fd(), &raw mut boot) }.is_ok()
        && boot & HAS_RESET != 0
    {
        RESTARTED.store(true, Ordering::Relaxed);
    }
    let driver = String::from_utf8_lossy(&info.identity);
    let driver = driver.trim_end_matches('\0').to_owned();
    let stages = stages(&driver);
    let mut stage = TIMEOUT / stages;
    // SAFETY: the descriptor is open, and the kernel reads and writes one int at the address of `stage`.
    let refusal = unsafe { set_timeout(device.as_raw_fd(), &raw mut stage) }.err();
    if refusal.is_some() {
        stage = UNKNOWN;
    }
    let seconds = u64::try_from(stage.saturating_mul(stages)).unwrap_or(1);
    Ok(Armed {
        device,
        driver,
        timeout: Duration::from_secs(seconds.max(1)),
        refusal,
    })
}

/// How often the hardware of this driver counts down before it restarts the machine: the time that the driver is told is
/// that of once. Intel's TCO has a first time for the firmware to do something, and restarts at the end of a second one;
/// i6300esb has two as well, but its driver divides by itself.
fn stages(driver: &str) -> c_int {
    if driver == "iTCO_wdt" { 2 } else { 1 }
}

/// Feeds those that were armed and those that come, for ever.
pub async fn run(mut armed: Vec<Armed>, mut uevents: Subscription) {
    // What came while nobody listened.
    armed.extend(arm());
    loop {
        for watchdog in armed.drain(..) {
            tokio::spawn(feed(watchdog));
        }
        match uevents.next().await {
            Event::Device(uevent)
                if uevent.action == "add" && is_watchdog(uevent.field("DEVNAME")) =>
            {
                armed.extend(arm_one(uevent.field("DEVNAME")));
            }
            Event::Device(_) => {}
            Event::Lost => armed.extend(arm()),
        }
    }
}

async fn feed(watchdog: Armed) {
    let Armed {
        mut device,
        driver,
        timeout,
        refusal,
    } = watchdog;
    if let Some(error) = refusal {
        log::info!(
            "power: the watchdog {driver} keeps its own timeout, it refused {TIMEOUT} s: {}",
            error.desc()
        );
    }
    log::info!(
        "power: the watchdog {driver} restarts the machine if init stands still for {} s",
        timeout.as_secs()
    );
    let mut meals = tokio::time::interval(timeout / 4);
    meals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        meals.tick().await;
        // Any byte but `V`, which would disarm it when the file is closed.
        if let Err(error) = device.write_all(&[0]) {
            return log::error!("power: the watchdog {driver} cannot be fed: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_counts_twice_is_told_half_the_time() {
        assert_eq!(stages("iTCO_wdt"), 2);
        assert_eq!(stages("i6300ESB timer"), 1);
        assert_eq!(stages(""), 1);
    }

    #[test]
    fn each_device_is_used_once() {
        for name in ["watchdog", "watchdogs", "watchdog-1", "rtc0", ""] {
            assert!(!is_watchdog(name), "{name}");
        }
        assert!(is_watchdog("watchdog0") && is_watchdog("watchdog12"));
    }
}
