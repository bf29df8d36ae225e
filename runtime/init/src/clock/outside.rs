//! The time as a hypervisor tells it, by way of the guest agent.

use std::io;

use super::calendar::Date;
use super::kernel::{Kernel, Machine, read_rtc};
use super::{NANOSECONDS, floor_of};
use crate::settings;
use crate::status::Board;

/// Why the time was not set.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No image is started before it was built.
    #[error("{0} is before the image's floor")]
    TooEarly(Date),
    /// There is no RTC, or it cannot be read.
    #[error("the RTC cannot be read: {0}")]
    NoRtc(io::Error),
    /// The kernel refused.
    #[error("{0}")]
    Refused(io::Error),
}

/// The time in nanoseconds since 1970.
pub fn now() -> i64 {
    Kernel.now()
}

/// Sets the clock, and then the RTC, to a time in nanoseconds since 1970; without one, the clock to the RTC's time.
/// Never to one before the image's floor. May block for a second while the RTC is written.
///
/// # Errors
///
/// As above. Nothing was changed then.
pub fn set(settings: &settings::Clock, board: &Board, time: Option<i64>) -> Result<(), Error> {
    set_on(&Kernel, settings, board, time)
}

pub(super) fn set_on(
    machine: &impl Machine,
    settings: &settings::Clock,
    board: &Board,
    time: Option<i64>,
) -> Result<(), Error> {
    let wanted = match time {
        Some(time) => time,
        None => read_rtc()
            .map_err(Error::NoRtc)?
            .saturating_mul(NANOSECONDS),
    };
    let seconds = wanted.div_euclid(NANOSECONDS);
    let date = Date::of(seconds);
    if seconds < floor_of(settings) {
        return Err(Error::TooEarly(date));
    }
    machine.set(wanted).map_err(Error::Refused)?;
    log::info!("clock: set to {date} by the guest agent");
    board.update(|status| status.clock.source = "host".into());
    if time.is_some()
        && let Err(error) = machine.write_rtc()
    {
        log::debug!("clock: the RTC cannot be set: {error}");
    }
    Ok(())
}
