//! DHCPv6, against dnsmasq and against a server that says what a test wants it to.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dhcproto::v6::{DhcpOption, Message, OptionCode};
use dhcproto::{Decodable as _, Decoder};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::address::AddressAttribute;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tinyboot::status::{Lease6, Source, Status};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::interval;

use super::super::dhcp6::testing::{Identity, fake, kind, option, status as code};
use super::world::{Outcome, World, index_of, isolated};
use crate::settings::Network;

/// The path of a test of this file, as the test runner wants it.
macro_rules! path {
    ($name:literal) => {
        concat!("net::tests::dhcp6::", $name)
    };
}

const ROUTER: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const DNS: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
const NTP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x123);

fn lease(status: &Status) -> Option<&Lease6> {
    status.links.first()?.lease6.as_ref()
}

fn address(status: &Status) -> Option<Ipv6Addr> {
    lease(status)?.address
}

fn patient() -> Network {
    Network {
        deadline: 30,
        ..Network::default()
    }
}

impl World {
    /// Global IPv6 addresses of `cli0` with their prefixes, preferred and valid lifetimes.
    async fn addresses6(
        &self,
    ) -> Result<Vec<(Ipv6Addr, u8, u32, u32)>, Box<dyn std::error::Error>> {
        let index = index_of(&self.handle, "cli0").await?;
        let request = self.handle.address().get().set_link_index_filter(index);
        let listed: Vec<_> = request.execute().try_collect().await?;
        let mut found = Vec::new();
        for message in listed {
            let mut entry = (Ipv6Addr::UNSPECIFIED, message.header.prefix_len, 0, 0);
            for attribute in &message.attributes {
                match attribute {
                    AddressAttribute::Address(IpAddr::V6(it)) => entry.0 = *it,
                    AddressAttribute::CacheInfo(it) => {
                        (entry.2, entry.3) = (it.ifa_preferred, it.ifa_valid);
                    }
                    _ => {}
                }
            }
            if !entry.0.is_unspecified() && !entry.0.is_unicast_link_local() {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// Waits until the kernel has no global IPv6 address on `cli0`: it tells init and this test in any order.
    async fn without_address(&self) -> Outcome {
        let mut ticks = interval(Duration::from_millis(50));
        for _ in 0..200 {
            if self.addresses6().await?.is_empty() {
                return Ok(());
            }
            ticks.tick().await;
        }
        Err(format!("it still has {:?}", self.addresses6().await?).into())
    }

    /// Starts a router on `srv0` whose advertisements have these flags, and a DHCPv6 server that answers as `answer` says. The
    /// router and the server end when they are aborted.
    async fn answering(
        &self,
        flags: u8,
        mut answer: impl FnMut(&Message) -> Vec<Vec<u8>> + Send + 'static,
    ) -> Result<Answering, Box<dyn std::error::Error>> {
        let (router, server, index) = self.in_servers_namespace(|| {
            let index = nix::net::if_::if_nametoindex("srv0")?;
            let router = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
            router.set_nonblocking(true)?;
            router.set_multicast_hops_v6(255)?;
            router.set_multicast_if_v6(index)?;
            let server = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 547))?;
            server.set_nonblocking(true)?;
            let servers = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
            server.join_multicast_v6(&servers, index)?;
            Ok((router, server, index))
        })?;
        let server = UdpSocket::from_std(server)?;
        let all = SocketAddrV6::new(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1), 0, 0, index);
        let router = tokio::spawn(async move {
            let mut ticks = interval(Duration::from_millis(300));
            loop {
                ticks.tick().await;
                let packet = [134, 0, 0, 0, 64, flags, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
                // While its own address is still being checked it cannot.
                let _ = router.send_to(&packet, &all.into());
            }
        });
        let server = tokio::spawn(async move {
            let mut bytes = [0; 2048];
            while let Ok((length, from)) = server.recv_from(&mut bytes).await {
                let Some(Ok(message)) = bytes
                    .get(..length)
                    .map(|bytes| Message::decode(&mut Decoder::new(bytes)))
                else {
                    continue;
                };
                // In one go, past the event loop: the client cannot read in between.
                for reply in answer(&message) {
                    let _ = SockRef::from(&server).send_to(&reply, &from.into());
                }
            }
        });
        Ok(Answering(vec![router, server]))
    }

    async fn identity(&self) -> Result<Identity, Box<dyn std::error::Error>> {
        let found = self.handle.link().get().match_name("cli0").execute();
        let link = found.try_collect::<Vec<_>>().await?;
        let attributes = link.iter().flat_map(|link| &link.attributes);
        let mut mac = attributes.filter_map(|attribute| match attribute {
            rtnetlink::packet_route::link::LinkAttribute::Address(it) => {
                <[u8; 6]>::try_from(it.as_slice()).ok()
            }
            _ => None,
        });
        Ok(Identity::of(mac.next().ok_or("no hardware address")?))
    }
}

/// The tasks of a router and a server, which end with the test at the latest.
struct Answering(Vec<JoinHandle<()>>);

impl Answering {
    /// Ends both; their sockets are closed then.
    async fn end(self) {
        for task in self.0 {
            task.abort();
            let _ = task.await;
        }
    }
}

/// A server that gives this address for so many seconds to whoever asks.
fn give(
    identity: &Identity,
    message: &Message,
    address: Ipv6Addr,
    (t1, t2, valid): (u32, u32, u32),
) -> Vec<u8> {
    let answer = match u8::from(message.msg_type()) {
        kind::SOLICIT => kind::ADVERTISE,
        _ => kind::REPLY,
    };
    let parts = [fake::address(address, valid, valid)];
    let association = fake::association(identity.iaid, t1, t2, &parts);
    let options = [association, fake::option(option::DNS, &DNS.octets())];
    fake::reply(answer, message.xid_num(), identity, b"server", &options)
}

#[test]
fn a_managed_network_gives_an_address_and_settings() -> Outcome {
    isolated(
        path!("a_managed_network_gives_an_address_and_settings"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, None).await?;
            world.occupy(0, ROUTER)?;
            let task = world.run(patient());
            world.router(&[
                "--dhcp-range=2001:db8::100,2001:db8::1ff,64,300",
                "--dhcp-option=option6:dns-server,[2001:db8::53]",
                "--dhcp-option=option6:domain-search,a.example,b.example",
                "--dhcp-option=option6:ntp-server,[2001:db8::123]",
            ])?;
            let status = world
                .until("an address that can be used", |status| {
                    status.links.iter().any(|link| link.configured) && address(status).is_some()
                })
                .await?;
            let link = status.links.first().ok_or("no link")?;
            let given = link.lease6.as_ref().ok_or("no lease")?;
            let address = given.address.ok_or("no address")?;
            assert!(address.segments()[7] & 0xff00 == 0x100, "{address}");
            assert_eq!(
                (given.dns.as_slice(), given.ntp.as_slice(), given.seconds),
                ([DNS].as_slice(), [NTP].as_slice(), Some(300))
            );
            assert_eq!(given.search, ["a.example", "b.example"]);
            assert!(link.settled && link.lease.is_none());
            // The port stays taken between two exchanges: no program of the machine can keep the address from being renewed.
            let open = bound(546)?;
            assert!(
                matches!(open.as_slice(), [it] if it.is_unicast_link_local()),
                "{open:?}"
            );
            let taken = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 546));
            let taken = taken.map_err(|error| error.kind());
            assert_eq!(taken.err(), Some(io::ErrorKind::AddrInUse));
            let shown: Vec<_> = link
                .addresses
                .iter()
                .map(|it| (it.address, it.prefix, it.source))
                .collect();
            assert_eq!(shown, [(address.into(), 128, Source::Dhcp6)]);
            let sources = status.dns.servers.iter().map(|it| (it.address, it.source));
            assert_eq!(sources.collect::<Vec<_>>(), [(DNS.into(), Source::Dhcp6)]);
            assert_eq!(
                world.resolvers(),
                "search a.example b.example\nnameserver 2001:db8::53\n"
            );
            let kernel = world.addresses6().await?;
            assert!(
                matches!(kernel.as_slice(), [(it, 128, preferred, valid)]
                    if *it == address && (200..=301).contains(preferred) && preferred <= valid && *valid <= 301),
                "{kernel:?}"
            );
            world.stop.cancel();
            task.await?;
            assert_eq!(world.addresses6().await?.len(), 1, "it stays at the end");
            Ok(())
        },
    )
}

