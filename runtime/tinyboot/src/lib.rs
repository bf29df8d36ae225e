//! The machine that a program is, seen by the program.
//!
//! On a tinyboot machine one program runs, started by init, which owns mounts, network, clock and power. Init says what
//! it has found in a file, asks for an end with SIGTERM, and listens to what the program says on a socket. All of that
//! is usable from any language; this crate is the typed view of it.
//!
//! [`configure`] returns a [`Machine`]:
//!
//! | question | answer |
//! |---|---|
//! | Am I to stop? | [`Machine::token`], a [`CancellationToken`] |
//! | Power-off or reboot? | [`Machine::action`] |
//! | Where is the image's content, where may I keep data? | [`Machine::iso`], [`Machine::persistent`] |
//! | Is there a network? Is the time right? | [`Machine::network`], [`Machine::clock`], both awaited |
//! | Everything else, now or whenever it changes | [`Machine::status`], [`Machine::changes`] |
//!
//! and the program answers with [`Machine::notify_ready`], [`Machine::notify_status`], [`Machine::notify_stopping`],
//! [`Machine::extend_timeout`] and [`Machine::notify_watchdog`].
//!
//! No cleanup has to be called at the end: whatever way the program ends, init stops what is left of it, unmounts the
//! file systems and switches the machine off or starts it again.
//!
//! # An ordinary machine
//!
//! The same program runs on a developer's machine. There [`configure`] changes nothing: SIGINT (Ctrl-C) and SIGTERM
//! cancel the token, with [`Action::PowerOff`] as the action; there is no `/iso` and no `/persistent`; network and
//! clock are the operating system's business and count as there.
//!
//! # Example
//!
//! ```no_run
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> Result<(), tinyboot::Error> {
//!     let machine = tinyboot::configure()?;
//!     machine.notify_ready()?;
//!     if machine.network().await.is_ok() {
//!         // A link has an address: connect to something.
//!     }
//!     machine.token().cancelled().await;
//!     if let (Some(directory), Some(action)) = (machine.persistent(), machine.action()) {
//!         // What is in files below `directory` and fsynced is there after the `action`.
//!         println!("keeping the state in {} before {action}", directory.display());
//!     }
//!     Ok(())
//! }
//! ```
//!
//! # Features
//!
//! `client` (default) is all of the above and needs tokio. Without it only the types in [`status`] are left.

#[cfg(feature = "client")]
mod acpi;
#[cfg(feature = "client")]
mod error;
#[cfg(feature = "client")]
mod machine;
#[cfg(feature = "client")]
mod notify;
pub mod status;
#[cfg(feature = "client")]
mod watch;

#[cfg(feature = "client")]
pub use crate::{
    acpi::wait_acpi,
    error::{Error, Stopping},
    machine::{Machine, configure},
};
pub use status::{Action, Status};
#[cfg(feature = "client")]
pub use tokio_util::sync::CancellationToken;

/// The examples of README.md are compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
