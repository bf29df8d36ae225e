//! The clock: never before the image was built nor before the machine was last switched off, right from the start where
//! the hypervisor shows its clock, and else as soon as time servers answer.
//!
//! Only a server's word or the hypervisor's sets it back, and no word sets it before the image's floor. Nothing here
//! listens: each question has a socket of its own that hears one server.

mod calendar;
pub(crate) mod discipline;
mod exchange;
mod keeper;
mod kernel;
mod outside;
mod pace;
mod ptp;
mod refusals;
mod resume;
mod round;
pub(crate) mod saved;
mod select;
pub(crate) mod sntp;
#[cfg(test)]
mod tests;

pub use calendar::Date;

use std::io;
use std::path::PathBuf;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::settings;
use crate::status::Board;
use keeper::{Keeper, is_possible};
use kernel::{Kernel, Machine, seconds};

pub use outside::{now, set};

const NANOSECONDS: i64 = 1_000_000_000;

/// Sets the clock as well as it can be without a disk and without a network: to the hypervisor's clock if there is one,
/// else forward to the floor of the settings if it is before that. Says where the time comes from, in the words of
/// [`tinyboot::status::Clock::source`]. Takes microseconds.
#[must_use = "the status says where the time comes from"]
pub fn start(settings: &settings::Clock) -> &'static str {
    start_on(&Kernel, settings)
}

fn start_on(machine: &impl Machine, settings: &settings::Clock) -> &'static str {
    let source = raise(machine, settings, None);
    let Some(host) = machine.host() else {
        return source;
    };
    if !is_possible(machine, settings, host.offset) {
        log::warn!("clock: the hypervisor's clock is before the image's floor; it is ignored");
        return source;
    }
    let by = format!("the hypervisor's clock ({})", host.source);
    match step(machine, host.offset, &by) {
        Ok(()) => host.source,
        Err(error) => {
            log::error!("clock: it cannot be set: {error}");
            source
        }
    }
}

/// Sets the clock at once by an offset in nanoseconds, and says so.
fn step(machine: &impl Machine, offset: i64, by: &str) -> io::Result<()> {
    machine.set(machine.now().saturating_add(offset))?;
    let now = Date::of(machine.now().div_euclid(NANOSECONDS));
    let side = if offset < 0 { "behind" } else { "ahead" };
    let off = seconds(offset).abs();
    log::info!("clock: set to {now}, {off:.3} s {side} of what it was, by {by}");
    Ok(())
}

/// The floor in seconds since 1970.
fn floor_of(settings: &settings::Clock) -> i64 {
    i64::try_from(settings.floor).unwrap_or(0)
}

/// Sets the clock forward if it is before the floor of the settings or before the time that was saved, and says where the
/// time comes from. Never sets it back.
fn raise(machine: &impl Machine, settings: &settings::Clock, saved: Option<i64>) -> &'static str {
    let floor = floor_of(settings);
    let saved = saved.unwrap_or(0);
    let now = machine.now().div_euclid(NANOSECONDS);
    let least = floor.max(saved);
    if now >= least {
        return "rtc";
    }
    // What is saved is known when the clock may have been raised already, so it is not the RTC's word any longer.
    let (source, whose, what) = if saved > floor {
        ("saved", "clock: it", "the time saved on /persistent")
    } else {
        ("floor", "clock: the RTC", "the image's floor")
    };
    let (now, then) = (Date::of(now), Date::of(least));
    match machine.set(least.saturating_mul(NANOSECONDS)) {
        Ok(()) => log::info!("{whose} says {now}, before {what}; set to {then}"),
        Err(error) => {
            log::error!("{whose} says {now}, before {what}, but cannot be set to {then}: {error}")
        }
    }
    source
}

/// Keeps the clock right until `stop` is cancelled: by the hypervisor's clock where there is one, else by the servers
/// that DHCP names and then those of the settings, asked as soon as a link is configured and again every 17 minutes, and
/// at once when the machine seems to have been paused, which `pauses` is told of too, or when `restored` says that it goes on
/// from a snapshot. The time is saved below `persistent` after each step, every hour, and at the end.
pub async fn run(
    settings: settings::Clock,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Sender<()>,
    restored: watch::Receiver<()>,
    stop: CancellationToken,
) {
    Keeper::new(Kernel, settings, board, persistent, pauses)
        .run(restored, stop)
        .await;
}
