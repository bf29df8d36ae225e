//! What a link's task says of its link: on the status board, and in the log.

use std::net::{IpAddr, Ipv4Addr};

use tinyboot::status;

use super::super::dhcp::Lease;
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
