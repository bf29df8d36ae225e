//! Init's place before the app: however many of the app's threads want the processor, whoever asks the machine to stop is
//! heard, and the watchdogs are fed.

use std::io;

use nix::libc;

/// Gives the calling thread the processor before all ordinary threads (`SCHED_RR`, sched(7)). What it starts does not
/// inherit that.
pub fn raise() {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the parameters outlive the call, which changes the calling thread alone.
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } != 0 {
        log::warn!(
            "init: it waits for the processor as the app does: {}",
            io::Error::last_os_error()
        );
    }
}
