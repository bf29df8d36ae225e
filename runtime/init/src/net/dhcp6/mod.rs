//! A DHCPv6 client (RFC 8415) that does no I/O and has no clock: bytes and times in; messages, changes of what the link
//! has and the next deadline out. It asks for one address, or for the other settings alone, as the routers want it.
//!
//! Where it departs from the RFC, since a boot must be quick, and why:
//!
//! - No random delay before the first message (sections 18.2.1 and 18.2.6, SOL_MAX_DELAY and INF_MAX_DELAY): the check of
//!   the link-local address and the router's answer came before, which spreads machines that start together.
//! - Offers are compared for 300 ms from the first one on, not for the whole first second.
//! - A server that offers and then is silent is given up after three messages, not ten, as the DHCPv4 client does. Its next
//!   offer is passed over for a second, so that another server gets its turn whatever the preferences are.
//! - A Solicit or an Information-request is repeated at least as often as `network.longestRetry` says, not once an hour,
//!   until a server says what it wants (SOL_MAX_RT, INF_MAX_RT).
//! - The first Solicit alone asks for a rapid commit, since some servers do not answer one that does.
//! - All goes to all servers on the link (RFC 9915 has dropped unicast), so that UseMulticast has nothing to tell.
//! - Nothing is released at a shutdown: neither is a DHCPv4 lease, and the next boot gets the same address back.

mod apply;
mod client;
#[cfg(any(test, fuzzing))]
pub mod drive;
mod lease;
mod message;
pub mod socket;

pub use apply::{remove, set};
pub use client::{Action, Ask, Cause, Client};
pub use lease::{Held, Lease};

/// What tests of other modules build on.
#[cfg(test)]
pub mod testing {
    pub use super::message::{Identity, fake, kind, option, status};
}
