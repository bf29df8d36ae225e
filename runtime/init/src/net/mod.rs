//! The network: every link is brought up and configured by DHCP, each by a task of its own.

pub(crate) mod acd;
mod apply;
pub(crate) mod dhcp;
pub(crate) mod dhcp6;
pub(crate) mod fixed;
pub(crate) mod frame;
pub(crate) mod ipv6;
mod link;
pub(crate) mod names;
pub(crate) mod resolv;
pub(crate) mod saved;
mod socket;
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
pub mod tests;

use std::collections::HashMap;
use std::future::pending;
use std::io;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::files;
use crate::settings;
use crate::status::Board;
use dhcp::Backoff;
use resolv::Given;

/// What ends the network's task before it is told to stop. Leases that were obtained stay as they are until the
/// kernel removes the addresses at their end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel gives no netlink socket.
    #[error("The kernel's network interfaces cannot be reached: {0}.")]
    Netlink(io::Error),
    /// The interfaces cannot be listed.
    #[error("The kernel did not list its network interfaces: {0}.")]
    List(rtnetlink::Error),
    /// The kernel's messages ended.
    #[error("The kernel's messages about network interfaces ended.")]
    Closed,
}

/// What the kernel is to tell.
const NEWS: [MulticastGroup; 4] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Ifinfo,
    MulticastGroup::Ipv6Route,
];

/// Everything that the links share.
struct Shared {
    settings: settings::Network,
    image_name: String,
    resolv_conf: PathBuf,
    backoff: Backoff,
    board: Board,
    given: Mutex<resolv::Links>,
    fixed: Mutex<fixed::Plan>,
}

impl Shared {
    /// What the link with this name has instead of DHCP.
    fn fixed(&self, link: &str) -> Option<fixed::Fixed> {
        let mut plan = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        plan.of(link)
    }

    /// Takes note of what a link was given, `None` when it is gone, and writes resolv.conf and the host name anew.
    fn give(&self, link: u32, given: Option<Given>) {
        let mut links = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        match given {
            Some(given) => links.insert(link, given),
            None => links.remove(&link),
        };
        let dns = resolv::merge(&links);
        let text = resolv::text(&dns);
        let same = std::fs::read(&self.resolv_conf).is_ok_and(|old| old == text.as_bytes());
        let written = if same {
            Ok(())
        } else {
            files::replace(&self.resolv_conf, text.as_bytes())
        };
        if let Err(error) = written {
            log::error!(
                "net: {} cannot be written: {error}",
                self.resolv_conf.display()
            );
        }
        self.board.update(|status| status.dns = dns);
        let fixed = self.fixed.lock().unwrap_or_else(PoisonError::into_inner);
        let configured = fixed.host_name().or(self.settings.host_name.as_deref());
        let name = resolv::host_name(configured, &links, &self.image_name);
        if let Err(error) = nix::unistd::sethostname(&name) {
            log::warn!("net: the host name cannot be set to {name}: {error}");
        }
    }
}

/// What the kernel says of a link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Info {
    index: u32,
    name: String,
    mac: [u8; 6],
    carrier: bool,
    /// How often the carrier went. The kernel joins what happens within a second into one message.
    losses: u32,
    mtu: u32,
    ipv6: ipv6::Shown,
}

/// Configures all links, those that are there and those that come, until `stop` is cancelled. Addresses stay then:
/// the app may need them while it ends. After each of `pauses` of the machine what was obtained is verified.
///
/// # Errors
///
/// Only if the kernel does not say what links there are; a failure of one link is logged and tried again.
pub async fn run(
    settings: settings::Network,
    image_name: String,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Receiver<()>,
    stop: CancellationToken,
) -> Result<(), Error> {
    // Without it there is no parameter.
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let fixed = fixed::Plan::new(&command_line, &settings.links);
    let backoff = Backoff::up_to(Duration::from_secs(settings.longest_retry.into()));
    let shared = Shared {
        settings,
        image_name,
        resolv_conf: "/etc/resolv.conf".into(),
        backoff,
        board,
        given: Mutex::default(),
        fixed: Mutex::new(fixed),
    };
    run_with(shared, persistent, pauses, stop).await
}

