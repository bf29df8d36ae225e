//! What the machine knows about its links.

use std::ffi::CStr;
use std::fmt::Write;
use std::io;
use std::net::Ipv4Addr;

/// Each IPv4 address as `eth0 10.0.2.15/24`, a line each, in the kernel's order.
pub fn addresses() -> io::Result<String> {
    let mut list = std::ptr::null_mut();
    // SAFETY: the call stores a list that freeifaddrs below gives back, or fails.
    if unsafe { libc::getifaddrs(&raw mut list) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let mut text = String::new();
    let mut next = list;
    while !next.is_null() {
        // SAFETY: an element of the list, which lives until freeifaddrs.
        let element = unsafe { &*next };
        next = element.ifa_next;
        if let (Some(address), Some(mask)) = (ipv4(element.ifa_addr), ipv4(element.ifa_netmask)) {
            // SAFETY: the name of an element ends with a zero byte and lives as long as the element.
            let name = unsafe { CStr::from_ptr(element.ifa_name) }.to_string_lossy();
            let _ = writeln!(text, "{name} {address}/{}", mask.to_bits().count_ones());
        }
    }
    // SAFETY: the list that getifaddrs made, once, after its last use.
    unsafe { libc::freeifaddrs(list) };
    Ok(text)
}

fn ipv4(address: *const libc::sockaddr) -> Option<Ipv4Addr> {
    // SAFETY: null or a socket address, whose family says which kind.
    if address.is_null() || i32::from(unsafe { (*address).sa_family }) != libc::AF_INET {
        return None;
    }
    // SAFETY: AF_INET stands for sockaddr_in.
    let inet = unsafe { address.cast::<libc::sockaddr_in>().read_unaligned() };
    Some(Ipv4Addr::from_bits(u32::from_be(inet.sin_addr.s_addr)))
}

/// The IPv4 routes as `eth0 0.0.0.0/0 via 10.0.2.2 metric 100`, a line each.
pub fn routes() -> io::Result<String> {
    let mut text = String::new();
    for line in std::fs::read_to_string("/proc/net/route")?.lines().skip(1) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        if let [link, target, gateway, _, _, _, metric, mask, ..] = fields.as_slice() {
            let address = |hex: &str| {
                u32::from_str_radix(hex, 16).map(|bits| Ipv4Addr::from_bits(u32::from_be(bits)))
            };
            let (target, gateway, mask) = match (address(target), address(gateway), address(mask)) {
                (Ok(target), Ok(gateway), Ok(mask)) => (target, gateway, mask),
                _ => {
                    return Err(io::Error::other(format!(
                        "/proc/net/route has the line \"{line}\""
                    )));
                }
            };
            let _ = writeln!(
                text,
                "{link} {target}/{} via {gateway} metric {metric}",
                mask.to_bits().count_ones()
            );
        }
    }
    Ok(text)
}
