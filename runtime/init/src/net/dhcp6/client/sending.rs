//! What is sent, and when again (RFC 8415, section 15).

use super::super::message::{Request, encode, kind};
use super::*;

/// REQ_MAX_RT, CNF_MAX_RT, CNF_MAX_RD, REN_TIMEOUT and REB_TIMEOUT, REN_MAX_RT and REB_MAX_RT, DEC_MAX_RC (section 7.6). The
/// first interval of the other exchanges is a second in the RFC, and [`Backoff::first`] here.
const LONGEST_REQUEST: Duration = Duration::from_secs(30);
const LONGEST_CONFIRM: Duration = Duration::from_secs(4);
pub const LONGEST_CONFIRMING: Duration = Duration::from_secs(10);
const FIRST_RENEW: Duration = Duration::from_secs(10);
const LONGEST_RENEW: Duration = Duration::from_secs(600);
pub const TRIES_DECLINING: u32 = 4;
/// What a server may say to SOL_MAX_RT and INF_MAX_RT (sections 21.24 and 21.25).
const LIMITS: std::ops::RangeInclusive<u32> = 60..=86_400;

impl Client {
    /// Takes note of how often servers want to be asked at most.
    pub(super) fn learn_limits(&mut self, reply: &Reply<'_>) {
        let said = |code| {
            let seconds = reply.options.number(code);
            let seconds = seconds.filter(|it| LIMITS.contains(it))?;
            Some(Duration::from_secs(seconds.into()))
        };
        self.longest_solicit = said(option::SOL_MAX_RT).or(self.longest_solicit);
        self.longest_inform = said(option::INF_MAX_RT).or(self.longest_inform);
    }

    /// What the routers want, from the beginning.
    pub(super) fn restart(&mut self, now: Duration) -> Vec<Action> {
        self.offer = None;
        self.next = None;
        match self.ask {
            _ if !self.up => self.state = State::Idle,
            Ask::Nothing => self.state = State::Idle,
            Ask::Settings => return self.begin(now, State::Informing),
            Ask::Address => return self.begin(now, State::Soliciting),
        }
        Vec::new()
    }

    /// The first message of an exchange, with an id of its own.
    pub(super) fn begin(&mut self, now: Duration, state: State) -> Vec<Action> {
        self.state = state;
        self.xid = (self.random)() & 0x00ff_ffff;
        self.began = now;
        self.tries = 0;
        self.interval = Duration::ZERO;
        self.transmit(now)
    }

    /// Sends the exchange's message and sets the time of the next one.
    pub(super) fn transmit(&mut self, now: Duration) -> Vec<Action> {
        let Backoff { first, longest } = self.backoff;
        let (kind, first, longest) = match self.state {
            State::Soliciting => {
                let longest = self.longest_solicit.unwrap_or(longest);
                (kind::SOLICIT, first, longest)
            }
            State::Informing => {
                let longest = self.longest_inform.unwrap_or(longest);
                (kind::INFORMATION_REQUEST, first, longest)
            }
            State::Requesting => (kind::REQUEST, first, longest.min(LONGEST_REQUEST)),
            State::Confirming => (kind::CONFIRM, first, LONGEST_CONFIRM),
            State::Declining => (kind::DECLINE, first, longest),
            State::Renewing => (kind::RENEW, FIRST_RENEW, LONGEST_RENEW),
            State::Rebinding => (kind::REBIND, FIRST_RENEW, LONGEST_RENEW),
            State::Idle | State::Bound | State::Informed => return Vec::new(),
        };
        self.tries = self.tries.saturating_add(1);
        self.sent = now;
        let random = (self.random)();
        self.interval = interval(self.interval, first, longest, random);
        let mut next = now + self.interval;
        if self.state == State::Renewing {
            let rebind = self.held().and_then(|held| held.rebind);
            next = rebind.map_or(next, |rebind| next.min(self.since + rebind));
        }
        if self.state == State::Confirming {
            next = next.min(self.began + LONGEST_CONFIRMING);
        }
        self.next = Some(next);

        let held = self.held().map(|held| held.address);
        let offer = self.offer.as_ref();
        let (association, server) = match self.state {
            State::Soliciting => (Some(None), None),
            State::Requesting | State::Declining => (
                Some(offer.map(|offer| offer.address)),
                offer.map(|offer| offer.server.as_slice()),
            ),
            State::Renewing => (Some(held), Some(self.server.as_slice())),
            State::Informing => (None, None),
            _ => (Some(held), None),
        };
        let elapsed = now.saturating_sub(self.began).as_millis() / 10;
        vec![Action::Send(encode(
            &self.identity,
            &Request {
                kind,
                xid: self.xid,
                elapsed: u16::try_from(elapsed).unwrap_or(u16::MAX),
                association,
                server,
                // Not again: some servers are deaf to it.
                rapid: self.state == State::Soliciting && self.tries == 1,
            },
        ))]
    }
}

/// How long to wait for an answer: `first`, then twice as long each time, up to `longest`; up to a tenth less or more, as
/// `random` says, so that machines that were switched on together do not stay in step.
fn interval(before: Duration, first: Duration, longest: Duration, random: u32) -> Duration {
    let base = if before.is_zero() {
        first
    } else {
        before.saturating_mul(2)
    };
    let share = f64::from(random) / f64::from(u32::MAX);
    base.min(longest).mul_f64(0.9 + 0.2 * share)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn intervals_double_up_to_the_longest() {
        let (first, longest) = (Duration::from_secs(1), Duration::from_secs(30));
        let mut before = Duration::ZERO;
        let seen: Vec<u64> = (0..7)
            .map(|_| {
                before = interval(before, first, longest, u32::MAX / 2);
                before.as_secs_f64().round() as u64
            })
            .collect();
        assert_eq!(seen, [1, 2, 4, 8, 16, 30, 30]);
    }

    proptest! {
        #[test]
        fn an_interval_is_within_a_tenth(before in 0_u32..10_000, random: u32) {
            let (first, longest) = (Duration::from_secs(1), Duration::from_secs(64));
            let found = interval(Duration::from_millis(before.into()), first, longest, random);
            prop_assert!(found <= longest.mul_f64(1.1));
            let base = if before == 0 { 1.0 } else { f64::from(before) * 0.002 };
            prop_assert!((base * 0.899..=base * 1.101).contains(&found.as_secs_f64()));
        }
    }
}
