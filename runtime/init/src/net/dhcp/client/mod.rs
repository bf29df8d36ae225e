//! The client's states (RFC 2131, section 4.4 and figure 5).

mod ending;

use std::fmt;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::backoff::{Backoff, renewal_delay};
use super::lease::Lease;
use super::message::{Identity, Request, encode, kind, option};
use super::reply::{Reply, is_host};

/// A state in RFC 2131's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing is known and nothing was asked.
    Init,
    /// DISCOVER was sent.
    Selecting,
    /// An offer was taken; REQUEST was sent.
    Requesting,
    /// The lease is valid and nothing is to be done.
    Bound,
    /// T1 has passed: the lease's server is asked for more.
    Renewing,
    /// T2 has passed: any server is asked for more.
    Rebinding,
    /// An address is known from before, and nothing was asked yet.
    InitReboot,
    /// It was asked whether the address known from before is still good.
    Rebooting,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Init => "INIT",
            Self::Selecting => "SELECTING",
            Self::Requesting => "REQUESTING",
            Self::Bound => "BOUND",
            Self::Renewing => "RENEWING",
            Self::Rebinding => "REBINDING",
            Self::InitReboot => "INIT-REBOOT",
            Self::Rebooting => "REBOOTING",
        })
    }
}

/// What is to be done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send to all on the link, UDP port 68 to 67, from this address.
    Broadcast {
        /// The address in use, or `0.0.0.0`.
        source: Ipv4Addr,
        /// The UDP payload.
        message: Vec<u8>,
    },
    /// Send to the server, UDP port 68 to 67, by way of the ordinary routes.
    Unicast {
        /// The address in use.
        source: Ipv4Addr,
        /// The server.
        server: Ipv4Addr,
        /// The UDP payload.
        message: Vec<u8>,
    },
    /// A lease that was not there before is valid from now on.
    Acquired(Lease),
    /// The lease of the same address goes on; its options may be others.
    Renewed(Lease),
    /// The address must not be used any longer.
    Removed {
        /// The address.
        address: Ipv4Addr,
        /// Why.
        cause: Cause,
    },
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time is over.
    Expired,
    /// A server answered with NAK.
    Refused,
    /// Another machine has the address.
    Conflict,
}

/// An offer that was taken.
#[derive(Clone, Copy, Debug)]
struct Offer {
    address: Ipv4Addr,
    server: Ipv4Addr,
}

/// A lease and the time from which its times count.
#[derive(Clone, Debug)]
struct Held {
    lease: Lease,
    since: Duration,
}

impl Held {
    fn expiry(&self) -> Option<Duration> {
        Some(self.since + self.lease.times.lease?)
    }
}

/// Unanswered messages after which an offer is given up, or the search for a confirmation of an address that is in use.
/// With the default backoff that is seven seconds.
const TRIES: u32 = 3;
/// The same for an address known from an earlier boot. A server that does not know the client is silent (RFC 2131, section
/// 4.3.2), as on another network, and the DISCOVER that follows names the address too.
const TRIES_KNOWN: u32 = 1;
/// DISCOVERs that ask for a rapid commit: some servers are deaf to messages that do.
const TRIES_RAPID: u32 = 1;
/// What an Ethernet packet holds, unless the lease says that the link's are shorter.
const LONGEST_REPLY: u16 = 1500;
/// Unanswered DISCOVERs after which broadcast replies are asked for: some relays and switches cannot deliver to an
/// address that the link does not have yet.
const TRIES_WITHOUT_BROADCAST: u32 = 3;
/// REBINDING asks at least this often. A link that was plugged in elsewhere learns of it soon.
const LONGEST_REBINDING: Duration = Duration::from_secs(300);
/// A lease that was obtained is used at least so long before more is asked for.
const LEAST_BOUND: Duration = Duration::from_millis(250);

/// One link's client. Time is what the caller says it is: any clock that only goes forward.
pub struct Client {
    identity: Identity,
    backoff: Backoff,
    random: Box<dyn FnMut() -> u32 + Send>,
    state: State,
    carrier: bool,
    xid: u32,
    began: Duration,
    sent: Duration,
    tries: u32,
    next: Option<Duration>,
    broadcast: bool,
    /// What was taken; while SELECTING, what will be if nobody else offers.
    offer: Option<Offer>,
    /// The server whose offer came to nothing last.
    failed: Option<Ipv4Addr>,
    held: Option<Held>,
    known: Option<Ipv4Addr>,
    refusals: u32,
    conflicts: u32,
}