async fn run_with(
    shared: Shared,
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Receiver<()>,
    stop: CancellationToken,
) -> Result<(), Error> {
    // Two connections: answers to our own requests must not be taken for news, nor news for answers.
    let (news, _, mut messages) =
        rtnetlink::new_multicast_connection(&NEWS).map_err(Error::Netlink)?;
    let mut options = ipv6::socket::Socket::open();
    let (requests, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
    let mut connections = JoinSet::new();
    connections.spawn(news);
    connections.spawn(requests);

    shared.give(0, None);
    let mut links = Links {
        shared: Arc::new(shared),
        handle,
        persistent,
        pauses,
        stop: stop.clone(),
        known: HashMap::new(),
        ipv6: HashMap::new(),
        epoch: Instant::now(),
        tasks: JoinSet::new(),
    };
    links.list().await?;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            message = messages.next() => match message.ok_or(Error::Closed)?.0.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.seen(&link).await,
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => links.gone(&link),
                NetlinkPayload::InnerMessage(message) => links.ipv6_news(&message),
                // There was more news than the socket holds.
                NetlinkPayload::Overrun(_) => links.list().await?,
                _ => {}
            },
            learned = options.next() => links.learn(&learned),
            () = sleep(links.deadline()) => links.show_all(),
            Some(ended) = links.tasks.join_next() => if let Err(error) = ended {
                log::error!("net: a link's task ended: {error}");
            },
        }
    }
    while links.tasks.join_next().await.is_some() {}
    Ok(())
}

/// The links that have a task.
struct Links {
    shared: Arc<Shared>,
    handle: Handle,
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Receiver<()>,
    stop: CancellationToken,
    known: HashMap<u32, watch::Sender<Info>>,
    ipv6: HashMap<u32, ipv6::Known>,
    /// Zero of the clock of what is valid for a time.
    epoch: Instant,
    tasks: JoinSet<()>,
}

impl Links {
    async fn list(&mut self) -> Result<(), Error> {
        let listed: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(Error::List)?;
        self.known
            .retain(|index, _| listed.iter().any(|link| link.header.index == *index));
        self.ipv6
            .retain(|index, _| listed.iter().any(|link| link.header.index == *index));
        for link in &listed {
            self.seen(link).await;
        }
        self.list_ipv6().await;
        Ok(())
    }

    /// What is there already of IPv6. A kernel without it has nothing to say.
    async fn list_ipv6(&mut self) {
        for known in self.ipv6.values_mut() {
            known.begin();
        }
        let mut messages = self.handle.address().get().execute();
        while let Some(Ok(message)) = messages.next().await {
            self.hear(&RouteNetlinkMessage::NewAddress(message));
        }
        let all = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut messages = self.handle.route().get(all).execute();
        while let Some(Ok(message)) = messages.next().await {
            self.hear(&RouteNetlinkMessage::NewRoute(message));
        }
        self.show_all();
    }

    /// The kernel says something new of an IPv6 address or route.
    fn ipv6_news(&mut self, message: &RouteNetlinkMessage) {
        if let Some(index) = self.hear(message) {
            self.show(index);
        }
    }

    /// Takes note of an IPv6 address or route, and says on which link it is.
    fn hear(&mut self, message: &RouteNetlinkMessage) -> Option<u32> {
        let there = matches!(
            message,
            RouteNetlinkMessage::NewAddress(_) | RouteNetlinkMessage::NewRoute(_)
        );
        let index = match message {
            RouteNetlinkMessage::NewAddress(it) | RouteNetlinkMessage::DelAddress(it) => {
                Some(it.header.index)
            }
            RouteNetlinkMessage::NewRoute(it) | RouteNetlinkMessage::DelRoute(it) => {
                ipv6::default_router(it).map(|(link, _)| link)
            }
            _ => None,
        };
        let index = index?;
        let known = self.ipv6.entry(index).or_default();
        match message {
            RouteNetlinkMessage::NewAddress(it) | RouteNetlinkMessage::DelAddress(it) => {
                known.address(it, there);
            }
            RouteNetlinkMessage::NewRoute(it) | RouteNetlinkMessage::DelRoute(it) => {
                known.route(it, there);
            }
            _ => {}
        }
        Some(index)
    }

