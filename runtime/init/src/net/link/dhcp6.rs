//! DHCPv6 on the link: the client joined to its socket, to the kernel and to the log. It runs where a router wants it, beside
//! everything else, and nothing waits for it: what makes the link configured is an address and a router, whoever gave them.

use std::future::pending;
use std::io;
use std::net::Ipv6Addr;

use tinyboot::status;

use super::super::dhcp6::socket::Servers;
use super::super::dhcp6::{self, Action, Cause, Client, Held, Lease};
use super::super::ipv6::Shown;
use super::Link;

/// The client and what belongs to it.
pub struct Dhcp6 {
    pub client: Client,
    pub socket: Option<Servers>,
    renewals: u64,
}

impl Dhcp6 {
    /// A client that was not asked for yet.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            socket: None,
            renewals: 0,
        }
    }

    /// The address.
    pub fn address(&self) -> Option<Ipv6Addr> {
        self.client.held().map(|held| held.address)
    }

    /// What the status says of it.
    pub fn shown(&self) -> Option<status::Lease6> {
        let Lease { held, settings } = self.client.lease()?;
        let valid = held.and_then(|held| held.valid);
        Some(status::Lease6 {
            address: held.map(|held| held.address),
            dns: settings.dns.clone(),
            search: settings.search.clone(),
            ntp: settings.ntp.clone(),
            seconds: valid.and_then(|valid| u32::try_from(valid.as_secs()).ok()),
            renewals: self.renewals,
        })
    }
}

impl Link {
    /// The kernel says something new of the link's carrier or of its IPv6.
    pub(super) async fn ask_dhcp6(&mut self, old: &Shown) {
        let new = &self.info.ipv6;
        let address = self.dhcp6.address();
        let duplicate = |shown: &Shown| {
            let mut all = shown.duplicates.iter();
            all.find(|it| Some(it.0) == address).copied()
        };
        if let Some((address, _)) = duplicate(new).filter(|it| Some(*it) != duplicate(old)) {
            let name = &self.info.name;
            log::error!(
                "net: {name}: {address} is in use by another machine too; it is given back"
            );
            let actions = self.dhcp6.client.conflict(self.now());
            self.perform_dhcp6(actions).await;
        }
        let wanted = self.info.carrier && self.fixed.is_none();
        self.tell_dhcp6(wanted && self.info.ipv6.local.is_some())
            .await;
    }

    /// Tells the client whether the link can be used, and what its routers want.
    pub(super) async fn tell_dhcp6(&mut self, up: bool) {
        let actions = self.dhcp6.client.link(self.now(), up, self.info.ipv6.ask);
        self.perform_dhcp6(actions).await;
    }

    /// A datagram came, or the socket has failed, which is opened again for the next message.
    pub(super) async fn hear_dhcp6(&mut self, received: io::Result<Vec<u8>>) {
        match received {
            Ok(payload) => {
                let actions = self.dhcp6.client.receive(self.now(), &payload);
                self.perform_dhcp6(actions).await;
            }
            Err(error) => {
                log::debug!("net: {}: {error}", self.info.name);
                self.dhcp6.socket = None;
            }
        }
    }

    pub(super) async fn tick_dhcp6(&mut self) {
        let actions = self.dhcp6.client.tick(self.now());
        self.perform_dhcp6(actions).await;
    }

    async fn perform_dhcp6(&mut self, actions: Vec<Action>) {
        let name = self.info.name.clone();
        for action in actions {
            match action {
                Action::Send(message) => self.send_dhcp6(&message),
                Action::Acquired(lease) => {
                    self.dhcp6.renewals = 0;
                    self.apply_dhcp6(&lease).await;
                    log::info!("net: {name}: DHCPv6 {}", describe(&lease));
                }
                Action::Renewed(lease) => {
                    self.dhcp6.renewals += 1;
                    self.apply_dhcp6(&lease).await;
                    log::info!("net: {name}: DHCPv6 renewed {}", describe(&lease));
                }
                Action::Confirmed(lease) => {
                    self.apply_dhcp6(&lease).await;
                    log::info!("net: {name}: DHCPv6 confirmed {}", describe(&lease));
                }
                Action::Informed(lease) => {
                    self.give();
                    log::info!(
                        "net: {name}: DHCPv6 without an address{}",
                        resolvers(&lease)
                    );
                }
                Action::Forgotten => {
                    self.give();
                    log::info!("net: {name}: DHCPv6 settings of before are dropped");
                }
                Action::Removed { address, cause } => {
                    let error = dhcp6::remove(&self.handle, self.info.index, address).await;
                    self.complain(error.as_slice());
                    self.give();
                    let cause = match cause {
                        Cause::Expired => "expired",
                        Cause::Refused => "was refused",
                        Cause::Replaced => "was replaced",
                        Cause::Conflict => "was declined",
                    };
                    log::warn!("net: {name}: DHCPv6 lease of {address} {cause}; address removed");
                }
            }
        }
        let client = &self.dhcp6.client;
        if !client.listens() {
            self.dhcp6
                .socket
                .take_if(|socket| !client.wanted() || socket.rest().is_err());
        }
    }

    async fn apply_dhcp6(&mut self, lease: &Lease) {
        if let Some(Held {
            address,
            preferred,
            valid,
            ..
        }) = lease.held
        {
            let now = self.now();
            let preferred = self.dhcp6.client.left(now, preferred);
            let valid = self.dhcp6.client.left(now, valid);
            let error = dhcp6::set(&self.handle, self.info.index, address, preferred, valid).await;
            self.complain(error.as_slice());
        }
        self.give();
    }

    /// A message that is not sent is one that is lost: the client sends it again.
    fn send_dhcp6(&mut self, message: &[u8]) {
        let Some(source) = self.info.ipv6.local else {
            return;
        };
        let socket = self.dhcp6.socket.take();
        let socket = match socket.filter(|socket| socket.source == source) {
            Some(socket) => Ok(socket),
            None => Servers::open(self.info.index, source),
        };
        let sent = socket.and_then(|socket| self.dhcp6.socket.insert(socket).send(message));
        if let Err(error) = sent {
            let name = &self.info.name;
            log::warn!("net: {name}: no DHCPv6 message could be sent: {error}");
        }
    }
}

/// Waits for the next datagram, for ever while none is awaited. Nothing is lost if the future is dropped.
pub async fn receive(socket: Option<&Servers>) -> io::Result<Vec<u8>> {
    match socket {
        Some(socket) => socket.receive().await,
        None => pending().await,
    }
}

/// `2001:db8::15 for 120 s, DNS 2001:db8::53`
fn describe(lease: &Lease) -> String {
    let Some(held) = lease.held else {
        return String::new();
    };
    let time = match held.valid {
        Some(valid) => format!("{} s", valid.as_secs()),
        None => "ever".into(),
    };
    format!("{} for {time}{}", held.address, resolvers(lease))
}

/// `, DNS 2001:db8::53`, if there is one.
fn resolvers(lease: &Lease) -> String {
    let dns = lease.settings.dns.iter();
    let dns: Vec<String> = dns.map(Ipv6Addr::to_string).collect();
    if dns.is_empty() {
        return String::new();
    }
    format!(", DNS {}", dns.join(" "))
}
