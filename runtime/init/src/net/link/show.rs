//! What a link's task says of its link: on the status board, and in the log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tinyboot::status::{self, Address, Route, Source};

use super::super::dhcp::Lease;
use super::super::ipv6;
use super::super::resolv::Given;
use super::Link;

impl Link {
    /// Brings the status board up to date.
    pub(super) fn publish(&self) {
        let link = status::Link {
            name: self.info.name.clone(),
            mac: self.mac(),
            carrier: self.info.carrier,
            state: self.client.state().to_string(),
            settled: self.settled(),
            configured: self.configured(),
            addresses: self.addresses(),
            routes: self.routes(),
            lease: self.client.lease().map(|lease| self.shown(lease)),
        };
        self.shared.board.update(|status| {
            match status
                .links
                .iter_mut()
                .find(|other| other.name == link.name)
            {
                Some(place) => *place = link,
                None => {
                    status.links.push(link);
                    status.links.sort_by(|a, b| a.name.cmp(&b.name));
                }
            }
        });
    }

    /// Tells the other links what this one was given.
    pub(super) fn give(&self) {
        let mut given = Given {
            link: self.info.name.clone(),
            ..Given::default()
        };
        if let Some(lease) = self.client.lease() {
            given.host_name = lease.host_name.clone();
            let dns = lease.dns.iter().copied().map(IpAddr::V4);
            given.servers.extend(dns.map(|it| (it, Source::Dhcp)));
            let domains = lease.domains().iter().cloned();
            given.domains.extend(domains.map(|it| (it, Source::Dhcp)));
        }
        let ipv6 = &self.info.ipv6;
        let dns = ipv6.dns.iter().copied().map(IpAddr::V6);
        let source = Source::RouterAdvertisement;
        given.servers.extend(dns.map(|it| (it, source)));
        given
            .domains
            .extend(ipv6.search.iter().cloned().map(|it| (it, source)));
        self.shared.give(self.info.index, Some(given));
    }

    fn addresses(&self) -> Vec<Address> {
        let lease = self.client.lease().map(|lease| Address {
            address: lease.address.into(),
            prefix: lease.prefix,
            source: Source::Dhcp,
        });
        let ipv6 = self
            .info
            .ipv6
            .addresses
            .iter()
            .map(|(address, prefix)| Address {
                address: (*address).into(),
                prefix: *prefix,
                source: Source::RouterAdvertisement,
            });
        lease.into_iter().chain(ipv6).collect()
    }

    fn routes(&self) -> Vec<Route> {
        let leased = self.client.lease().map(|lease| self.applied.routes(lease));
        let ipv6 = self.info.ipv6.routers.iter().map(|(router, metric)| Route {
            destination: Ipv6Addr::UNSPECIFIED.into(),
            prefix: 0,
            gateway: Some((*router).into()),
            metric: *metric,
            source: Source::RouterAdvertisement,
        });
        leased.into_iter().flatten().chain(ipv6).collect()
    }

    /// Says what has become of IPv6.
    pub(super) fn say_ipv6(&self, old: &ipv6::Shown) {
        let (name, new) = (&self.info.name, &self.info.ipv6);
        if !new.configured() && old.configured() {
            log::warn!("net: {name}: no address or no router of IPv6 any longer");
        }
        if let Some(((address, prefix), (router, _))) = new
            .addresses
            .first()
            .zip(new.routers.first())
            .filter(|_| !old.configured())
        {
            log::info!(
                "net: {name}: IPv6 {address}/{prefix} by router advertisement, router {router}"
            );
        }
    }

    fn shown(&self, lease: &Lease) -> status::Lease {
        status::Lease {
            address: lease.address,
            prefix: lease.prefix,
            server: lease.server,
            router: lease.router(),
            dns: lease.dns.iter().copied().map(IpAddr::V4).collect(),
            domain: lease.domain.clone(),
            search: lease.search.clone(),
            host_name: lease.host_name.clone(),
            mtu: lease.mtu,
            ntp: lease.ntp.clone(),
            seconds: seconds(lease),
            renewals: self.renewals,
        }
    }
}

fn seconds(lease: &Lease) -> Option<u32> {
    lease
        .times
        .lease
        .and_then(|time| u32::try_from(time.as_secs()).ok())
}

/// `10.0.2.15/24 from 10.0.2.2 for 86400 s`
pub fn terms(lease: &Lease) -> String {
    let time = seconds(lease).map_or("ever".into(), |seconds| format!("{seconds} s"));
    format!(
        "{}/{} from {} for {time}",
        lease.address, lease.prefix, lease.server
    )
}

/// The terms, and `, router 10.0.2.2, DNS 10.0.2.3` as far as it is there.
pub fn describe(lease: &Lease) -> String {
    let mut text = terms(lease);
    if let Some(router) = lease.router() {
        text += &format!(", router {router}");
    }
    let dns: Vec<String> = lease.dns.iter().map(Ipv4Addr::to_string).collect();
    if !dns.is_empty() {
        text += &format!(", DNS {}", dns.join(" "));
    }
    text
}
