//! A DHCPv4 client (RFC 2131) that does no I/O and has no clock: bytes and times in; messages, changes of the lease
//! and the next deadline out. The sockets are in [`super::link`].

mod backoff;
pub mod client;
mod lease;
pub mod message;
pub mod reply;

pub use backoff::Backoff;
pub use client::{Action, Cause, Client};
pub use lease::{Lease, Route, prefix_of, prefix_of_class};
pub use message::Identity;
pub use reply::is_host;

/// What tests of other modules build on.
#[cfg(test)]
pub mod testing {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    /// A server's message, of the kind with this number, that gives `address` in a /24 for an hour.
    pub fn reply(kind: u8, xid: u32, mac: [u8; 6], address: Ipv4Addr, server: Ipv4Addr) -> Vec<u8> {
        let options = [
            (53, vec![kind]),
            (54, server.octets().to_vec()),
            (51, 3600_u32.to_be_bytes().to_vec()),
            (1, vec![255, 255, 255, 0]),
        ];
        reply::fake::reply(xid, mac, address, &options)
    }

    /// A lease of an hour, a /24, without routes or names.
    pub fn lease(address: [u8; 4]) -> Lease {
        Lease {
            address: address.into(),
            prefix: 24,
            broadcast: None,
            server: Ipv4Addr::new(10, 0, 2, 2),
            routes: Vec::new(),
            dns: Vec::new(),
            domain: None,
            search: Vec::new(),
            host_name: None,
            mtu: None,
            ntp: Vec::new(),
            times: lease::Times {
                lease: Some(Duration::from_secs(3600)),
                renew: Duration::from_secs(1800),
                rebind: Duration::from_secs(3150),
            },
        }
    }
}
