//! Fixed addresses and routes put into the kernel by rtnetlink(7). Idempotent, since it is done again when the carrier
//! comes back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags};
use rtnetlink::packet_route::route::{RouteMessage, RouteProtocol, RouteScope};
use rtnetlink::{AddressMessageBuilder, Handle, RouteMessageBuilder};
use tinyboot::status::Route;

use super::super::apply::{Error, outcome};
use super::Fixed;

/// Gives the link with this index what is fixed. Each step is tried whatever became of the others.
pub async fn apply(handle: &Handle, link: u32, metric: u32, fixed: &Fixed) -> Vec<Error> {
    let mut errors = Vec::new();
    for (address, prefix) in &fixed.addresses {
        let mut request = handle.address().add(link, *address, *prefix).replace();
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::RoutePriority(metric));
        if address.is_ipv6() {
            // Whoever fixes an address knows that it is free; looking would keep it from being used for a second.
            attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let step = || format!("giving link {link} the address {address}/{prefix}");
        errors.extend(outcome(request.execute().await, &[], step));
    }
    for route in routes(fixed, metric) {
        let step = || {
            format!(
                "the route to {}/{} on link {link}",
                route.destination, route.prefix
            )
        };
        let result = handle
            .route()
            .add(message(&route, link))
            .replace()
            .execute()
            .await;
        errors.extend(outcome(result, &[], step));
    }
    errors
}

/// Takes away what [`apply`] gave. What is gone is no error.
pub async fn remove(handle: &Handle, link: u32, metric: u32, fixed: &Fixed) -> Vec<Error> {
    let mut errors = Vec::new();
    for route in routes(fixed, metric).iter().rev() {
        let step = || {
            let (destination, prefix) = (route.destination, route.prefix);
            format!("removing the route to {destination}/{prefix} on link {link}")
        };
        let result = handle.route().del(message(route, link)).execute().await;
        errors.extend(outcome(result, &[libc::ESRCH, libc::ENODEV], step));
    }
    for (address, prefix) in &fixed.addresses {
        let message = match *address {
            IpAddr::V4(address) => AddressMessageBuilder::<Ipv4Addr>::new()
                .index(link)
                .address(address, *prefix)
                .build(),
            IpAddr::V6(address) => AddressMessageBuilder::<Ipv6Addr>::new()
                .index(link)
                .address(address, *prefix)
                .build(),
        };
        let step = || format!("taking the address {address} from link {link}");
        let result = handle.address().del(message).execute().await;
        errors.extend(outcome(result, &[libc::EADDRNOTAVAIL, libc::ENODEV], step));
    }
    errors
}

fn message(route: &Route, link: u32) -> RouteMessage {
    match route.destination {
        IpAddr::V4(destination) => {
            let builder = RouteMessageBuilder::<Ipv4Addr>::new()
                .destination_prefix(destination, route.prefix)
                .output_interface(link)
                .priority(route.metric)
                .protocol(RouteProtocol::Static);
            match route.gateway {
                Some(IpAddr::V4(gateway)) => builder.gateway(gateway).build(),
                _ => builder.scope(RouteScope::Link).build(),
            }
        }
        IpAddr::V6(destination) => {
            let builder = RouteMessageBuilder::<Ipv6Addr>::new()
                .destination_prefix(destination, route.prefix)
                .output_interface(link)
                .priority(route.metric)
                .protocol(RouteProtocol::Static);
            match route.gateway {
                Some(IpAddr::V6(gateway)) => builder.gateway(gateway).build(),
                _ => builder.build(),
            }
        }
    }
}

/// The routes in the order in which the kernel takes them: a router outside of all networks of the link has to be
/// reachable before it is one.
pub fn routes(fixed: &Fixed, metric: u32) -> Vec<Route> {
    let route = |destination, prefix, gateway| Route {
        destination,
        prefix,
        gateway,
        metric,
        source: fixed.source,
    };
    let mut routes = Vec::new();
    for gateway in &fixed.gateways {
        let local = matches!(gateway, IpAddr::V6(it) if it.is_unicast_link_local());
        let mut networks = fixed.addresses.iter();
        if !local && !networks.any(|(address, prefix)| same_network(*address, *gateway, *prefix)) {
            let whole = if gateway.is_ipv4() { 32 } else { 128 };
            routes.push(route(*gateway, whole, None));
        }
        let all: IpAddr = match gateway {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        routes.push(route(all, 0, Some(*gateway)));
    }
    routes
}

fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    let differing = match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= prefix.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyboot::status::Source;

    #[test]
    fn routers_outside_of_the_networks_are_on_the_link() {
        let fixed = |gateways: &[&str]| Fixed {
            addresses: vec![
                (IpAddr::from([192, 0, 2, 10]), 24),
                (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).into(), 64),
            ],
            gateways: gateways.iter().filter_map(|it| it.parse().ok()).collect(),
            dns: Vec::new(),
            search: Vec::new(),
            source: Source::Settings,
        };
        let shown = |gateways: &[&str]| -> Vec<String> {
            routes(&fixed(gateways), 7)
                .iter()
                .map(|it| format!("{}/{} {:?}", it.destination, it.prefix, it.gateway))
                .collect()
        };
        assert_eq!(
            shown(&["192.0.2.1", "fe80::1"]),
            ["0.0.0.0/0 Some(192.0.2.1)", "::/0 Some(fe80::1)"]
        );
        assert_eq!(shown(&["2001:db8::2"]), ["::/0 Some(2001:db8::2)"]);
        assert_eq!(
            shown(&["192.0.3.1", "2001:db8:1::1"]),
            [
                "192.0.3.1/32 None",
                "0.0.0.0/0 Some(192.0.3.1)",
                "2001:db8:1::1/128 None",
                "::/0 Some(2001:db8:1::1)"
            ]
        );
    }
}