#[test]
fn a_flood_of_other_answers_does_not_keep_a_machine_from_its_address() -> Outcome {
    isolated(
        path!("a_flood_of_other_answers_does_not_keep_a_machine_from_its_address"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let identity = world.identity().await?;
            let given = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
            let _server = world
                .answering(0x80, move |message| {
                    let ours = give(&identity, message, given, (300, 400, 600));
                    // Of another transaction, and as long: a shorter one finds room where a longer one has none.
                    let mut other = ours.clone();
                    if let Some(byte) = other.get_mut(3) {
                        *byte ^= 1;
                    }
                    let flood = std::iter::repeat_n(other, 1000);
                    flood.chain([ours]).collect()
                })
                .await?;
            let _task = world.run(patient());
            let status = world
                .until("an address", |status| address(status).is_some())
                .await?;
            assert_eq!(address(&status), Some(given));
            Ok(())
        },
    )
}

#[test]
fn a_program_that_has_the_port_delays_an_address_until_it_lets_go() -> Outcome {
    isolated(
        path!("a_program_that_has_the_port_delays_an_address_until_it_lets_go"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let identity = world.identity().await?;
            let given = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
            let taken = std::net::UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 546))?;
            let _server = world
                .answering(0x80, move |message| {
                    vec![give(&identity, message, given, (300, 400, 600))]
                })
                .await?;
            let _task = world.run(patient());
            let default_router = |status: &Status| {
                let mut links = status.links.iter();
                links.any(|link| !link.routes.is_empty())
            };
            world.until("a router", default_router).await?;
            drop(taken);
            world
                .until("an address", |status| address(status).is_some())
                .await?;
            Ok(())
        },
    )
}

