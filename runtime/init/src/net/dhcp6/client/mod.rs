//! The client's exchanges (RFC 8415, section 18.2), each of which has a message that is repeated until its answer comes.

mod ending;
mod sending;

use std::net::Ipv6Addr;
use std::time::Duration;

use super::super::dhcp::Backoff;
use super::lease::{Association, Held, Lease, Settings};
use super::message::{Identity, Reply, option, status};

/// What is going on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is asked: no router wants it, the link is down, or a pause is made.
    Idle,
    /// Solicit was sent.
    Soliciting,
    /// An offer was taken; Request was sent.
    Requesting,
    /// It was asked whether the address is still good on this link.
    Confirming,
    /// The address is valid and nothing is to be done.
    Bound,
    /// T1 has passed: the address' server is asked for more.
    Renewing,
    /// T2 has passed: any server is asked for more.
    Rebinding,
    /// A server is told that another machine has its address.
    Declining,
    /// Information-request was sent.
    Informing,
    /// The settings are known and nothing is to be done.
    Informed,
}

/// What the routers want to be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ask {
    /// Nothing.
    #[default]
    Nothing,
    /// Resolvers and the like: the advertisement's O flag.
    Settings,
    /// An address, and the settings with it: the M flag.
    Address,
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send to all servers on the link, UDP port 546 to 547.
    Send(Vec<u8>),
    /// An address that was not there before is valid from now on.
    Acquired(Lease),
    /// The same address goes on; its times and the settings may be others.
    Renewed(Lease),
    /// The address is good on this link too; nothing is new.
    Confirmed(Lease),
    /// Settings without an address.
    Informed(Lease),
    /// The settings that came without an address must not be used any longer: the link may be on another network.
    Forgotten,
    /// The address must not be used any longer, nor the settings that came with it.
    Removed {
        /// The address.
        address: Ipv6Addr,
        /// Why.
        cause: Cause,
    },
}

/// Why an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time is over.
    Expired,
    /// A server refused it, or took it back.
    Refused,
    /// A server gave another one for it.
    Replaced,
    /// Another machine has it.
    Conflict,
}

/// An offer, or an address that is to be declined.
#[derive(Clone, Debug)]
struct Offer {
    address: Ipv6Addr,
    server: Vec<u8>,
    preference: u8,
}

/// Unanswered Requests after which a server is given up.
const TRIES: u32 = 3;
/// How long offers are compared, from the first one on.
const COLLECT: Duration = Duration::from_millis(300);
/// A lease that was obtained is used at least so long before more is asked for.
const LEAST_BOUND: Duration = Duration::from_millis(250);
/// IRT_DEFAULT and IRT_MINIMUM (section 21.23).
const REFRESH: u32 = 86_400;
const LEAST_REFRESH: u32 = 600;

/// One link's client. Time is what the caller says it is: any clock that only goes forward.
pub struct Client {
    identity: Identity,
    backoff: Backoff,
    random: Box<dyn FnMut() -> u32 + Send>,
    state: State,
    up: bool,
    ask: Ask,
    xid: u32,
    began: Duration,
    sent: Duration,
    tries: u32,
    interval: Duration,
    next: Option<Duration>,
    offer: Option<Offer>,
    /// The server whose offer came to nothing last.
    failed: Option<Vec<u8>>,
    lease: Option<Lease>,
    /// Who gave the lease's address, and from when its times count.
    server: Vec<u8>,
    since: Duration,
    longest_solicit: Option<Duration>,
    longest_inform: Option<Duration>,
    refusals: u32,
    conflicts: u32,
}

impl Client {
    /// A client for the link with this hardware address, which is down. `random` gives what RFC 8415 wants to be random:
    /// transaction ids and the spread of retransmissions.
    pub fn new(mac: [u8; 6], backoff: Backoff, random: Box<dyn FnMut() -> u32 + Send>) -> Self {
        Self {
            identity: Identity::of(mac),
            backoff,
            random,
            state: State::Idle,
            up: false,
            ask: Ask::Nothing,
            xid: 0,
            began: Duration::ZERO,
            sent: Duration::ZERO,
            tries: 0,
            interval: Duration::ZERO,
            next: None,
            offer: None,
            failed: None,
            lease: None,
            server: Vec::new(),
            since: Duration::ZERO,
            longest_solicit: None,
            longest_inform: None,
            refusals: 0,
            conflicts: 0,
        }
    }

