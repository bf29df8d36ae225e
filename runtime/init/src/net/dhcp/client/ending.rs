//! How a lease ends before its client does: expiry, NAK, and an address that another machine has.

use super::*;

/// How long to wait after a DECLINE at least (RFC 2131, section 3.1, step 5).
const AFTER_DECLINE: Duration = Duration::from_secs(10);

impl Client {
    /// True if a NAK comes from someone who has a say: the server that was asked, or any if all were asked.
    pub(super) fn refuses(&self, nak: &Reply) -> bool {
        let server = nak.address(option::SERVER_ID);
        let named = |asked| server == Some(asked);
        match self.state {
            State::Requesting => self.offer.is_some_and(|offer| named(offer.server)),
            State::Renewing => self.lease().is_some_and(|lease| named(lease.server)),
            State::Rebinding | State::Rebooting => true,
            State::Init | State::InitReboot | State::Selecting | State::Bound => false,
        }
    }

    /// The offer that was taken came to nothing: its server was silent, gave no lease that can be used, or refused.
    pub(super) fn blame(&mut self) {
        let offer = self.offer.take();
        self.failed = offer.map(|offer| offer.server).or(self.failed);
    }

    /// The lease is over, or was refused: the address goes, and the search begins again. A server that refuses what
    /// it offered or gave, time after time, is asked less and less often.
    pub(super) fn end(&mut self, now: Duration, cause: Cause) -> Vec<Action> {
        let held = self.held.take();
        // One that lasted is no part of a row of refusals.
        if held
            .as_ref()
            .is_some_and(|held| held.since + self.backoff.longest <= now)
        {
            self.refusals = 0;
        }
        let mut actions: Vec<Action> = held
            .map(|held| Action::Removed {
                address: held.lease.address,
                cause,
            })
            .into_iter()
            .collect();
        self.state = State::Init;
        self.next = None;
        self.began = now;
        if cause == Cause::Refused {
            self.blame();
            self.known = None;
            self.refusals = self.refusals.saturating_add(1);
        }
        self.offer = None;
        if !self.carrier {
            return actions;
        }
        if self.refusals > 1 {
            let random = (self.random)();
            self.next = Some(now + self.backoff.delay(self.refusals - 1, random));
        } else {
            actions.extend(self.discover(now));
        }
        actions
    }

    /// Another machine has the lease's address: it is given back, which its server is told, and the search begins again
    /// after a while that grows with each conflict in a row. Without effect if there is no lease.
    pub fn conflict(&mut self, now: Duration) -> Vec<Action> {
        let Some(held) = self.held.take() else {
            return Vec::new();
        };
        let (address, server) = (held.lease.address, held.lease.server);
        self.state = State::Init;
        self.offer = None;
        self.known = None;
        self.next = None;
        self.began = now;
        self.conflicts = self.conflicts.saturating_add(1);
        let mut actions = vec![Action::Removed {
            address,
            cause: Cause::Conflict,
        }];
        if self.carrier {
            let random = (self.random)();
            let pause = self.backoff.delay(self.conflicts, random);
            self.next = Some(now + pause.max(AFTER_DECLINE));
            self.renumber();
            let decline = Request {
                kind: kind::DECLINE,
                xid: self.xid,
                secs: 0,
                broadcast: false,
                ciaddr: Ipv4Addr::UNSPECIFIED,
                requested: Some(address),
                server: Some(server),
                rapid: false,
                longest_reply: LONGEST_REPLY,
            };
            actions.push(Action::Broadcast {
                source: Ipv4Addr::UNSPECIFIED,
                message: encode(&self.identity, &decline),
            });
        }
        actions
    }
}