#[test]
fn a_stateless_network_gives_settings_beside_the_router_s_addresses() -> Outcome {
    isolated(
        path!("a_stateless_network_gives_settings_beside_the_router_s_addresses"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, None).await?;
            world.occupy(0, ROUTER)?;
            let _task = world.run(patient());
            world.router(&[
                "--dhcp-range=2001:db8::,ra-stateless,64,300",
                "--dhcp-option=option6:dns-server,[2001:db8::53]",
                "--dhcp-option=option6:sntp-server,[2001:db8::123]",
            ])?;
            let status = world
                .until("settings", |status| {
                    status.links.iter().any(|link| link.configured) && lease(status).is_some()
                })
                .await?;
            let given = lease(&status).ok_or("no lease")?;
            assert_eq!(
                (given.address, given.dns.as_slice(), given.ntp.as_slice()),
                (None, [DNS].as_slice(), [NTP].as_slice())
            );
            let sources = status.links.iter().flat_map(|link| &link.addresses);
            let sources: Vec<_> = sources.map(|it| (it.prefix, it.source)).collect();
            assert_eq!(sources, [(64, Source::RouterAdvertisement)]);
            let sources = status.dns.servers.iter().map(|it| (it.address, it.source));
            assert_eq!(sources.collect::<Vec<_>>(), [(DNS.into(), Source::Dhcp6)]);
            Ok(())
        },
    )
}

