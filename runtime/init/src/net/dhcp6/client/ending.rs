//! How an address ends before its client does: expiry, refusal, and another machine that has it.

use super::*;

/// How long to wait after a Decline at least. RFC 8415 says nothing of it; this is what DHCPv4 wants, so that a server that
/// gives the same address again is not asked without end.
const AFTER_DECLINE: Duration = Duration::from_secs(10);

impl Client {
    /// The offer that was taken came to nothing: its server was silent, gave no address that can be used, or refused.
    fn blame(&mut self) {
        let offer = self.offer.take();
        self.failed = offer.map(|offer| offer.server).or(self.failed.take());
    }

    /// The address is over, or was refused, and with it the settings of its lease: it is begun anew. A server that refuses
    /// what it offered or gave, time after time, is asked less and less often.
    pub(super) fn end(&mut self, now: Duration, cause: Cause) -> Vec<Action> {
        // One that lasted is no part of a row of refusals.
        if self.held().is_some() && self.since + self.backoff.longest <= now {
            self.refusals = 0;
        }
        let held = self.held().copied();
        let mut actions = Vec::new();
        if let Some(Held { address, .. }) = held {
            self.lease = None;
            actions.push(Action::Removed { address, cause });
        }
        if cause == Cause::Refused {
            self.blame();
            self.refusals = self.refusals.saturating_add(1);
        }
        if self.up && self.refusals > 1 {
            let random = (self.random)();
            self.offer = None;
            self.state = State::Idle;
            self.next = Some(now + self.backoff.delay(self.refusals - 1, random));
        } else {
            actions.extend(self.restart(now));
        }
        actions
    }

    /// A server that offered, or that forgot the address and was asked to give it again, does not answer.
    pub(super) fn give_up(&mut self, now: Duration) -> Vec<Action> {
        self.blame();
        if self.held().is_none() {
            return self.restart(now);
        }
        self.begin(now, State::Rebinding)
    }

    /// Another machine has the address, as the kernel's duplicate address detection says (section 18.2.10.1): it goes, its
    /// server is told, and after a while that grows with each conflict in a row the search begins again. Without effect if
    /// there is no address.
    pub fn conflict(&mut self, now: Duration) -> Vec<Action> {
        let Some(Held { address, .. }) = self.held().copied() else {
            return Vec::new();
        };
        self.lease = None;
        self.next = None;
        self.state = State::Idle;
        self.conflicts = self.conflicts.saturating_add(1);
        let cause = Cause::Conflict;
        let mut actions = vec![Action::Removed { address, cause }];
        if self.up {
            self.offer = Some(Offer {
                address,
                server: std::mem::take(&mut self.server),
                preference: 0,
            });
            actions.extend(self.begin(now, State::Declining));
        }
        actions
    }

    /// Waits before it begins anew.
    pub(super) fn pause(&mut self, now: Duration) -> Vec<Action> {
        self.offer = None;
        self.state = State::Idle;
        let random = (self.random)();
        let pause = self.backoff.delay(self.conflicts, random);
        self.next = Some(now + pause.max(AFTER_DECLINE));
        Vec::new()
    }
}
