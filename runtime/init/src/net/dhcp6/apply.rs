//! A DHCPv6 address put into the kernel: as a /128, since which network is on the link is the routers' to say (RFC 8415,
//! section 18.2.10.1; RFC 5942). It goes with its lifetimes, so that it is gone at its end even if init is busy.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use nix::libc;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::{AddressMessageBuilder, Handle};

use super::super::apply::{Error, outcome};

const PREFIX: u8 = 128;

/// Gives a link an address, or other lifetimes to the one that it has; `None` is for ever.
pub async fn set(
    handle: &Handle,
    link: u32,
    address: Ipv6Addr,
    preferred: Option<Duration>,
    valid: Option<Duration>,
) -> Option<Error> {
    let mut request = handle
        .address()
        .add(link, IpAddr::V6(address), PREFIX)
        .replace();
    let mut lifetime = CacheInfo::default();
    lifetime.ifa_preferred = seconds(preferred);
    lifetime.ifa_valid = seconds(valid);
    let attributes = &mut request.message_mut().attributes;
    attributes.push(AddressAttribute::CacheInfo(lifetime));
    outcome(request.execute().await, &[], || {
        format!("giving link {link} the address {address}")
    })
}

/// Takes an address away. One that is gone is no error.
pub async fn remove(handle: &Handle, link: u32, address: Ipv6Addr) -> Option<Error> {
    let message = AddressMessageBuilder::<Ipv6Addr>::new()
        .index(link)
        .address(address, PREFIX)
        .build();
    let done = handle.address().del(message).execute().await;
    outcome(done, &[libc::EADDRNOTAVAIL, libc::ENODEV], || {
        format!("taking the address {address} from link {link}")
    })
}

/// One more than is left, so that the client is the first to see the end; but what is over is over.
fn seconds(left: Option<Duration>) -> u32 {
    match left {
        None => u32::MAX,
        Some(Duration::ZERO) => 0,
        Some(left) => u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX),
    }
}