#[test]
fn nobody_is_asked_where_no_router_wants_it() -> Outcome {
    isolated(
        path!("nobody_is_asked_where_no_router_wants_it"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let (heard, asked) = channel();
            let server = world
                .answering(0, move |message| {
                    let _ = heard.send(message.msg_type());
                    Vec::new()
                })
                .await?;
            let _task = world.run(patient());
            let default_router = |status: &Status| {
                let mut links = status.links.iter();
                links.any(|link| !link.routes.is_empty())
            };
            world.until("a router", default_router).await?;
            assert!(bound(546)?.is_empty(), "a port is open");
            assert!(asked.try_recv().is_err());
            server.end().await;
            // The flag comes, and now it is.
            let (heard, asked) = channel();
            let _server = world
                .answering(0x40, move |message| {
                    let _ = heard.send(u8::from(message.msg_type()));
                    Vec::new()
                })
                .await?;
            assert_eq!(first(asked).await?, kind::INFORMATION_REQUEST);
            let open = bound(546)?;
            assert!(
                matches!(open.as_slice(), [address] if address.is_unicast_link_local()),
                "{open:?}"
            );
            assert!(!world.board.snapshot().links.iter().any(|it| it.configured));
            Ok(())
        },
    )
}

#[test]
fn a_short_lease_is_renewed_and_expires_when_the_server_is_gone() -> Outcome {
    isolated(
        path!("a_short_lease_is_renewed_and_expires_when_the_server_is_gone"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let identity = world.identity().await?;
            let given = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
            let (heard, asked) = channel();
            let server = world
                .answering(0x80, move |message| {
                    let _ = heard.send(u8::from(message.msg_type()));
                    vec![give(&identity, message, given, (1, 3, 6))]
                })
                .await?;
            let _task = world.run(patient());
            world
                .until("two renewals of an address in use", |status| {
                    lease(status).is_some_and(|it| it.renewals >= 2)
                        && status.links.iter().any(|link| !link.addresses.is_empty())
                })
                .await?;
            // Each message is heard the first time.
            let asked: Vec<u8> = asked.try_iter().take(4).collect();
            let expected = [kind::SOLICIT, kind::REQUEST, kind::RENEW, kind::RENEW];
            assert_eq!(asked, expected);
            let kernel = world.addresses6().await?;
            assert!(
                matches!(kernel.as_slice(), [(it, 128, _, valid)] if *it == given && (3..=7).contains(valid)),
                "{kernel:?}"
            );
            assert_eq!(world.resolvers(), "nameserver 2001:db8::53\n");
            server.end().await;
            world
                .until("the lease's end", |status| lease(status).is_none())
                .await?;
            world.without_address().await?;
            assert_eq!(world.resolvers(), "");
            Ok(())
        },
    )
}

#[test]
fn an_address_that_another_machine_has_is_declined() -> Outcome {
    isolated(
        path!("an_address_that_another_machine_has_is_declined"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let identity = world.identity().await?;
            let taken = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x15);
            let free = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x16);
            world.occupy(0, taken)?;
            let (heard, declined) = channel();
            let mut declines = 0;
            let _server = world
                .answering(0x80, move |message| {
                    if u8::from(message.msg_type()) == kind::DECLINE {
                        declines += 1;
                        let _ = heard.send(association(message));
                        let options = [fake::status(code::SUCCESS)];
                        let xid = message.xid_num();
                        let reply = fake::reply(kind::REPLY, xid, &identity, b"server", &options);
                        return vec![reply];
                    }
                    let address = if declines > 0 { free } else { taken };
                    vec![give(&identity, message, address, (0, 0, 300))]
                })
                .await?;
            let _task = world.run(patient());
            assert_eq!(first(declined).await?, Some(taken));
            world
                .until("no lease", |status| lease(status).is_none())
                .await?;
            world.without_address().await?;
            let status = world
                .until("the other address in use", |status| {
                    status.links.iter().any(|link| link.configured)
                })
                .await?;
            assert_eq!(address(&status), Some(free));
            Ok(())
        },
    )
}

