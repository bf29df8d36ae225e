//! The links that the kernel has, and the tasks of those that init looks after.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use nix::libc;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::link::{LinkFlags, LinkMessage};
use rtnetlink::packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{Handle, LinkUnspec, MulticastGroup, RouteMessageBuilder};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::ipv6::bound::{self, Learned, Routes};
use super::which::{Info, Place};
use super::worker::Requests;
use super::{Error, Shared, Surroundings, ipv6, link, sleep, which};

/// What the kernel is to tell.
const NEWS: [MulticastGroup; 4] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv6Ifinfo,
    MulticastGroup::Ipv6Route,
];

/// The links that have a task.
pub struct Links {
    shared: Arc<Shared>,
    requests: Requests,
    surroundings: Surroundings,
    known: HashMap<u32, watch::Sender<Info>>,
    ipv6: HashMap<u32, ipv6::Known>,
    /// Of every link, also of those that are not ours.
    routes: HashMap<u32, Routes>,
    /// The switch of links whose advertisements are not taken, as it was.
    accepted: HashMap<u32, String>,
    /// Zero of the clock of what is valid for a time.
    epoch: Instant,
    tasks: JoinSet<()>,
    times_listed: u32,
}

impl Links {
    /// No link yet.
    pub fn new(shared: Arc<Shared>, requests: Requests, surroundings: Surroundings) -> Self {
        Self {
            shared,
            requests,
            surroundings,
            known: HashMap::new(),
            ipv6: HashMap::new(),
            routes: HashMap::new(),
            accepted: HashMap::new(),
            epoch: Instant::now(),
            tasks: JoinSet::new(),
            times_listed: 0,
        }
    }

