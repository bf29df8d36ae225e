//! A lease put into the kernel: address, routes and MTU by rtnetlink(7). Everything is idempotent: what is there
//! already is replaced, what is gone already is no error.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nix::libc;
use rtnetlink::packet_route::address::{AddressAttribute, CacheInfo};
use rtnetlink::packet_route::route::{RouteProtocol, RouteScope};
use rtnetlink::{AddressMessageBuilder, Handle, LinkUnspec, RouteMessageBuilder};

use tinyboot::status;

use super::dhcp::{Lease, Route};

/// What a step was about and what the kernel said to it.
#[derive(Debug, thiserror::Error)]
#[error("{step} failed: {cause}")]
pub struct Error {
    step: String,
    cause: rtnetlink::Error,
}

/// The metric of the first link; the links' indices are added, so that two default routes are two routes.
const METRIC: u32 = 1000;

/// What this link was given, so that what a later lease lacks can be taken away.
pub struct Applied {
    handle: Handle,
    link: u32,
    mtu: u32,
    current: Option<Lease>,
}

impl Applied {
    /// Nothing yet. `mtu` is the link's own, to which it returns when a lease does not name one.
    pub fn new(handle: Handle, link: u32, mtu: u32) -> Self {
        Self {
            handle,
            link,
            mtu,
            current: None,
        }
    }

    /// Gives the link what the lease says; the address is valid for `left` (`None`: for ever) even if nobody renews
    /// or removes it. Each step is tried whatever became of the others.
    pub async fn set(&mut self, lease: &Lease, left: Option<Duration>) -> Vec<Error> {
        let mut errors = Vec::new();
        let old = self.current.replace(lease.clone());
        if let Some(old) = &old {
            let other_address = old.address != lease.address || old.prefix != lease.prefix;
            if other_address {
                errors.extend(self.remove_address(old).await);
            } else {
                let kept = plan(lease);
                for route in plan(old).iter().filter(|route| !kept.contains(route)) {
                    errors.extend(self.remove_route(*route).await);
                }
            }
        }
        if old.as_ref().and_then(|old| old.mtu) != lease.mtu {
            errors.extend(self.set_mtu(lease.mtu.map_or(self.mtu, u32::from)).await);
        }
        errors.extend(self.set_address(lease, left).await);
        for route in plan(lease) {
            errors.extend(self.set_route(route, lease.address).await);
        }
        errors
    }

    /// Takes away what the last lease gave. The kernel removes the routes together with their source address.
    pub async fn clear(&mut self) -> Vec<Error> {
        let mut errors = Vec::new();
        if let Some(old) = self.current.take() {
            for route in plan(&old) {
                errors.extend(self.remove_route(route).await);
            }
            errors.extend(self.remove_address(&old).await);
            if old.mtu.is_some() {
                errors.extend(self.set_mtu(self.mtu).await);
            }
        }
        errors
    }

    async fn set_address(&self, lease: &Lease, left: Option<Duration>) -> Option<Error> {
        let address = IpAddr::V4(lease.address);
        let mut request = self
            .handle
            .address()
            .add(self.link, address, lease.prefix)
            .replace();
        let attributes = &mut request.message_mut().attributes;
        let seconds = left.map_or(u32::MAX, |left| {
            u32::try_from(left.as_secs() + 1).unwrap_or(u32::MAX)
        });
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = seconds;
        lifetime.ifa_preferred = seconds;
        attributes.push(AddressAttribute::CacheInfo(lifetime));
        attributes.push(AddressAttribute::RoutePriority(self.metric()));
        if let Some(broadcast) = lease.broadcast {
            attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
            attributes.push(AddressAttribute::Broadcast(broadcast));
        }
        let step = || {
            format!(
                "giving link {} the address {address}/{}",
                self.link, lease.prefix
            )
        };
        outcome(request.execute().await, &[], step)
    }

    async fn remove_address(&self, lease: &Lease) -> Option<Error> {
        let message = AddressMessageBuilder::<Ipv4Addr>::new()
            .index(self.link)
            .address(lease.address, lease.prefix)
            .build();
        let step = || {
            format!(
                "taking the address {} from link {}",
                lease.address, self.link
            )
        };
        outcome(
            self.handle.address().del(message).execute().await,
            &[libc::EADDRNOTAVAIL, libc::ENODEV],
            step,
        )
    }

    async fn set_route(&self, route: Route, source: Ipv4Addr) -> Option<Error> {
        let message = self.route(route).pref_source(source).build();
        let step = || {
            format!(
                "the route to {}/{} on link {}",
                route.destination, route.prefix, self.link
            )
        };
        outcome(
            self.handle.route().add(message).replace().execute().await,
            &[],
            step,
        )
    }