#[test]
fn the_carriers_return_confirms_the_address() -> Outcome {
    isolated(
        path!("the_carriers_return_confirms_the_address"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, None).await?;
            world.occupy(0, ROUTER)?;
            let _task = world.run(patient());
            let elsewhere = "--dhcp-range=2001:db8:0:1::100,2001:db8:0:1::1ff,64,300";
            world.router(&["--dhcp-range=2001:db8::100,2001:db8::1ff,64,300"])?;
            let status = world
                .until("an address", |status| address(status).is_some())
                .await?;
            let before = address(&status);
            world.cable(0, false)?;
            let carrier = |wanted| {
                move |status: &Status| status.links.iter().all(|link| link.carrier == wanted)
            };
            let status = world.until("no carrier", carrier(false)).await?;
            assert_eq!(address(&status), before, "it outlives the carrier");
            // The other end is another network when the carrier returns.
            world.kill();
            world.cable(0, true)?;
            world.occupy(0, Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1))?;
            world.router(&[elsewhere])?;
            let moved = |status: &Status| address(status).is_some() && address(status) != before;
            let status = world
                .until("an address of the other network", moved)
                .await?;
            let kernel = world.addresses6().await?;
            let kernel: Vec<_> = kernel.iter().map(|it| Some(it.0)).collect();
            assert_eq!(kernel, [address(&status)], "the old one is gone");
            Ok(())
        },
    )
}

#[test]
fn settings_alone_do_not_follow_the_cable() -> Outcome {
    isolated(
        path!("settings_alone_do_not_follow_the_cable"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let identity = world.identity().await?;
            let server = world
                .answering(0x40, move |message| {
                    let options = [fake::option(option::DNS, &DNS.octets())];
                    let xid = message.xid_num();
                    vec![fake::reply(
                        kind::REPLY,
                        xid,
                        &identity,
                        b"server",
                        &options,
                    )]
                })
                .await?;
            let _task = world.run(patient());
            world
                .until("settings", |status| lease(status).is_some())
                .await?;
            assert_eq!(world.resolvers(), "nameserver 2001:db8::53\n");
            world.cable(0, false)?;
            let carrier = |wanted| {
                move |status: &Status| status.links.iter().all(|link| link.carrier == wanted)
            };
            let status = world.until("no carrier", carrier(false)).await?;
            assert!(lease(&status).is_some(), "they outlive the carrier");
            // The other end is a network without DHCPv6 when the carrier returns.
            server.end().await;
            world.cable(0, true)?;
            let status = world
                .until("none of its settings", |status| lease(status).is_none())
                .await?;
            assert_eq!(status.dns.servers, []);
            assert_eq!(world.resolvers(), "");
            Ok(())
        },
    )
}

/// The address in a message's identity association.
fn association(message: &Message) -> Option<Ipv6Addr> {
    match message.opts().get(OptionCode::IANA)? {
        DhcpOption::IANA(association) => match association.opts.get(OptionCode::IAAddr)? {
            DhcpOption::IAAddr(address) => Some(address.addr),
            _ => None,
        },
        _ => None,
    }
}

/// The first thing that a server heard, within half a minute.
async fn first<T: Send + 'static>(heard: Receiver<T>) -> Result<T, Box<dyn std::error::Error>> {
    let wait = move || heard.recv_timeout(Duration::from_secs(30));
    Ok(tokio::task::spawn_blocking(wait).await??)
}

/// The addresses at which this namespace has a UDP port of IPv6 open.
fn bound(port: u16) -> io::Result<Vec<Ipv6Addr>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/udp6")?;
    let open = table.lines().filter_map(|line| {
        let (address, number) = line.split_whitespace().nth(1)?.split_once(':')?;
        if u16::from_str_radix(number, 16) != Ok(port) {
            return None;
        }
        let words = (0..4).filter_map(|word| {
            let text = address.get(word * 8..word * 8 + 8)?;
            u32::from_str_radix(text, 16).ok().map(u32::to_ne_bytes)
        });
        let octets: Vec<u8> = words.flatten().collect();
        <[u8; 16]>::try_from(octets).ok().map(Ipv6Addr::from)
    });
    Ok(open.collect())
}
