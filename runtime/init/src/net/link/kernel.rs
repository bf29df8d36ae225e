//! A link's task and the kernel: bringing the link up, its switches, its driver, and its end.

use std::fs;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;

use nix::libc;
use rtnetlink::packet_route::link::InfoPortKind;

use super::super::which::Place;
use super::super::{dhcp6 as protocol, fixed};
use super::*;

/// How a link finds its carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The driver knows as soon as the link is up.
    AtOnce,
    /// The two ends negotiate.
    Negotiated,
}

/// Drivers of virtual NICs, whose other end is the hypervisor: `net_failover`'s and Xen's name is what sysfs has.
const AT_ONCE: [&str; 8] = [
    "virtio_net",
    "vmxnet3",
    "vif",
    "hv_netvsc",
    "ena",
    "gve",
    "mana",
    "ibmveth",
];

impl Carrier {
    /// By the link's driver. A link that has none is made by software, which does not negotiate either.
    fn of(link: &str) -> Self {
        let device = Path::new("/sys/class/net").join(link).join("device");
        let driver = fs::read_link(device.join("driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name);
        Self::by(driver.and_then(|driver| driver.to_str()))
    }

    fn by(driver: Option<&str>) -> Self {
        match driver {
            Some(driver) if !AT_ONCE.contains(&driver) => Self::Negotiated,
            _ => Self::AtOnce,
        }
    }

    /// How long a link that was just brought up may take to find its carrier: the longest that negotiation takes on copper;
    /// else as long as a busy machine needs to hear of it.
    fn patience(self) -> Duration {
        match self {
            Self::AtOnce => Duration::from_millis(500),
            Self::Negotiated => Duration::from_secs(5),
        }
    }
}

/// The link's switches below `/proc/sys/net`, before there is anything to route.
fn set_switches(link: &str, metric: u32) {
    let metric = metric.to_string();
    let switches = [
        // IPv6 default routes of several links have an order too; in kernels before 5.12 they have one metric.
        ("ipv6", "ra_defrtr_metric", metric.as_str()),
        // A program that forwards packets makes the machine a router, and is still a host to the routers on its links.
        ("ipv6", "accept_ra", "2"),
        // A link without a carrier leaves the others what it would have had.
        ("ipv4", "ignore_routes_with_linkdown", "1"),
        ("ipv6", "ignore_routes_with_linkdown", "1"),
    ];
    for (family, switch, value) in switches {
        let path = format!("/proc/sys/net/{family}/conf/{link}/{switch}");
        if let Err(error) = fs::write(&path, value) {
            log::debug!("net: {link}: {path}: {error}");
        }
    }
}

/// Takes all of IPv6 from a link that is a port now, which would keep its addresses and routes.
fn flush_ipv6(link: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/disable_ipv6");
    if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "0") {
        for value in ["1", "0"] {
            if let Err(error) = fs::write(&path, value) {
                log::debug!("net: {link}: {path}: {error}");
            }
        }
    }
}

impl Link {
    /// Sets the link's switches and brings it up.
    pub(super) async fn begin(&mut self) {
        let (name, metric) = (self.info.name.clone(), self.applied.metric());
        let carrier = worker::run(move || {
            set_switches(&name, metric);
            Carrier::of(&name)
        });
        let carrier = carrier.await.unwrap_or(Carrier::Negotiated);
        self.raise().await;
        let deadline = Duration::from_secs(self.shared.settings.deadline.into());
        self.settles = self.now() + carrier.patience().min(deadline);
        self.hurry();
    }

    /// Brings the link up. What fails, such as a driver whose firmware is not there yet, is tried again.
    pub(super) async fn raise(&mut self) {
        let up = LinkUnspec::new_with_index(self.info.index).up().build();
        match self.handle.link().change(up).execute().await {
            Ok(()) => {
                if self.failures > 0 {
                    log::info!("net: {}: is up now", self.info.name);
                }
                self.raising = None;
            }
            Err(error) => {
                if self.failures == 0 {
                    let name = &self.info.name;
                    log::error!("net: {name}: cannot be brought up: {error}; it is tried again");
                }
                self.failures = self.failures.saturating_add(1);
                let pause = self.shared.backoff.delay(self.failures, random());
                self.raising = Some(self.now() + pause);
            }
        }
    }