    /// Follows what the kernel says of its links until it is stopped. To be called again after a failure: the links that are
    /// known keep their tasks.
    ///
    /// # Errors
    ///
    /// The kernel cannot be heard, or, with [`Error::Deaf`], cannot be told.
    pub async fn follow(&mut self) -> Result<(), Error> {
        // Two connections: answers to our own requests must not be taken for news, nor news for answers.
        let (news, _, mut messages) =
            rtnetlink::new_multicast_connection(&NEWS).map_err(Error::Netlink)?;
        let mut options = ipv6::socket::Socket::open().map_err(Error::Netlink)?;
        let mut connection = JoinSet::new();
        connection.spawn(news);
        let stop = self.surroundings.stop.clone();
        self.list().await?;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                message = messages.next() => match message.ok_or(Error::Closed)?.0.payload {
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => self.seen(&link).await,
                    NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link)) => self.gone(&link),
                    NetlinkPayload::InnerMessage(message) => self.ipv6_news(&message).await,
                    // There was more news than the socket holds.
                    NetlinkPayload::Overrun(_) => self.list().await?,
                    _ => {}
                },
                learned = options.next() => self.learn(&learned.map_err(Error::Netlink)?),
                () = sleep(self.deadline()) => {
                    self.show_all();
                    self.open().await;
                }
                () = self.requests.failed() => return Err(Error::Deaf),
                Some(ended) = self.tasks.join_next() => if let Err(error) = ended {
                    log::error!("net: a link's task ended: {error}");
                },
            }
        }
    }

    /// Waits for the tasks, which were told to stop.
    pub async fn join(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// How often the links were listed.
    pub fn times_listed(&self) -> u32 {
        self.times_listed
    }

    fn handle(&self) -> &Handle {
        &self.requests.handle
    }

    async fn list(&mut self) -> Result<(), Error> {
        let listed: Vec<LinkMessage> = self
            .handle()
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
        self.routes
            .retain(|index, _| listed.iter().any(|link| link.header.index == *index));
        let there = |index| listed.iter().any(|link| link.header.index == index);
        self.shared.own.retain(there);
        for link in &listed {
            self.seen(link).await;
        }
        self.list_ipv6().await?;
        self.times_listed = self.times_listed.saturating_add(1);
        Ok(())
    }

    /// What is there already of IPv6. A kernel without it has nothing to say; one that fails is asked again, or what it did not name
    /// would be taken for gone.
    async fn list_ipv6(&mut self) -> Result<(), Error> {
        for known in self.ipv6.values_mut() {
            known.begin();
        }
        self.routes.values_mut().for_each(Routes::begin);
        let mut messages = self.handle().address().get().execute();
        while let Some(message) = messages.next().await {
            let message = message.map_err(Error::List)?;
            self.hear(&RouteNetlinkMessage::NewAddress(message));
        }
        let all = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let mut messages = self.handle().route().get(all).execute();
        while let Some(message) = messages.next().await {
            match message {
                Ok(message) => self.hear(&RouteNetlinkMessage::NewRoute(message)),
                Err(error) if lacks_ipv6(&error) => break,
                Err(error) => return Err(Error::List(error)),
            };
        }
        self.routes.values_mut().for_each(Routes::end);
        self.show_all();
        let links: Vec<u32> = self.routes.keys().copied().collect();
        for link in links {
            self.limit(link).await;
        }
        Ok(())
    }

    /// The kernel says something new of an IPv6 address or route.
    async fn ipv6_news(&mut self, message: &RouteNetlinkMessage) {
        if let Some(index) = self.hear(message) {
            self.show(index);
        }
        if let RouteNetlinkMessage::NewRoute(message) = message
            && let Some((link, _)) = Learned::of(message)
        {
            self.limit(link).await;
        }
    }

    /// Keeps the routes of a link within their bound: those that are too many are removed, and the kernel takes no
    /// advertisement for a while.
    async fn limit(&mut self, link: u32) {
        if !self.routes.get(&link).is_some_and(Routes::is_full) {
            return;
        }
        let Ok(name) = nix::net::if_::if_indextoname(link) else {
            return;
        };
        let name = name.to_string_lossy().into_owned();
        // First, so that what is counted then is all.
        let before = accept(&name, "0").unwrap_or_else(|| "1".into());
        let mut own = Vec::new();
        let mut messages = self
            .handle()
            .address()
            .get()
            .set_link_index_filter(link)
            .execute();
        while let Some(Ok(message)) = messages.next().await {
            own.extend(bound::given(&message));
        }
        let Some(routes) = self.routes.get_mut(&link) else {
            return;
        };
        let surplus = routes.surplus(&own);
        if surplus.is_empty() {
            accept(&name, &before);
            return;
        }
        self.accepted.insert(link, before);
        if routes.close(self.epoch.elapsed()) {
            log::warn!(
                "net: {name}: router advertisements brought more than {} routes; the others are removed, and no advertisement is taken for {} s",
                bound::MOST,
                bound::CLOSED.as_secs()
            );
        }
        let handle = self.handle().clone();
        self.tasks.spawn(async move {
            for route in surplus {
                let removed = handle.route().del(route.removal(link)).execute().await;
                if let Err(error) = removed {
                    log::debug!("net: {name}: {route:?}: {error}");
                }
            }
        });
    }

    /// Has the kernel take advertisements again where it is time.
    async fn open(&mut self) {
        let now = self.epoch.elapsed();
        let all = self.routes.iter_mut();
        let links: Vec<u32> = all
            .filter_map(|(link, routes)| routes.open(now).then_some(*link))
            .collect();
        for link in links {
            let name = nix::net::if_::if_indextoname(link);
            if let (Ok(name), Some(before)) = (name, self.accepted.remove(&link)) {
                accept(&name.to_string_lossy(), &before);
            }
            self.limit(link).await;
        }
    }

    /// Takes note of an IPv6 address or route, and says on which link it is.
    fn hear(&mut self, message: &RouteNetlinkMessage) -> Option<u32> {
        if let RouteNetlinkMessage::NewRoute(it) | RouteNetlinkMessage::DelRoute(it) = message
            && let Some((link, route)) = Learned::of(it)
        {
            let there = matches!(message, RouteNetlinkMessage::NewRoute(_));
            self.routes.entry(link).or_default().hear(route, there);
        }
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
        let valid = self.ipv6.values().filter_map(ipv6::Known::deadline);
        let closed = self.routes.values().filter_map(Routes::deadline);
        Some(self.epoch + valid.chain(closed).min()?)
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
        self.shared.own.note(index, which::mac(message));
        let flags = message.header.flags;
        if flags.contains(LinkFlags::Loopback) {
            if !flags.contains(LinkFlags::Up) {
                let up = LinkUnspec::new_with_index(index).up().build();
                if let Err(error) = self.handle().link().change(up).execute().await {
                    log::error!("net: the loopback interface cannot be brought up: {error}");
                }
            }
            return;
        }
        let Some(mut info) = which::ethernet(message) else {
            return self.leave(index, None);
        };
        if !self.is_ours(&info) {
            return self.leave(index, Some(info));
        }
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
            self.handle().clone(),
            receiver,
            &self.surroundings,
        );
        self.tasks.spawn(link.run(self.surroundings.stop.clone()));
    }

    /// True for a link that gets a task.
    fn is_ours(&self, info: &Info) -> bool {
        match &info.place {
            Place::Hardware => true,
            Place::Made(kind) => {
                self.shared.like_hardware.as_ref() == Some(kind)
                    || self.shared.plan(|plan| plan.names(&info.name, info.mac))
            }
            Place::Port(_) => false,
        }
    }

    /// A link is there, but is not ours, or not any longer: its task takes away what it gave.
    fn leave(&mut self, index: u32, info: Option<Info>) {
        let Some(known) = self.known.remove(&index) else {
            return;
        };
        known.send_modify(|old| {
            if let Some(info) = info {
                old.name = info.name;
                old.place = info.place;
            }
            old.left = true;
        });
    }

    /// A link is not there any longer: its task ends when the sender is dropped.
    fn gone(&mut self, message: &LinkMessage) {
        // A bridge says so of a port that leaves it.
        if message.header.interface_family == AddressFamily::Unspec {
            self.known.remove(&message.header.index);
            self.ipv6.remove(&message.header.index);
            self.routes.remove(&message.header.index);
            self.accepted.remove(&message.header.index);
            self.shared.own.note(message.header.index, None);
        }
    }
}

/// True if the kernel has no IPv6.
fn lacks_ipv6(error: &rtnetlink::Error) -> bool {
    let none = [libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
    matches!(error, rtnetlink::Error::NetlinkError(it) if none.contains(&-it.raw_code()))
}

/// Says whether the kernel takes the router advertisements of a link; what it was told before.
fn accept(link: &str, value: &str) -> Option<String> {
    let path = format!("/proc/sys/net/ipv6/conf/{link}/accept_ra");
    let before = std::fs::read_to_string(&path).ok();
    if let Err(error) = std::fs::write(&path, value) {
        log::debug!("net: {path}: {error}");
    }
    before
}