impl Client {
    /// A client in INIT whose link has no carrier. `random` gives what RFC 2131 wants to be random: transaction ids
    /// and the spread of retransmissions.
    pub fn new(
        identity: Identity,
        backoff: Backoff,
        random: Box<dyn FnMut() -> u32 + Send>,
    ) -> Self {
        Self {
            identity,
            backoff,
            random,
            state: State::Init,
            carrier: false,
            xid: 0,
            began: Duration::ZERO,
            sent: Duration::ZERO,
            tries: 0,
            next: None,
            broadcast: false,
            offer: None,
            failed: None,
            held: None,
            known: None,
            refusals: 0,
            conflicts: 0,
        }
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The valid lease.
    pub fn lease(&self) -> Option<&Lease> {
        self.held.as_ref().map(|held| &held.lease)
    }

    /// How much of the lease is left; `None` if there is no lease or it has no end.
    pub fn left(&self, now: Duration) -> Option<Duration> {
        Some(self.held.as_ref()?.expiry()?.saturating_sub(now))
    }

    /// When [`Client::tick`] is to be called next.
    pub fn deadline(&self) -> Option<Duration> {
        let expiry = self.held.as_ref().and_then(Held::expiry);
        self.next.into_iter().chain(expiry).min()
    }

    /// True while a reply is expected.
    pub fn listens(&self) -> bool {
        self.carrier && !matches!(self.state, State::Init | State::Bound)
    }

    /// An address known from an earlier boot: it is asked for first. Without effect once the client has begun.
    pub fn remember(&mut self, address: Ipv4Addr) {
        if self.state == State::Init && !self.carrier && is_host(address) {
            self.known = Some(address);
            self.state = State::InitReboot;
        }
    }

    /// The link has a carrier (again): a lease is asked for, or the one that is there is verified, since the link may
    /// be on another network now.
    pub fn carrier_up(&mut self, now: Duration) -> Vec<Action> {
        if self.carrier {
            return Vec::new();
        }
        self.carrier = true;
        self.began = now;
        match self.known {
            Some(_) if self.held.is_some() || self.state == State::InitReboot => {
                self.state = State::Rebooting;
                self.renumber();
                self.transmit(now)
            }
            _ => self.discover(now),
        }
    }

    /// The carrier is gone: nothing is sent until it returns. The lease stays, and expires when its time is over.
    pub fn carrier_down(&mut self) {
        self.carrier = false;
        self.offer = None;
        self.failed = None;
        self.next = None;
        self.state = if self.held.is_some() {
            State::Bound
        } else {
            State::Init
        };
    }

    /// A deadline has passed. Without effect before that.
    pub fn tick(&mut self, now: Duration) -> Vec<Action> {
        if self
            .held
            .as_ref()
            .and_then(Held::expiry)
            .is_some_and(|expiry| expiry <= now)
        {
            return self.end(now, Cause::Expired);
        }
        if self.next.is_none_or(|next| now < next) {
            return Vec::new();
        }
        match self.state {
            State::Init | State::InitReboot => self.discover(now),
            State::Selecting if self.offer.is_some() => self.request(now),
            State::Selecting => self.transmit(now),
            State::Requesting if self.tries < TRIES => self.transmit(now),
            State::Rebooting if self.tries < TRIES_KNOWN => self.transmit(now),
            State::Rebooting if self.held.is_some() && self.tries < TRIES => self.transmit(now),
            State::Requesting => {
                self.blame();
                self.discover(now)
            }
            // No answer proves nothing against a lease that is still valid (RFC 2131, section 3.2).
            State::Rebooting if self.held.is_some() => self.extend(now, State::Rebinding),
            State::Rebooting => self.discover(now),
            State::Bound => self.extend(now, State::Renewing),
            State::Renewing | State::Rebinding => {
                let rebind = self
                    .held
                    .as_ref()
                    .is_none_or(|held| held.since + held.lease.times.rebind <= now);
                let rebind = rebind || self.state == State::Rebinding;
                self.extend(
                    now,
                    if rebind {
                        State::Rebinding
                    } else {
                        State::Renewing
                    },
                )
            }
        }
    }

    /// A UDP payload came from port 67. What is not a reply to what was asked is ignored.
    pub fn receive(&mut self, now: Duration, payload: &[u8]) -> Vec<Action> {
        if !self.listens() {
            return Vec::new();
        }
        let Some(reply) =
            Reply::decode(payload, self.identity.mac).filter(|reply| reply.xid == self.xid)
        else {
            return Vec::new();
        };
        match reply.kind {
            kind::OFFER if self.state == State::Selecting => self.take(now, &reply),
            kind::ACK => self.accept(now, &reply),
            kind::NAK if self.refuses(&reply) => self.end(now, Cause::Refused),
            _ => Vec::new(),
        }
    }

    /// SELECTING to REQUESTING: the first offer is as good as a later one, unless the same server's came to nothing just
    /// before. That one waits until the first DISCOVER would be repeated, or a bad server that is quick would keep a link from
    /// a good one for ever.
    fn take(&mut self, now: Duration, offer: &Reply) -> Vec<Action> {
        let server = offer
            .address(option::SERVER_ID)
            .filter(|server| is_host(*server));
        let Some(server) = server.filter(|_| is_host(offer.yiaddr)) else {
            return Vec::new();
        };
        self.offer = Some(Offer {
            address: offer.yiaddr,
            server,
        });
        if self.failed == Some(server) && self.tries == 1 {
            return Vec::new();
        }
        self.request(now)
    }

    /// To REQUESTING what was offered.
    fn request(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Requesting;
        self.tries = 0;
        self.transmit(now)
    }

    /// To BOUND, if the ACK is for what was asked for.
    fn accept(&mut self, now: Duration, ack: &Reply) -> Vec<Action> {
        let server = ack.address(option::SERVER_ID);
        let expected = match self.state {
            State::Selecting => ack.has(option::RAPID_COMMIT),
            State::Requesting => self.offer.is_some_and(|offer| {
                ack.yiaddr == offer.address && server.is_none_or(|server| server == offer.server)
            }),
            State::Renewing | State::Rebinding | State::Rebooting => self.known == Some(ack.yiaddr),
            State::Init | State::InitReboot | State::Bound => false,
        };
        let fallback = self
            .offer
            .filter(|_| self.state == State::Requesting)
            .map(|offer| offer.server)
            .or(self.lease().map(|lease| lease.server));
        let Some(lease) = Lease::from_reply(ack, fallback).filter(|_| expected) else {
            return Vec::new();
        };
        // A lease counts from the moment when it was asked for, unless the answer took longer than the lease.
        let since = if lease
            .times
            .lease
            .is_some_and(|time| self.sent + time <= now)
        {
            now
        } else {
            self.sent
        };
        self.state = State::Bound;
        self.next = lease
            .times
            .lease
            .map(|_| (since + lease.times.renew).max(now + LEAST_BOUND));
        self.offer = None;
        self.failed = self.failed.filter(|server| *server != lease.server);
        self.known = Some(lease.address);
        let held = self.held.replace(Held {
            lease: lease.clone(),
            since,
        });
        match held {
            Some(_) => {
                self.conflicts = 0;
                self.refusals = 0;
                vec![Action::Renewed(lease)]
            }
            None => vec![Action::Acquired(lease)],
        }
    }

    /// To SELECTING with a new transaction.
    fn discover(&mut self, now: Duration) -> Vec<Action> {
        self.state = State::Selecting;
        self.offer = None;
        self.renumber();
        self.transmit(now)
    }

    /// To RENEWING or REBINDING, or the next message of that state. Each has its own transaction id, so that an
    /// answer tells from when the lease counts.
    fn extend(&mut self, now: Duration, state: State) -> Vec<Action> {
        if state != self.state {
            self.began = now;
        }
        self.state = state;
        self.renumber();
        self.transmit(now)
    }

    fn renumber(&mut self) {
        self.xid = (self.random)();
        self.tries = 0;
    }

    /// Sends the state's message and sets the time of the next one.
    fn transmit(&mut self, now: Duration) -> Vec<Action> {
        self.tries = self.tries.saturating_add(1);
        self.sent = now;
        self.broadcast |= self.state == State::Selecting && self.tries > TRIES_WITHOUT_BROADCAST;
        let random = (self.random)();
        let mut next = now + self.backoff.delay(self.tries, random);
        let mut request = Request {
            kind: kind::REQUEST,
            xid: self.xid,
            secs: u16::try_from(now.saturating_sub(self.began).as_secs()).unwrap_or(u16::MAX),
            broadcast: self.broadcast,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            requested: self.known,
            server: None,
            rapid: self.state == State::Selecting && self.tries <= TRIES_RAPID,
            // A packet socket joins no fragments.
            longest_reply: self
                .lease()
                .and_then(|lease| lease.mtu)
                .map_or(LONGEST_REPLY, |mtu| mtu.min(LONGEST_REPLY)),
        };
        let mut server = None;
        match (self.state, &self.held) {
            (State::Requesting, _) => {
                request.requested = self.offer.map(|offer| offer.address);
                request.server = self.offer.map(|offer| offer.server);
            }
            (State::Renewing | State::Rebinding, Some(held)) => {
                request.ciaddr = held.lease.address;
                request.requested = None;
                request.broadcast = false;
                let lease = held.lease.times.lease.unwrap_or(Duration::MAX);
                let left = lease.saturating_sub(now.saturating_sub(held.since));
                next = now + renewal_delay(left, lease).min(LONGEST_REBINDING);
                if self.state == State::Renewing {
                    let rebind = held.since + held.lease.times.rebind;
                    next = (now + renewal_delay(rebind.saturating_sub(now), lease))
                        .min(rebind.max(now + LEAST_BOUND));
                    server = Some(held.lease.server);
                }
            }
            (State::Rebooting, _) => {}
            _ => request.kind = kind::DISCOVER,
        }
        self.next = Some(next);
        let message = encode(&self.identity, &request);
        // While an address that is in use is verified, it stays out of the header: RFC 2131, table 5.
        let source = request.ciaddr;
        vec![match server {
            Some(server) => Action::Unicast {
                source,
                server,
                message,
            },
            None => Action::Broadcast { source, message },
        }]
    }
}

#[cfg(test)]
mod tests;
