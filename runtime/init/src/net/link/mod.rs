//! One link's task: it joins the DHCP client to its sockets, to the kernel and to the status board.

mod dhcp6;
mod kernel;
mod show;

use std::future::pending;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rtnetlink::{Handle, LinkUnspec};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::acd::socket::Watch;
use super::apply::Applied;
use super::dhcp::{Action, Cause, Client, Identity, Lease};
use super::fixed::{self, Fixed};
use super::saved::{self, Saved};
use super::socket::{Packets, Unicast};
use super::which::Info;
use super::{Shared, Surroundings, dhcp6 as protocol, ipv6, sleep, worker};
use crate::threads;
use dhcp6::Dhcp6;
use kernel::random;
use show::{describe, terms};

/// How much longer a link may look for its carrier once another link is configured: those that were brought up together end
/// their negotiation at about the same time.
const AFTER_OTHERS: Duration = Duration::from_secs(1);
/// A saved lease that cannot be read within this time is not waited for.
const LOAD_WAIT: Duration = Duration::from_millis(200);

/// One link and everything that belongs to it.
pub struct Link {
    shared: Arc<Shared>,
    handle: Handle,
    news: watch::Receiver<Info>,
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Receiver<()>,
    info: Info,
    client: Client,
    client_id: String,
    applied: Applied,
    /// What it has instead of DHCP.
    fixed: Option<Fixed>,
    packets: Option<Packets>,
    unicast: Option<Unicast>,
    dhcp6: Dhcp6,
    watch: Watch,
    renewals: u64,
    /// Lines about IPv6.
    lines: ipv6::bound::Lines,
    /// Zero of the client's clock.
    epoch: Instant,
    carrier: Option<bool>,
    /// When the link is settled whatever becomes of it.
    settles: Duration,
    overdue: bool,
    /// When it is brought up next, until that has worked, and how often it has not.
    raising: Option<Duration>,
    failures: u32,
    /// Becomes true when some link is configured.
    others: watch::Receiver<bool>,
}

impl Link {
    /// A link that nothing was done with yet.
    pub fn new(
        shared: Arc<Shared>,
        handle: Handle,
        mut news: watch::Receiver<Info>,
        surroundings: &Surroundings,
    ) -> Self {
        let info = news.borrow_and_update().clone();
        let (client, client_id) = client(&shared, &info);
        Self {
            client,
            client_id,
            applied: Applied::new(handle.clone(), info.index, info.mtu),
            fixed: shared.plan(|plan| plan.of(&info.name, info.mac)),
            packets: None,
            unicast: None,
            dhcp6: client6(&shared, &info),
            watch: Watch::new(info.index, info.mac, shared.own.clone()),
            renewals: 0,
            lines: Default::default(),
            epoch: Instant::now(),
            carrier: None,
            settles: Duration::MAX,
            overdue: false,
            raising: Some(Duration::ZERO),
            failures: 0,
            others: shared.configured.subscribe(),
            shared,
            handle,
            news,
            persistent: surroundings.persistent.clone(),
            pauses: surroundings.pauses.clone(),
            info,
        }
    }