    async fn remove_route(&self, route: Route) -> Option<Error> {
        let step = || {
            format!(
                "removing the route to {}/{} on link {}",
                route.destination, route.prefix, self.link
            )
        };
        let result = self
            .handle
            .route()
            .del(self.route(route).build())
            .execute()
            .await;
        outcome(result, &[libc::ESRCH, libc::ENODEV], step)
    }

    fn route(&self, route: Route) -> RouteMessageBuilder<Ipv4Addr> {
        let builder = RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(route.destination, route.prefix)
            .output_interface(self.link)
            .priority(self.metric())
            .protocol(RouteProtocol::Dhcp);
        match route.gateway {
            Some(gateway) => builder.gateway(gateway),
            None => builder.scope(RouteScope::Link),
        }
    }

    async fn set_mtu(&self, mtu: u32) -> Option<Error> {
        let message = LinkUnspec::new_with_index(self.link).mtu(mtu).build();
        let step = || format!("setting the MTU of link {} to {mtu}", self.link);
        outcome(
            self.handle.link().change(message).execute().await,
            &[libc::ENODEV],
            step,
        )
    }

    /// The metric of the link's routes.
    pub fn metric(&self) -> u32 {
        METRIC.saturating_add(self.link)
    }

    /// The routes of a lease as the status shows them.
    pub fn routes(&self, lease: &Lease) -> Vec<status::Route> {
        let shown = |route: Route| status::Route {
            destination: route.destination.into(),
            prefix: route.prefix,
            gateway: route.gateway.map(IpAddr::V4),
            metric: self.metric(),
            source: status::Source::Dhcp,
        };
        plan(lease).into_iter().map(shown).collect()
    }
}

/// The routes of a lease in the order in which the kernel takes them: networks on the link first, among them each
/// router outside of the subnet, since a router must be reachable when its route is added.
fn plan(lease: &Lease) -> Vec<Route> {
    let gateways = lease.routes.iter().filter_map(|route| route.gateway);
    let covered = |gateway: Ipv4Addr| {
        lease.on_link(gateway)
            || lease.routes.iter().any(|route| {
                route.gateway.is_none() && route.prefix > 0 && route.prefix <= 32 && {
                    let shift = 32 - u32::from(route.prefix);
                    route.destination.to_bits() >> shift == gateway.to_bits() >> shift
                }
            })
    };
    let mut plan: Vec<Route> = Vec::new();
    let outside = gateways
        .filter(|gateway| !covered(*gateway))
        .map(|gateway| Route {
            destination: gateway,
            prefix: 32,
            gateway: None,
        });
    let on_link = lease
        .routes
        .iter()
        .copied()
        .filter(|route| route.gateway.is_none());
    let routed = lease
        .routes
        .iter()
        .copied()
        .filter(|route| route.gateway.is_some());
    for route in outside.chain(on_link).chain(routed) {
        let same_network =
            |other: &Route| other.destination == route.destination && other.prefix == route.prefix;
        if !plan.iter().any(same_network) {
            plan.push(route);
        }
    }
    plan
}

/// An error, unless the kernel's number is one of `fine`.
pub fn outcome(
    result: Result<(), rtnetlink::Error>,
    fine: &[i32],
    step: impl Fn() -> String,
) -> Option<Error> {
    match result {
        Ok(()) => None,
        Err(rtnetlink::Error::NetlinkError(message)) if fine.contains(&-message.raw_code()) => None,
        Err(cause) => Some(Error {
            step: step(),
            cause,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::dhcp::testing;

    fn route(destination: [u8; 4], prefix: u8, gateway: Option<[u8; 4]>) -> Route {
        Route {
            destination: destination.into(),
            prefix,
            gateway: gateway.map(Ipv4Addr::from),
        }
    }

    fn planned(routes: &[Route]) -> Vec<Route> {
        let mut lease = testing::lease([10, 0, 2, 15]);
        lease.routes = routes.to_vec();
        plan(&lease)
    }

    #[test]
    fn a_router_in_the_subnet_needs_nothing_else() {
        let default = route([0; 4], 0, Some([10, 0, 2, 2]));
        assert_eq!(planned(&[default]), [default]);
    }

    #[test]
    fn a_router_outside_of_the_subnet_is_on_the_link() {
        let default = route([0; 4], 0, Some([192, 0, 2, 1]));
        assert_eq!(
            planned(&[default]),
            [route([192, 0, 2, 1], 32, None), default]
        );
    }

    #[test]
    fn networks_on_the_link_come_first_and_nothing_comes_twice() {
        let default = route([0; 4], 0, Some([192, 0, 2, 1]));
        let network = route([192, 0, 2, 0], 24, None);
        assert_eq!(planned(&[default, network, default]), [network, default]);
    }
}
