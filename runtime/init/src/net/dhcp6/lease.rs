//! What a Reply gives: an address with its times, and the settings beside it.

use std::net::Ipv6Addr;
use std::time::Duration;

use super::super::names;
use super::message::{Identity, Options, Reply, can_be_given, option, status};

/// The number that stands for a time without an end (RFC 8415, section 7.7).
const INFINITE: u32 = u32::MAX;

/// Resolvers, domains to search, and time servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Resolvers (option 23).
    pub dns: Vec<Ipv6Addr>,
    /// Domains to search (option 24), of those that are safe in a file.
    pub search: Vec<String>,
    /// Time servers (options 56 and 31).
    pub ntp: Vec<Ipv6Addr>,
}

impl Settings {
    /// Those of a reply.
    pub fn of(options: Options<'_>) -> Self {
        let mut search: Vec<String> = Vec::new();
        for name in options
            .all(option::SEARCH)
            .filter_map(names::list)
            .flatten()
        {
            if search.len() < names::MOST && !search.contains(&name) {
                search.push(name);
            }
        }
        Self {
            dns: options.addresses(option::DNS),
            search,
            ntp: options.time_servers(),
        }
    }
}

/// An address and its times, which count from the moment when it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The address.
    pub address: Ipv6Addr,
    /// For how long new connections may use it; `None` is for ever.
    pub preferred: Option<Duration>,
    /// When it ends; `None` is never.
    pub valid: Option<Duration>,
    /// T1, when its server is asked for more; `None` is never.
    pub renew: Option<Duration>,
    /// T2, when any server is asked; `None` is never.
    pub rebind: Option<Duration>,
}

/// What a link was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// The address, unless only the settings were asked for.
    pub held: Option<Held>,
    /// The rest.
    pub settings: Settings,
}

/// What a reply says of the client's identity association.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Association {
    /// It has a valid address: the one that the client wants where that is among them, else the first.
    Address(Held),
    /// The wanted address is not to be used any longer: a lifetime of zero.
    Withdrawn,
    /// A status other than success.
    Status(u16),
    /// Nothing, or nothing that makes sense, which a client is to take for nothing.
    Nothing,
}

impl Association {
    /// Reads what a reply says of the association, for a client that has or wants the address `wanted`.
    pub fn of(reply: &Reply<'_>, identity: &Identity, wanted: Option<Ipv6Addr>) -> Self {
        let of_message = reply.options.status();
        if of_message != status::SUCCESS {
            return Self::Status(of_message);
        }
        let found = reply.options.all(option::IA_NA).find_map(|value| {
            let (iaid, rest) = number(value)?;
            (iaid == identity.iaid).then_some(rest)
        });
        found
            .and_then(|rest| Self::read(rest, wanted))
            .unwrap_or(Self::Nothing)
    }

    /// What follows the number of the association.
    fn read(rest: &[u8], wanted: Option<Ipv6Addr>) -> Option<Self> {
        let (t1, rest) = number(rest)?;
        let (t2, rest) = number(rest)?;
        let options = Options::read(rest)?;
        let said = options.status();
        if said != status::SUCCESS {
            return Some(Self::Status(said));
        }
        // Section 21.4.
        if t1 > t2 && t2 > 0 {
            return None;
        }
        let mut other = Self::Nothing;
        for value in options.all(option::IA_ADDRESS) {
            let Some((address, preferred, valid)) = address(value) else {
                continue;
            };
            let ours = wanted == Some(address);
            if valid == 0 {
                if ours {
                    return Some(Self::Withdrawn);
                }
                continue;
            }
            let found = Self::Address(Held::new(address, (preferred, valid), (t1, t2)));
            if ours {
                return Some(found);
            }
            if other == Self::Nothing {
                other = found;
            }
        }
        Some(other)
    }
}

/// The address of an option, and its preferred and valid lifetimes. `None` for what a link cannot be given and for
/// lifetimes that contradict each other (section 21.6).
fn address(value: &[u8]) -> Option<(Ipv6Addr, u32, u32)> {
    let (octets, rest) = value.split_first_chunk::<16>()?;
    let (preferred, rest) = number(rest)?;
    let (valid, rest) = number(rest)?;
    let status = Options::read(rest)?.status();
    let address = Ipv6Addr::from(*octets);
    let possible = can_be_given(&address) && preferred <= valid && status == status::SUCCESS;
    possible.then_some((address, preferred, valid))
}

impl Held {
    /// T1 and T2 are half and four fifths of the preferred lifetime, or of the valid one if the address is not preferred at
    /// all, where the server leaves them to the client, and both of them where what it says is not in order (sections 14.2
    /// and 21.4).
    fn new(address: Ipv6Addr, (preferred, valid): (u32, u32), (t1, t2): (u32, u32)) -> Self {
        let base = if preferred == 0 { valid } else { preferred };
        let base = time(base);
        let usual = (base.map(|it| it / 2), base.map(|it| it * 4 / 5));
        let renew = if t1 == 0 { usual.0 } else { time(t1) };
        let rebind = if t2 == 0 { usual.1 } else { time(t2) };
        let order = [renew, rebind, time(valid)].map(|it| it.unwrap_or(Duration::MAX));
        let (renew, rebind) = if order.is_sorted() {
            (renew, rebind)
        } else {
            usual
        };
        Self {
            address,
            preferred: time(preferred),
            valid: time(valid),
            renew,
            rebind,
        }
    }
}

fn time(seconds: u32) -> Option<Duration> {
    (seconds != INFINITE).then(|| Duration::from_secs(seconds.into()))
}

/// The first four bytes as a number, and what follows them.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (octets, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*octets), rest))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