    /// What is valid.
    pub fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref()
    }

    /// The valid address.
    pub fn held(&self) -> Option<&Held> {
        self.lease.as_ref()?.held.as_ref()
    }

    /// How much of a time of the lease is left.
    pub fn left(&self, now: Duration, time: Option<Duration>) -> Option<Duration> {
        Some((self.since + time?).saturating_sub(now))
    }

    fn expiry(&self) -> Option<Duration> {
        Some(self.since + self.held()?.valid?)
    }

    /// When [`Client::tick`] is to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        self.next.into_iter().chain(self.expiry()).min()
    }

    /// The transaction id of the last exchange.
    #[cfg(any(test, fuzzing))]
    pub fn exchange(&self) -> u32 {
        self.xid
    }

    /// True while a router wants the link to ask servers, now and again or at this moment.
    pub fn wanted(&self) -> bool {
        self.up && self.ask != Ask::Nothing
    }

    /// True while a reply is expected.
    pub fn listens(&self) -> bool {
        self.up && !matches!(self.state, State::Idle | State::Bound | State::Informed)
    }

    /// The link is as said: `up` with a carrier and a link-local address that can be used, and what its routers want. What
    /// they wanted once counts until the link goes down: of two routers that disagree, the one that says nothing must not
    /// end what the other one began (as RFC 2462, section 5.5.3, had it; RFC 4862 leaves it open).
    ///
    /// When the link is up again, it may be another network: the address is confirmed (section 18.2.3), settings without an
    /// address are asked for anew (section 18.2.12). Until then there are none: nothing ends them if nobody here is asked, or
    /// answers.
    pub fn link(&mut self, now: Duration, up: bool, ask: Ask) -> Vec<Action> {
        if !up {
            self.down();
            return Vec::new();
        }
        let came = !std::mem::replace(&mut self.up, true);
        let before = self.ask;
        self.ask = before.max(ask);
        if came && self.held().is_some() {
            return self.begin(now, State::Confirming);
        }
        let mut actions = Vec::new();
        if came && self.lease.take().is_some() {
            self.state = State::Idle;
            actions.push(Action::Forgotten);
        }
        if self.held().is_none() && before < self.ask {
            actions.extend(self.restart(now));
        }
        actions
    }

    /// The link is down: nothing is sent until it returns. An address stays, and expires when its time is over; settings
    /// without one stay until the link returns.
    fn down(&mut self) {
        self.up = false;
        self.ask = Ask::Nothing;
        self.offer = None;
        self.failed = None;
        self.next = None;
        self.longest_solicit = None;
        self.longest_inform = None;
        self.state = match &self.lease {
            Some(lease) if lease.held.is_some() => State::Bound,
            Some(_) => State::Informed,
            None => State::Idle,
        };
    }

    /// A deadline has passed. Without effect before that.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self.expiry().is_some_and(|expiry| expiry <= now) {
            return self.end(now, Cause::Expired);
        }
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        match self.state {
            State::Idle => self.restart(now),
            State::Soliciting if self.offer.is_some() => self.begin(now, State::Requesting),
            State::Requesting if self.tries >= TRIES => self.give_up(now),
            // No answer proves nothing against a lease that is still valid.
            State::Confirming if now >= self.began + sending::LONGEST_CONFIRMING => {
                self.rest(now);
                Vec::new()
            }
            State::Declining if self.tries >= sending::TRIES_DECLINING => self.pause(now),
            State::Bound | State::Renewing if self.rebinds(now) => {
                self.begin(now, State::Rebinding)
            }
            State::Bound => self.begin(now, State::Renewing),
            State::Informed => self.begin(now, State::Informing),
            _ => self.transmit(now),
        }
    }

    /// A UDP payload came. What is not a reply to what was asked is ignored.
    pub fn receive(&mut self, now: Duration, payload: &[u8]) -> Vec<Action> {
        if !self.listens() {
            return Vec::new();
        }
        let identity = self.identity.clone();
        let Some(reply) = Reply::decode(payload, &identity).filter(|reply| reply.xid == self.xid)
        else {
            return Vec::new();
        };
        self.learn_limits(&reply);
        match (self.state, reply.advertise) {
            (State::Soliciting, true) => self.offered(now, &reply),
            (State::Soliciting, false) => {
                let rapid = reply.options.get(option::RAPID_COMMIT).is_some();
                match Association::of(&reply, &self.identity, None) {
                    Association::Address(held) if rapid => self.bind(now, held, &reply),
                    _ => Vec::new(),
                }
            }
            (State::Requesting | State::Renewing | State::Rebinding, false) => {
                self.answered(now, &reply)
            }
            (State::Confirming, false) => match reply.options.status() {
                status::SUCCESS => self.confirmed(now),
                status::NOT_ON_LINK => self.end(now, Cause::Refused),
                _ => Vec::new(),
            },
            (State::Declining, false) => self.pause(now),
            (State::Informing, false) => self.informed(now, &reply),
            _ => Vec::new(),
        }
    }

    /// An Advertise. The best one is taken when the time for comparing is over, one that wants to be taken by all means or
    /// that comes late at once (section 18.2.1). One of the server whose offer came to nothing just before is the worst, and waits
    /// until the first Solicit would be repeated: section 18.2.10.1 has a client try another server, but this may be the only one.
    fn offered(&mut self, now: Duration, reply: &Reply<'_>) -> Vec<Action> {
        let Association::Address(held) = Association::of(reply, &self.identity, None) else {
            return Vec::new();
        };
        let preference = reply.preference();
        let failed = self.fails(reply.server);
        let best = self.offer.as_ref();
        let best = best.map(|best| (!self.fails(&best.server), best.preference));
        if best.is_none_or(|best| best < (!failed, preference)) {
            if !failed && best.is_none_or(|(good, _)| !good) {
                let until = now + COLLECT;
                self.next = Some(self.next.map_or(until, |next| next.min(until)));
            }
            self.offer = Some(Offer {
                address: held.address,
                server: reply.server.to_vec(),
                preference,
            });
        }
        if (preference == u8::MAX && !failed) || self.tries > 1 {
            return self.begin(now, State::Requesting);
        }
        Vec::new()
    }

    /// True of the server whose offer came to nothing last.
    fn fails(&self, server: &[u8]) -> bool {
        self.failed.as_deref() == Some(server)
    }

    /// A Reply to Request, Renew or Rebind (section 18.2.10.1).
    fn answered(&mut self, now: Duration, reply: &Reply<'_>) -> Vec<Action> {
        let (wanted, server) = match (self.state, &self.offer) {
            (State::Requesting, Some(offer)) => (Some(offer.address), Some(&offer.server)),
            (State::Renewing, _) => (self.held().map(|held| held.address), Some(&self.server)),
            _ => (self.held().map(|held| held.address), None),
        };
        if server.is_some_and(|server| server != reply.server) {
            return Vec::new();
        }
        let requesting = self.state == State::Requesting;
        match Association::of(reply, &self.identity, wanted) {
            Association::Address(held) => self.bind(now, held, reply),
            Association::Withdrawn => self.end(now, Cause::Refused),
            // The server has forgotten the address, and gets the chance to give it again.
            Association::Status(status::NO_BINDING) if !requesting => {
                self.offer = wanted.map(|address| Offer {
                    address,
                    server: reply.server.to_vec(),
                    preference: 0,
                });
                self.begin(now, State::Requesting)
            }
            Association::Status(
                status::NO_BINDING | status::NO_ADDRS_AVAIL | status::NOT_ON_LINK,
            ) if requesting => self.end(now, Cause::Refused),
            // It is asked again.
            Association::Status(_) | Association::Nothing => Vec::new(),
        }
    }

    /// To BOUND.
    fn bind(&mut self, now: Duration, held: Held, reply: &Reply<'_>) -> Vec<Action> {
        let old = self.held().map(|held| held.address);
        // A lease counts from the moment when it was asked for, unless the answer took longer than the lease.
        let late = held.valid.is_some_and(|valid| self.sent + valid <= now);
        self.since = if late { now } else { self.sent };
        self.server = reply.server.to_vec();
        self.offer = None;
        self.failed.take_if(|server| *server == reply.server);
        let lease = Lease {
            held: Some(held),
            settings: Settings::of(reply.options),
        };
        self.lease = Some(lease.clone());
        self.rest(now);
        match old {
            Some(address) if address == held.address => {
                self.conflicts = 0;
                self.refusals = 0;
                vec![Action::Renewed(lease)]
            }
            Some(address) => {
                let cause = Cause::Replaced;
                vec![Action::Removed { address, cause }, Action::Acquired(lease)]
            }
            None => vec![Action::Acquired(lease)],
        }
    }

    /// In BOUND until T1.
    fn rest(&mut self, now: Duration) {
        self.state = State::Bound;
        let renew = self.held().and_then(|held| held.renew);
        self.next = renew.map(|renew| (self.since + renew).max(now + LEAST_BOUND));
    }

    fn confirmed(&mut self, now: Duration) -> Vec<Action> {
        self.rest(now);
        let lease = self.lease.clone();
        lease.into_iter().map(Action::Confirmed).collect()
    }

    fn informed(&mut self, now: Duration, reply: &Reply<'_>) -> Vec<Action> {
        if reply.options.status() != status::SUCCESS {
            return Vec::new();
        }
        let refresh = reply.options.number(option::REFRESH_TIME);
        let refresh = refresh.unwrap_or(REFRESH).max(LEAST_REFRESH);
        let refresh = (refresh != u32::MAX).then(|| Duration::from_secs(refresh.into()));
        self.state = State::Informed;
        self.next = refresh.map(|refresh| now + refresh);
        let lease = Lease {
            held: None,
            settings: Settings::of(reply.options),
        };
        self.lease = Some(lease.clone());
        vec![Action::Informed(lease)]
    }

    /// True if T2 has passed.
    fn rebinds(&self, now: Duration) -> bool {
        let rebind = self.held().and_then(|held| held.rebind);
        rebind.is_some_and(|rebind| self.since + rebind <= now)
    }
}

#[cfg(test)]
mod tests;