    /// Configures the link until it vanishes or `stop` is cancelled. Its address stays when it is stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        self.publish();
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.begin() => {}
        }
        self.fix().await;
        self.carrier_changed().await;
        self.ask_dhcp6(&ipv6::Shown::default()).await;
        loop {
            let settles = (!self.settled()).then_some(self.settles);
            let deadlines = [
                self.client.deadline(),
                self.dhcp6.client.deadline(),
                self.watch.deadline(),
                self.raising,
                settles,
            ];
            let wake = deadlines.into_iter().flatten().min();
            tokio::select! {
                () = stop.cancelled() => return,
                changed = self.news.changed() => match changed {
                    Ok(()) if self.news.borrow().left => return self.left().await,
                    Ok(()) => self.changed().await,
                    Err(_) => return self.vanished(),
                },
                received = receive(self.packets.as_ref()) => match received {
                    Ok(payload) => {
                        let actions = self.client.receive(self.now(), &payload);
                        self.perform(actions).await;
                    }
                    // It is opened again for the next message.
                    Err(error) => {
                        log::debug!("net: {}: {error}", self.info.name);
                        self.packets = None;
                    }
                },
                received = dhcp6::receive(self.dhcp6.socket.as_ref()) => self.hear_dhcp6(received).await,
                found = self.watch.conflict() => match found {
                    Ok(other) => self.conflict(other).await,
                    // The link went down, or the kernel has no memory: what was heard until then has to do.
                    Err(error) => {
                        log::debug!("net: {}: {error}", self.info.name);
                        self.watch.stop();
                    }
                },
                Ok(()) = self.persistent.changed() => self.save(),
                Ok(()) = self.pauses.changed() => self.resumed().await,
                Ok(()) = self.others.changed() => self.hurry(),
                () = sleep(wake.map(|wake| self.epoch + wake)) => {}
            }
            if self.raising.is_some_and(|at| at <= self.now()) {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.raise() => {}
                }
            }
            let actions = self.client.tick(self.now());
            self.perform(actions).await;
            self.tick_dhcp6().await;
            self.probe();
            self.settle();
            self.publish();
        }
    }

    fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// The kernel says something new of the link.
    async fn changed(&mut self) {
        let info = self.news.borrow_and_update().clone();
        let old = std::mem::replace(&mut self.info, info);
        if old.ipv6 != self.info.ipv6 || old.name != self.info.name {
            self.say_ipv6(&old.ipv6);
            self.give();
        }
        if old.name != self.info.name {
            self.shared
                .board
                .update(|status| status.links.retain(|link| link.name != old.name));
        }
        if old.mac != self.info.mac {
            self.other_identity().await;
        }
        if self.carrier == Some(true) && self.info.carrier && old.losses != self.info.losses {
            log::info!("net: {}: carrier was down for a moment", self.info.name);
            self.verify().await;
        }
        self.carrier_changed().await;
        self.ask_dhcp6(&old.ipv6).await;
    }

    async fn carrier_changed(&mut self) {
        let carrier = self.info.carrier;
        // Until the time for it is over, a link without a carrier is one that is still looking for it.
        let same = self.carrier.unwrap_or(false) == carrier;
        if same {
            return;
        }
        self.say_carrier(carrier);
        if carrier {
            self.carrier_came().await;
        } else {
            self.carrier_went();
        }
    }

    async fn carrier_came(&mut self) {
        if self.client.lease().is_none() {
            self.settles = self.now() + Duration::from_secs(self.shared.settings.deadline.into());
            self.overdue = false;
        }
        if self.fixed.is_some() {
            self.fix().await;
        } else {
            self.load().await;
            let actions = self.client.carrier_up(self.now());
            self.perform(actions).await;
            // Whatever the server says, or if it says nothing: the address is in use from now on.
            if let Some(address) = self.client.lease().map(|lease| lease.address) {
                self.watch_over(address);
            }
        }
    }

    fn carrier_went(&mut self) {
        self.client.carrier_down();
        self.packets = None;
        self.unicast = None;
        self.watch.stop();
    }

    /// Does all that a carrier that goes and comes back would do, since what was obtained may hold no longer.
    async fn verify(&mut self) {
        self.carrier_went();
        self.tell_dhcp6(false).await;
        self.carrier_came().await;
    }

    /// The machine stood still for a while. The time of the leases stood still with it, as the kernel's of their addresses
    /// did, and a server may have given the addresses to others meanwhile.
    async fn resumed(&mut self) {
        if self.carrier == Some(true) {
            self.verify().await;
            let ipv6 = self.info.ipv6.clone();
            self.ask_dhcp6(&ipv6).await;
        }
    }

    fn say_carrier(&mut self, carrier: bool) {
        self.carrier = Some(carrier);
        log::info!(
            "net: {}: carrier is {}",
            self.info.name,
            if carrier { "up" } else { "down" }
        );
    }

    /// See [`tinyboot::status::Link::configured`].
    fn configured(&self) -> bool {
        let fixed = self
            .fixed
            .as_ref()
            .is_some_and(|fixed| !fixed.addresses.is_empty());
        self.client.lease().is_some()
            || (self.info.carrier && (fixed || self.info.ipv6.configured()))
    }

    /// True if nothing is left to wait for: see [`tinyboot::status::Link::settled`].
    fn settled(&self) -> bool {
        let fixed = self.fixed.is_some() && self.info.carrier;
        self.configured() || fixed || self.carrier == Some(false) || self.overdue
    }

    /// Gives up waiting, which is not giving up trying.
    fn settle(&mut self) {
        if self.configured() {
            self.shared
                .configured
                .send_if_modified(|old| !std::mem::replace(old, true));
        }
        if self.settled() || self.now() < self.settles {
            return;
        }
        self.overdue = true;
        if self.carrier.is_none() {
            self.say_carrier(false);
        } else if self.fixed.is_none() {
            let deadline = self.shared.settings.deadline;
            log::warn!(
                "net: {}: no lease within {deadline} s; still asking",
                self.info.name
            );
        }
    }

    /// Looks whether another machine has the address, beside everything else: it is in use meanwhile.
    fn probe(&mut self) {
        if let Err(error) = self.watch.tick(self.now(), random()) {
            log::warn!(
                "net: {}: it cannot be seen whether another machine has the address: {error}",
                self.info.name
            );
        }
    }

    /// Gives the link what is fixed, if it is. A carrier need not be there, but is another reason to do it.
    async fn fix(&mut self) {
        let Some(fixed) = &self.fixed else {
            return;
        };
        let metric = self.applied.metric();
        let errors = fixed::apply::apply(&self.handle, self.info.index, metric, fixed).await;
        self.complain(&errors);
        self.give();
        let address = fixed
            .ipv4()
            .filter(|_| self.shared.settings.detect_conflicts);
        if let Some(address) = address.filter(|_| self.info.carrier) {
            self.watch.start(self.now(), address);
        }
        if self.info.carrier {
            self.say_fixed(fixed);
        }
    }

    async fn conflict(&mut self, other: [u8; 6]) {
        let Some(address) = self.client.lease().map(|lease| lease.address) else {
            // Whoever fixed the address has to say what is to be done.
            if let Some(address) = self.fixed.as_ref().and_then(Fixed::ipv4) {
                let (name, other) = (&self.info.name, hexadecimal(other));
                log::error!("net: {name}: the fixed address {address} is in use by {other} too");
            }
            self.watch.rest();
            return;
        };
        log::error!(
            "net: {}: {address} is in use by {} too; it is given back",
            self.info.name,
            hexadecimal(other)
        );
        let actions = self.client.conflict(self.now());
        self.perform(actions).await;
        self.forget(address);
    }

    async fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Broadcast { source, message } => self.broadcast(source, &message),
                Action::Unicast {
                    source,
                    server,
                    message,
                } => self.unicast(source, server, &message),
                Action::Acquired(lease) => {
                    self.renewals = 0;
                    self.apply(&lease).await;
                    log::info!("net: {}: BOUND to {}", self.info.name, describe(&lease));
                    self.save();
                }
                Action::Renewed(lease) => {
                    self.renewals += 1;
                    self.apply(&lease).await;
                    log::info!("net: {}: renewed {}", self.info.name, terms(&lease));
                }
                Action::Removed { address, cause } => {
                    let errors = self.applied.clear().await;
                    self.complain(&errors);
                    self.give();
                    let cause = match cause {
                        Cause::Expired => "expired",
                        Cause::Refused => "was refused",
                        Cause::Conflict => "was declined",
                    };
                    self.watch.stop();
                    log::warn!(
                        "net: {}: lease of {address} {cause}; address removed",
                        self.info.name
                    );
                }
            }
        }
        if !self.client.listens() {
            self.packets = None;
            self.unicast = None;
        }
    }

    async fn apply(&mut self, lease: &Lease) {
        let left = self.client.left(self.now());
        let errors = self.applied.set(lease, left).await;
        self.complain(&errors);
        self.give();
        self.watch_over(lease.address);
    }

    fn watch_over(&mut self, address: Ipv4Addr) {
        if self.shared.settings.detect_conflicts {
            self.watch.start(self.now(), address);
        }
    }

    fn complain(&self, errors: &[super::apply::Error]) {
        for error in errors {
            log::error!("net: {}: {error}", self.info.name);
        }
    }

    /// Has the packet socket, which is opened if it is not, hear the replies to a message.
    fn listen(&mut self, message: &[u8]) -> std::io::Result<&Packets> {
        let packets = match self.packets.take() {
            Some(packets) => packets,
            None => Packets::open(self.info.index)?,
        };
        packets.expect(message)?;
        Ok(self.packets.insert(packets))
    }

    /// A message that is not sent is one that is lost: the client sends it again.
    fn broadcast(&mut self, source: Ipv4Addr, message: &[u8]) {
        let sent = self
            .listen(message)
            .and_then(|packets| packets.broadcast(source, message));
        if let Err(error) = sent {
            log::warn!(
                "net: {}: no DHCP message could be sent: {error}",
                self.info.name
            );
        }
    }

    /// What the ordinary way cannot carry goes to all: the server takes it from there too (RFC 2131, section 4.3.2). A program
    /// may have the client's port, or have taken the route away.
    fn unicast(&mut self, source: Ipv4Addr, server: Ipv4Addr, message: &[u8]) {
        let socket = match self.unicast.take().filter(|socket| socket.source == source) {
            Some(socket) => Ok(socket),
            None => Unicast::open(self.info.index, source),
        };
        let sent = self.listen(message).map(drop).and_then(|()| {
            let socket = self.unicast.insert(socket?);
            socket.send(server, message)
        });
        if let Err(error) = sent {
            log::warn!(
                "net: {}: no DHCP message could be sent to {server}: {error}; it is broadcast",
                self.info.name
            );
            self.broadcast(source, message);
        }
    }

    /// Remembers the address of an earlier boot, if `/persistent` is there already.
    async fn load(&mut self) {
        let Some(persistent) = self.persistent.borrow().clone() else {
            return;
        };
        let (mac, client_id) = (self.mac(), self.client_id.clone());
        let loaded = threads::FILES.run(move || saved::load(&persistent, &mac, &client_id));
        if let Ok(Some(saved)) = timeout(LOAD_WAIT, loaded).await {
            self.client.remember(saved.address);
        }
    }

    /// Saves the lease for the next boot, beside the event loop: a slow disk must not hold up the network.
    fn save(&self) {
        let Some((persistent, lease)) = self.persistent.borrow().clone().zip(self.client.lease())
        else {
            return;
        };
        let name = self.info.name.clone();
        let saved = Saved {
            mac: self.mac(),
            client_id: self.client_id.clone(),
            address: lease.address,
            server: lease.server,
        };
        threads::FILES.run(move || {
            if let Err(error) = saved::save(&persistent, &saved) {
                log::warn!("net: {name}: the lease cannot be saved: {error}");
            }
        });
    }

    /// An address that another machine has is not asked for at the next boot.
    fn forget(&self, address: Ipv4Addr) {
        let Some(persistent) = self.persistent.borrow().clone() else {
            return;
        };
        let (name, mac, client_id) = (self.info.name.clone(), self.mac(), self.client_id.clone());
        threads::FILES.run(move || {
            if let Err(error) = saved::forget(&persistent, &mac, &client_id, address) {
                log::warn!("net: {name}: the saved lease cannot be removed: {error}");
            }
        });
    }

    fn mac(&self) -> String {
        hexadecimal(self.info.mac)
    }
}

async fn receive(packets: Option<&Packets>) -> std::io::Result<Vec<u8>> {
    match packets {
        Some(packets) => packets.receive().await,
        None => pending().await,
    }
}

fn client(shared: &Shared, info: &Info) -> (Client, String) {
    let identity = Identity {
        mac: info.mac,
        host_name: Some(shared.host_name(&Default::default())),
    };
    let id = identity.client_id();
    let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let client = Client::new(identity, shared.backoff, Box::new(random));
    (client, id)
}

fn client6(shared: &Shared, info: &Info) -> Dhcp6 {
    let client = protocol::Client::new(info.mac, shared.backoff, Box::new(random));
    Dhcp6::new(client)
}

/// `52:54:00:12:34:56`
pub fn hexadecimal(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
