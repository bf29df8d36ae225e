//! The network: every link is brought up and configured by DHCP, each by a task of its own.

mod acd;
mod apply;
mod dhcp;
mod frame;
mod link;
mod names;
mod resolv;
mod saved;
mod socket;
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
pub mod tests;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::settings;
use crate::status::Board;
use dhcp::{Backoff, Lease};
use resolv::Leases;

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

/// Everything that the links share.
struct Shared {
    settings: settings::Network,
    image_name: String,
    resolv_conf: PathBuf,
    backoff: Backoff,
    board: Board,
    leases: Mutex<Leases>,
}

impl Shared {
    /// Takes note of a link's lease and writes resolv.conf and the host name anew.
    fn set_lease(&self, link: u32, lease: Option<&Lease>) {
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        match lease {
            Some(lease) => leases.insert(link, lease.clone()),
            None => leases.remove(&link),
        };
        let text = resolv::text(&leases);
        let same = std::fs::read(&self.resolv_conf).is_ok_and(|old| old == text.as_bytes());
        let written = if same {
            Ok(())
        } else {
            resolv::replace(&self.resolv_conf, text.as_bytes())
        };
        if let Err(error) = written {
            log::error!(
                "net: {} cannot be written: {error}",
                self.resolv_conf.display()
            );
        }
        let name = resolv::host_name(
            self.settings.host_name.as_deref(),
            &leases,
            &self.image_name,
        );
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
    mtu: u32,
}

/// Configures all links, those that are there and those that come, until `stop` is cancelled. Addresses stay then:
/// the app may need them while it ends.
///
/// # Errors
///
/// Only if the kernel does not say what links there are; a failure of one link is logged and tried again.
pub async fn run(
    settings: settings::Network,
    image_name: String,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let backoff = Backoff::up_to(Duration::from_secs(settings.longest_retry.into()));
    let shared = Shared {
        settings,
        image_name,
        resolv_conf: "/etc/resolv.conf".into(),
        backoff,
        board,
        leases: Mutex::default(),
    };
    run_with(shared, persistent, stop).await
}

async fn run_with(
    shared: Shared,
    persistent: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) -> Result<(), Error> {
    // Two connections: answers to our own requests must not be taken for news, nor news for answers.
    let (news, _, mut messages) =
        rtnetlink::new_multicast_connection(&[MulticastGroup::Link]).map_err(Error::Netlink)?;
    let (requests, handle, _) = rtnetlink::new_connection().map_err(Error::Netlink)?;
    let mut connections = JoinSet::new();
    connections.spawn(news);
    connections.spawn(requests);

    shared.set_lease(0, None);
    let mut links = Links {
        shared: Arc::new(shared),
        handle,
        persistent,
        stop: stop.clone(),
        known: HashMap::new(),
        tasks: JoinSet::new(),
    };
    links.list().await?;
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            message = messages.next() => match message.ok_or(Error::Closed)?.0.payload {
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => links.seen(&link).await,
                NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => links.gone(&link),
                // There was more news than the socket holds.
                NetlinkPayload::Overrun(_) => links.list().await?,
                _ => {}
            },
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
    stop: CancellationToken,
    known: HashMap<u32, watch::Sender<Info>>,
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
        for link in &listed {
            self.seen(link).await;
        }
        Ok(())
    }

    /// A link is there, or has changed.
    async fn seen(&mut self, message: &LinkMessage) {
        if message.header.interface_family != AddressFamily::Unspec {
            return;
        }
        let flags = message.header.flags;
        let index = message.header.index;
        if flags.contains(LinkFlags::Loopback) {
            if !flags.contains(LinkFlags::Up) {
                let up = LinkUnspec::new_with_index(index).up().build();
                if let Err(error) = self.handle.link().change(up).execute().await {
                    log::error!("net: the loopback interface cannot be brought up: {error}");
                }
            }
            return;
        }
        let Some(info) = ethernet(message) else {
            self.known.remove(&index);
            return;
        };
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
        );
        self.tasks.spawn(link.run(self.stop.clone()));
    }

    /// A link is not there any longer: its task ends when the sender is dropped.
    fn gone(&mut self, message: &LinkMessage) {
        // A bridge says so of a port that leaves it.
        if message.header.interface_family == AddressFamily::Unspec {
            self.known.remove(&message.header.index);
        }
    }
}

/// What is needed of an Ethernet link. `None` for any other kind, and for a port of a bridge or bond.
fn ethernet(message: &LinkMessage) -> Option<Info> {
    let mut name = None;
    let mut mac = None;
    let mut mtu = 1500;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(it) => name = Some(it.clone()),
            LinkAttribute::Address(it) => mac = <[u8; 6]>::try_from(it.as_slice()).ok(),
            LinkAttribute::Mtu(it) => mtu = *it,
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
        mtu,
    })
}
