//! What a link's task says of its link: on the status board, and in the log.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tinyboot::status::{self, Address, Route, Source};

use super::super::dhcp::Lease;
use super::super::fixed::{self, Fixed};
use super::super::ipv6::{self, bound::Line};
use super::super::resolv::Given;
use super::Link;

impl Link {
    /// Brings the status board up to date.
    pub(super) fn publish(&self) {
        let link = status::Link {
            name: self.info.name.clone(),
            mac: self.mac(),
            carrier: self.info.carrier,
            state: match &self.fixed {
                Some(_) => "STATIC".into(),
                None => self.client.state().to_string(),
            },
            settled: self.settled(),
            configured: self.configured(),
            addresses: self.addresses(),
            routes: self.routes(),
            lease: self.client.lease().map(|lease| self.shown(lease)),
            lease6: self.dhcp6.shown(),
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
        if let Some(fixed) = &self.fixed {
            let dns = fixed.dns.iter().map(|it| (*it, fixed.source));
            given.servers.extend(dns);
            let domains = fixed.search.iter().map(|it| (it.clone(), fixed.source));
            given.domains.extend(domains);
        }
        // Before what routers say: RFC 8106, section 5.3.1.
        if let Some(lease) = self.dhcp6.client.lease() {
            let dns = lease.settings.dns.iter().copied().map(IpAddr::V6);
            given.servers.extend(dns.map(|it| (it, Source::Dhcp6)));
            let domains = lease.settings.search.iter().cloned();
            given.domains.extend(domains.map(|it| (it, Source::Dhcp6)));
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
        let of_settings = |fixed: &Fixed| -> Vec<Address> {
            let source = fixed.source;
            let addresses = fixed.addresses.iter();
            addresses
                .map(|&(address, prefix)| Address {
                    address,
                    prefix,
                    source,
                })
                .collect()
        };
        let fixed = self.fixed.as_ref().map(of_settings).unwrap_or_default();
        // The kernel names those that are fixed too, and DHCPv6's.
        let ipv6 = self
            .info
            .ipv6
            .addresses
            .iter()
            .map(|(address, prefix)| Address {
                address: (*address).into(),
                prefix: *prefix,
                source: self.source_of(*address),
            });
        let ipv6: Vec<Address> = ipv6
            .filter(|it| !fixed.iter().any(|other| other.address == it.address))
            .collect();
        lease.into_iter().chain(fixed).chain(ipv6).collect()
    }

    /// Who gave an IPv6 address that is not fixed.
    fn source_of(&self, address: Ipv6Addr) -> Source {
        if self.dhcp6.address() == Some(address) {
            Source::Dhcp6
        } else {
            Source::RouterAdvertisement
        }
    }

    fn routes(&self) -> Vec<Route> {
        let leased = self.client.lease().map(|lease| self.applied.routes(lease));
        let fixed = self.fixed.as_ref();
        let fixed = fixed.map(|fixed| fixed::apply::routes(fixed, self.applied.metric()));
        let ipv6 = self.info.ipv6.routers.iter().map(|(router, metric)| Route {
            destination: Ipv6Addr::UNSPECIFIED.into(),
            prefix: 0,
            gateway: Some((*router).into()),
            metric: *metric,
            source: Source::RouterAdvertisement,
        });
        let ours = leased.into_iter().chain(fixed).flatten();
        ours.chain(ipv6).collect()
    }

    /// Says what the link has without having asked.
    pub(super) fn say_fixed(&self, fixed: &Fixed) {
        let list = |addresses: &[IpAddr]| -> String {
            let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            texts.join(" ")
        };
        let addresses = fixed.addresses.iter();
        let addresses: Vec<String> = addresses
            .map(|(address, prefix)| format!("{address}/{prefix}"))
            .collect();
        let mut text = format!("STATIC {}", addresses.join(" "));
        if addresses.is_empty() {
            text = "no DHCP, as the kernel command line says".into();
        }
        if !fixed.gateways.is_empty() {
            text += &format!(", router {}", list(&fixed.gateways));
        }
        if !fixed.dns.is_empty() {
            text += &format!(", DNS {}", list(&fixed.dns));
        }
        log::info!("net: {}: {text}", self.info.name);
    }

    /// Says what has become of IPv6.
    pub(super) fn say_ipv6(&mut self, old: &ipv6::Shown) {
        let (name, new) = (&self.info.name, &self.info.ipv6);
        if new.configured() == old.configured() {
            return;
        }
        match self.lines.next(self.epoch.elapsed()) {
            Line::Shown => {}
            Line::Last => log::warn!(
                "net: {name}: IPv6 changes again and again; further changes are not shown for a minute"
            ),
            Line::LeftOut => return,
        }
        if !new.configured() && old.configured() {
            log::warn!("net: {name}: no address or no router of IPv6 any longer");
        }
        if let Some(((address, prefix), (router, _))) = new
            .addresses
            .first()
            .zip(new.routers.first())
            .filter(|_| !old.configured())
        {
            let source = match self.source_of(*address) {
                Source::Dhcp6 => "DHCPv6",
                _ => "router advertisement",
            };
            log::info!("net: {name}: IPv6 {address}/{prefix} by {source}, router {router}");
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