    /// Once another link is configured, this one need not take its time to find a carrier.
    pub(super) fn hurry(&mut self) {
        if self.carrier.is_none() && *self.others.borrow_and_update() {
            self.settles = self.settles.min(self.now() + AFTER_OTHERS);
        }
    }

    /// The link has another hardware address, and so is another client to servers: what it was given is another one's.
    pub(super) async fn other_identity(&mut self) {
        let (name, mac) = (&self.info.name, self.mac());
        log::info!("net: {name}: the hardware address is {mac} now; addresses are asked for anew");
        self.clear().await;
        (self.client, self.client_id) = client(&self.shared, &self.info);
        self.dhcp6 = client6(&self.shared, &self.info);
        self.watch = Watch::new(self.info.index, self.info.mac, self.shared.own.clone());
        self.packets = None;
        self.unicast = None;
        self.renewals = 0;
        self.give();
        if self.carrier == Some(true) {
            self.carrier = None;
        }
    }

    /// Takes away what servers gave.
    async fn clear(&mut self) {
        let mut errors = self.applied.clear().await;
        if let Some(address) = self.dhcp6.address() {
            errors.extend(protocol::remove(&self.handle, self.info.index, address).await);
        }
        self.complain(&errors);
    }

    /// The link is not ours any longer, but still there: what it has would draw packets to where nobody answers.
    pub(super) async fn left(mut self) {
        let info = self.news.borrow_and_update().clone();
        let name = self.info.name.clone();
        match &info.place {
            Place::Port(_) => {
                log::info!("net: {name}: is a port of another link; addresses removed")
            }
            _ => log::info!("net: {name}: is left to the program; addresses removed"),
        }
        self.clear().await;
        if let Some(fixed) = &self.fixed {
            let (link, metric) = (self.info.index, self.applied.metric());
            let errors = fixed::apply::remove(&self.handle, link, metric, fixed).await;
            self.complain(&errors);
        }
        // A VRF's ports have addresses of their own, and the kernel has flushed the old ones.
        if matches!(&info.place, Place::Port(kind) if *kind != Some(InfoPortKind::Vrf)) {
            let _ = worker::run(move || flush_ipv6(&info.name)).await;
        }
        self.end();
    }

    pub(super) fn vanished(self) {
        log::info!("net: {}: gone", self.info.name);
        self.end();
    }

    fn end(&self) {
        self.shared.give(self.info.index, None);
        self.shared
            .board
            .update(|status| status.links.retain(|link| link.name != self.info.name));
    }
}

/// A number that differs from machine to machine, also between two that go on from one snapshot: the kernel's generator is told
/// of that where there is a VM generation ID. It need not be secret, so early in a boot nothing is waited for.
pub fn random() -> u32 {
    let mut bytes = [0; 4];
    // SAFETY: the buffer is writable and has the length that is given.
    let read =
        unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), libc::GRND_INSECURE) };
    if usize::try_from(read) == Ok(bytes.len()) {
        return u32::from_ne_bytes(bytes);
    }
    // A kernel before 5.6. The standard library's hasher is keyed from the generator without waiting, too.
    RandomState::new().build_hasher().finish() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_that_negotiate_are_waited_for() {
        for (driver, expected) in [
            (Some("virtio_net"), Carrier::AtOnce),
            (Some("hv_netvsc"), Carrier::AtOnce),
            (None, Carrier::AtOnce),
            (Some("e1000e"), Carrier::Negotiated),
            (Some("virtio_net2"), Carrier::Negotiated),
        ] {
            assert_eq!(Carrier::by(driver), expected, "{driver:?}");
        }
        assert!(Carrier::AtOnce.patience() < Carrier::Negotiated.patience());
    }
}