    /// Routers have said something about DNS.
    fn learn(&mut self, options: &[ipv6::options::Advertised]) {
        let now = self.epoch.elapsed();
        for option in options {
            self.ipv6.entry(option.link).or_default().learn(now, option);
            self.show(option.link);
        }
    }

    /// When something that a router said is not valid any longer.
    fn deadline(&self) -> Option<Instant> {
        let next = self.ipv6.values().filter_map(ipv6::Known::deadline).min()?;
        Some(self.epoch + next)
    }

    fn show_all(&mut self) {
        let indices: Vec<u32> = self.ipv6.keys().copied().collect();
        for index in indices {
            self.show(index);
        }
    }

    /// Tells the link's task what is valid of IPv6. Of a link that is not known nothing is kept.
    fn show(&mut self, index: u32) {
        let (Some(known), Some(link)) = (self.ipv6.get_mut(&index), self.known.get(&index)) else {
            self.ipv6.remove(&index);
            return;
        };
        let shown = known.show(self.epoch.elapsed());
        link.send_if_modified(|info| std::mem::replace(&mut info.ipv6, shown.clone()) != shown);
    }

    /// A link is there, or has changed.
    async fn seen(&mut self, message: &LinkMessage) {
        let index = message.header.index;
        match message.header.interface_family {
            AddressFamily::Unspec => {}
            AddressFamily::Inet6 => {
                self.ipv6.entry(index).or_default().link(message);
                return self.show(index);
            }
            _ => return,
        }
        let flags = message.header.flags;
        if flags.contains(LinkFlags::Loopback) {
            if !flags.contains(LinkFlags::Up) {
                let up = LinkUnspec::new_with_index(index).up().build();
                if let Err(error) = self.handle.link().change(up).execute().await {
                    log::error!("net: the loopback interface cannot be brought up: {error}");
                }
            }
            return;
        }
        let Some(mut info) = ethernet(message) else {
            self.known.remove(&index);
            return;
        };
        let ipv6 = self.ipv6.entry(index).or_default();
        ipv6.link(message);
        info.ipv6 = ipv6.show(self.epoch.elapsed());
        if let Some(known) = self.known.get(&index) {
            known.send_if_modified(|old| std::mem::replace(old, info.clone()) != info);
            return;
        }
        let (sender, receiver) = watch::channel(info);
        self.known.insert(index, sender);
        let link = link::Link::new(
            self.shared.clone(),
            self.handle.clone(),
            receiver,
            self.persistent.clone(),
            self.pauses.clone(),
        );
        self.tasks.spawn(link.run(self.stop.clone()));
    }

    /// A link is not there any longer: its task ends when the sender is dropped.
    fn gone(&mut self, message: &LinkMessage) {
        // A bridge says so of a port that leaves it.
        if message.header.interface_family == AddressFamily::Unspec {
            self.known.remove(&message.header.index);
            self.ipv6.remove(&message.header.index);
        }
    }
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}

/// What is needed of an Ethernet link. `None` for any other kind, and for a port of a bridge or bond.
fn ethernet(message: &LinkMessage) -> Option<Info> {
    let mut name = None;
    let mut mac = None;
    let mut mtu = 1500;
    let mut losses = 0;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name = Some(it.clone()),
            LinkAttribute::Address(it) => mac = <[u8; 6]>::try_from(it.as_slice()).ok(),
            LinkAttribute::Mtu(it) => mtu = *it,
            LinkAttribute::CarrierDownCount(it) => losses = *it,
            LinkAttribute::Controller(_) => return None,
            _ => {}
        }
    }
    if message.header.link_layer_type != LinkLayerType::Ether {
        return None;
    }
    let carrier = message.header.flags.contains(LinkFlags::LowerUp);
    Some(Info {
        index: message.header.index,
        name: name?,
        mac: mac?,
        carrier,
        losses,
        mtu,
        ipv6: ipv6::Shown::default(),
    })
}
