//! Routers that advertise more than anybody needs, and a machine that is a router itself.

use std::net::{Ipv6Addr, SocketAddrV6};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::route::{RouteAttribute, RouteHeader};
use rtnetlink::{LinkUnspec, RouteMessageBuilder};
use socket2::{Domain, Protocol, Socket, Type};

use super::SERVER;
use super::world::{Outcome, World, index_of, isolated, lease};
use crate::settings::Network;

/// The path of a test of this file, as the test runner wants it.
macro_rules! path {
    ($name:literal) => {
        concat!("net::tests::routers::", $name)
    };
}

/// As many prefixes have room in one packet.
const PREFIXES: u16 = 44;

/// A router advertisement with a lifetime of half an hour and networks that are there for ever, of which `first` is the first.
fn advertisement(first: u16, count: u16) -> Vec<u8> {
    let mut packet = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    for number in first..first + count {
        // On the link, and for addresses.
        packet.extend_from_slice(&[3, 4, 64, 0xc0]);
        packet.extend_from_slice(&[[0xff; 4], [0xff; 4], [0; 4]].concat());
        let network = Ipv6Addr::new(0x2001, 0xdb8, number, 0, 0, 0, 0, 0);
        packet.extend_from_slice(&network.octets());
    }
    packet
}

/// Sends packets from `srv0` to all on its link.
fn send(world: &World, packets: &[Vec<u8>]) -> std::io::Result<()> {
    world.in_servers_namespace(|| {
        let index = nix::net::if_::if_nametoindex("srv0")?;
        let router = Socket::new(Domain::IPV6, Type::RAW, Some(Protocol::ICMPV6))?;
        router.set_multicast_hops_v6(255)?;
        router.set_multicast_if_v6(index)?;
        let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
        let all = SocketAddrV6::new(all, 0, 0, index).into();
        for packet in packets {
            router.send_to(packet, &all)?;
        }
        Ok(())
    })
}

impl World {
    /// How many routes of IPv6 `cli0` has, and whether one of them is the default route.
    async fn routes6(&self) -> Result<(usize, bool), Box<dyn std::error::Error>> {
        let link = index_of(&self.handle, "cli0").await?;
        let all = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let listed: Vec<_> = self.handle.route().get(all).execute().try_collect().await?;
        let routes = listed.iter().filter(|it| {
            it.header.table == RouteHeader::RT_TABLE_MAIN
                && it.attributes.contains(&RouteAttribute::Oif(link))
        });
        let default = routes
            .clone()
            .any(|it| it.header.destination_prefix_length == 0);
        Ok((routes.count(), default))
    }

    /// Sends packets again and again until the routes are as wanted.
    async fn send_until(
        &self,
        packets: &[Vec<u8>],
        wanted: impl Fn(usize, bool) -> bool,
    ) -> Outcome {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        for _ in 0..400 {
            // While the router's own address is being checked it cannot.
            let _ = send(self, packets);
            ticks.tick().await;
            let (count, default) = self.routes6().await?;
            if wanted(count, default) {
                return Ok(());
            }
        }
        Err(format!("the routes are {:?}", self.routes6().await?).into())
    }
}

#[test]
fn a_flood_of_prefixes_leaves_the_lease_and_the_first_routes() -> Outcome {
    isolated(
        path!("a_flood_of_prefixes_leaves_the_lease_and_the_first_routes"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.udhcpd(600, 10, "option router 10.9.0.1")?;
            let _task = world.run(Network::default());
            let before = world.bound().await?;
            let first = [advertisement(0, 1)];
            world.send_until(&first, |_, default| default).await?;
            let flood: Vec<Vec<u8>> = (1..=40)
                .map(|number| advertisement(number * PREFIXES, PREFIXES))
                .collect();
            send(&world, &flood)?;
            // The network of the link's own address is there besides.
            world.send_until(&[], |count, _| count > 60).await?;
            world.send_until(&[], |count, _| count <= 66).await?;
            let (_, default) = world.routes6().await?;
            assert!(default, "the first router is kept");
            let now = lease(&world.board.snapshot(), "cli0");
            assert_eq!(now.map(|it| it.address), Some(before.address));
            // It goes on meanwhile, and after the pause there is room for as much as before.
            world.send_until(&flood, |count, _| count <= 66).await?;
            let switch = "/proc/sys/net/ipv6/conf/cli0/accept_ra";
            let mut ticks = tokio::time::interval(Duration::from_millis(100));
            for _ in 0..300 {
                ticks.tick().await;
                if std::fs::read_to_string(switch)?.trim() == "2" {
                    return Ok(());
                }
            }
            Err("advertisements are not taken any more".into())
        },
    )
}

#[test]
fn a_program_that_forwards_packets_keeps_the_default_route() -> Outcome {
    isolated(
        path!("a_program_that_forwards_packets_keeps_the_default_route"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let _task = world.run(Network::default());
            let packets = [advertisement(0, 1)];
            world.send_until(&packets, |_, default| default).await?;
            std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")?;
            assert!(world.routes6().await?.1, "it stays");
            let index = index_of(&world.handle, "cli0").await?;
            world
                .handle
                .link()
                .change(LinkUnspec::new_with_index(index).down().build())
                .execute()
                .await?;
            world.send_until(&[], |_, default| !default).await?;
            world
                .handle
                .link()
                .change(LinkUnspec::new_with_index(index).up().build())
                .execute()
                .await?;
            world.send_until(&packets, |_, default| default).await?;
            Ok(())
        },
    )
}
