//! The hardware watchdog: it restarts the machine when init's event loop stands still
//! (Documentation/watchdog/watchdog-api.rst).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::libc::c_int;

use crate::uevent::{Event, Subscription};

const DEVICE: &str = "/dev/watchdog";
/// Seconds without food until the machine restarts.
const TIMEOUT: c_int = 60;

nix::ioctl_readwrite!(
    /// WDIOC_SETTIMEOUT: asks for a number of seconds and gets the one that the hardware can do.
    set_timeout,
    b'W',
    6,
    c_int
);

/// Arms the watchdog, when there is one or as soon as there is, and feeds it for ever.
///
/// It is never disarmed: also during a shutdown it is the last resort for a machine that hangs. The kernel's drivers stop
/// or restart their timer themselves when they are told of the reboot or power-off.
pub async fn run(mut uevents: Subscription) {
    loop {
        match arm() {
            Ok((device, timeout)) => {
                log::info!(
                    "power: the watchdog restarts the machine if init stands still for {} s",
                    timeout.as_secs()
                );
                let error = feed(device, timeout).await;
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
    }
}

fn arm() -> io::Result<(File, Duration)> {
    let device = OpenOptions::new().write(true).open(DEVICE)?;
    let mut timeout = TIMEOUT;
    // SAFETY: the descriptor is open, and the kernel reads and writes one int at the address of `timeout`.
    if let Err(error) = unsafe { set_timeout(device.as_raw_fd(), &raw mut timeout) } {
        log::info!(
            "power: the watchdog keeps its own timeout, it refused {TIMEOUT} s: {}",
            error.desc()
        );
        // Most drivers start with 60 s, few with less than 10.
        timeout = 10;
    }
    Ok((
        device,
        Duration::from_secs(u64::try_from(timeout).unwrap_or(1).max(1)),
    ))
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
