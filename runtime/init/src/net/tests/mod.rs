//! The whole network task against real servers, each test in namespaces of its own.

mod addresses;
mod dhcp6;
mod flood;
mod many;
mod routers;
mod servers;
mod several;
pub mod world;

use std::net::Ipv4Addr;

use tinyboot::status::Source;

use crate::settings::Network;
use world::{Outcome, isolated, lease};

const SERVER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);

/// The path of a test of this file, as the test runner wants it.
macro_rules! path {
    ($name:literal) => {
        concat!("net::tests::", $name)
    };
}

#[test]
fn a_lease_becomes_address_routes_and_resolvers() -> Outcome {
    isolated(
        path!("a_lease_becomes_address_routes_and_resolvers"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&[
                "--dhcp-option=option:router,10.9.0.1",
                "--dhcp-option=option:dns-server,10.9.0.1,10.9.0.2",
                "--dhcp-option=option:mtu,1400",
                "--dhcp-option=option:ntp-server,10.9.0.3",
                "--domain=example.test",
                "--dhcp-option=option:domain-search,a.example.test,b.example.test",
            ])?;
            let task = world.run(Network::default());
            let lease = world.bound().await?;
            assert_eq!(
                (lease.server, lease.router, lease.prefix),
                (SERVER, Some(SERVER), 24)
            );
            assert_eq!((lease.mtu, lease.seconds), (Some(1400), Some(120)));
            assert_eq!(lease.ntp, [Ipv4Addr::new(10, 9, 0, 3)]);
            let addresses = world.addresses("cli0").await?;
            assert_eq!(addresses.len(), 1, "{addresses:?}");
            assert!(
                addresses
                    .iter()
                    .all(|it| it.0 == lease.address && it.1 == 24 && (60..=121).contains(&it.2)),
                "{addresses:?}"
            );
            assert_eq!(
                world.routes().await?,
                [
                    "0.0.0.0/0 via 10.9.0.1 metric 1000+index",
                    "10.9.0.0/24 via link metric 1000+index"
                ]
            );
            assert_eq!(world.mtu("cli0")?, 1400);
            assert_eq!(
                world.resolvers(),
                "search a.example.test b.example.test\nnameserver 10.9.0.1\nnameserver 10.9.0.2\n"
            );
            assert_eq!(nix::unistd::gethostname()?, "image");
            let leases = std::fs::read_to_string(world.directory.path().join("dnsmasq.leases"))?;
            assert!(
                leases.contains(" image "),
                "the server knows the name: {leases}"
            );
            world.stop.cancel();
            task.await?;
            assert_eq!(
                world.addresses("cli0").await?.len(),
                1,
                "addresses stay when the task is stopped"
            );
            Ok(())
        },
    )
}

#[test]
fn a_short_lease_is_renewed_and_expires_when_the_server_is_gone() -> Outcome {
    isolated(
        path!("a_short_lease_is_renewed_and_expires_when_the_server_is_gone"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.udhcpd(4, 10, "option router 10.9.0.1")?;
            let _task = world.run(Network::default());
            world.bound().await?;
            world
                .until("two renewals", |status| {
                    lease(status, "cli0").is_some_and(|it| it.renewals >= 2)
                })
                .await?;
            // The kernel counts anew from each renewal: of the first lease nothing is left but a second.
            let addresses = world.addresses("cli0").await?;
            assert_eq!(addresses.len(), 1);
            assert!(
                addresses.iter().all(|it| (3..=5).contains(&it.2)),
                "{addresses:?}"
            );
            assert_eq!(world.routes().await?.len(), 2);
            world.kill();
            world
                .until("the lease's end", |status| lease(status, "cli0").is_none())
                .await?;
            assert_eq!(world.addresses("cli0").await?, []);
            assert!(world.routes().await?.is_empty());
            assert_eq!(world.resolvers(), "");
            world.udhcpd(4, 10, "")?;
            world.bound().await?;
            assert_eq!(world.addresses("cli0").await?.len(), 1);
            assert_eq!(
                world.routes().await?.len(),
                1,
                "a lease without a router has the subnet's route alone"
            );
            Ok(())
        },
    )
}

#[test]
fn a_program_that_has_the_port_does_not_keep_a_lease_from_being_renewed() -> Outcome {
    isolated(
        path!("a_program_that_has_the_port_does_not_keep_a_lease_from_being_renewed"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            let _taken = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
            world.udhcpd(8, 10, "")?;
            let _task = world.run(Network::default());
            world.bound().await?;
            let status = world
                .until("a renewal, or the time after T2", |status| {
                    let renewed = lease(status, "cli0").is_some_and(|it| it.renewals > 0);
                    let late = |it: &tinyboot::status::Link| it.state == "REBINDING";
                    renewed || status.links.iter().any(late)
                })
                .await?;
            assert_eq!(lease(&status, "cli0").map(|it| it.renewals), Some(1));
            Ok(())
        },
    )
}

#[test]
fn routers_outside_of_the_subnet_and_classless_routes() -> Outcome {
    isolated(
        path!("routers_outside_of_the_subnet_and_classless_routes"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&[
                "--dhcp-option=121,0.0.0.0/0,192.0.2.1,172.16.0.0/12,10.9.0.7",
                "--dhcp-option=option:router,10.9.0.9",
            ])?;
            let _task = world.run(Network::default());
            let lease = world.bound().await?;
            assert_eq!(lease.router, Some(Ipv4Addr::new(192, 0, 2, 1)));
            assert_eq!(
                world.routes().await?,
                [
                    "0.0.0.0/0 via 192.0.2.1 metric 1000+index",
                    "10.9.0.0/24 via link metric 1000+index",
                    "172.16.0.0/12 via 10.9.0.7 metric 1000+index",
                    "192.0.2.1/32 via link metric 1000+index",
                ]
            );
            Ok(())
        },
    )
}

#[test]
fn a_rapid_commit_is_taken() -> Outcome {
    isolated(
        path!("a_rapid_commit_is_taken"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&[
                "--dhcp-rapid-commit",
                "--dhcp-option=option:domain-name,example.test",
                "--dhcp-option=12,given",
            ])?;
            let _task = world.run(Network::default());
            assert_eq!(world.bound().await?.host_name.as_deref(), Some("given"));
            assert_eq!(nix::unistd::gethostname()?, "given");
            let hosts = std::fs::read_to_string(world.directory.path().join("hosts"))?;
            let names: Vec<&str> = hosts
                .lines()
                .filter_map(|it| it.split('#').next())
                .collect();
            assert_eq!(names, ["127.0.1.1 given "], "{hosts}");
            Ok(())
        },
    )
}

#[test]
fn a_server_that_repeats_itself_gives_a_lease_too() -> Outcome {
    isolated(
        path!("a_server_that_repeats_itself_gives_a_lease_too"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&[
                "--dhcp-option-force=51,3600",
                "--dhcp-option-force=1,255.255.255.0",
                "--dhcp-option-force=15,a.example b.example",
            ])?;
            let _task = world.run(Network::default());
            assert_eq!(world.bound().await?.prefix, 24);
            let resolvers = world.resolvers();
            let search = resolvers.lines().next();
            assert_eq!(search, Some("search a.example b.example"));
            Ok(())
        },
    )
}

#[test]
fn two_links_with_default_routes_live_together() -> Outcome {
    isolated(
        path!("two_links_with_default_routes_live_together"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.pair(1, Some(Ipv4Addr::new(10, 9, 1, 1))).await?;
            world.dnsmasq(&[
                "--dhcp-option=option:dns-server,10.9.0.1",
                "--interface=srv1",
                "--dhcp-range=10.9.1.10,10.9.1.20,255.255.255.0,120",
            ])?;
            let _task = world.run(Network {
                host_name: Some("mine".into()),
                ..Network::default()
            });
            world
                .until("two leases", |status| {
                    ["cli0", "cli1"]
                        .iter()
                        .all(|link| lease(status, link).is_some())
                })
                .await?;
            let routes = world.routes().await?;
            assert_eq!(
                routes
                    .iter()
                    .filter(|route| route.starts_with("0.0.0.0/0"))
                    .count(),
                2,
                "{routes:?}"
            );
            let status = world.board.snapshot();
            let metrics: Vec<_> = status
                .links
                .iter()
                .flat_map(|link| {
                    link.routes
                        .iter()
                        .map(|route| (route.prefix, route.metric, route.source))
                })
                .collect();
            let index = world::index_of(&world.handle, "cli0").await?;
            let other = world::index_of(&world.handle, "cli1").await?;
            assert_eq!(
                metrics,
                [
                    (0, 1000 + index, Source::Dhcp),
                    (0, 1000 + other, Source::Dhcp)
                ]
            );
            let servers: Vec<_> = status
                .dns
                .servers
                .iter()
                .map(|it| (it.link.as_str(), it.source))
                .collect();
            assert_eq!(servers, [("cli0", Source::Dhcp)]);
            // dnsmasq names itself as the second link's resolver.
            assert_eq!(world.resolvers(), "nameserver 10.9.0.1\n");
            assert_eq!(nix::unistd::gethostname()?, "mine");
            Ok(())
        },
    )
}

#[test]
fn a_link_without_a_server_settles_at_the_deadline_and_disturbs_nobody() -> Outcome {
    isolated(
        path!("a_link_without_a_server_settles_at_the_deadline_and_disturbs_nobody"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.pair(1, None).await?;
            world.pair(2, None).await?;
            world.cable(2, false)?;
            world.dnsmasq(&[])?;
            let _task = world.run(Network {
                deadline: 2,
                ..Network::default()
            });
            world.bound().await?;
            let status = world
                .until("all settled", |status| {
                    status.links.len() == 3 && status.links.iter().all(|it| it.settled)
                })
                .await?;
            let seen: Vec<_> = status
                .links
                .iter()
                .map(|it| {
                    (
                        it.name.as_str(),
                        it.carrier,
                        it.state.as_str(),
                        it.lease.is_some(),
                    )
                })
                .collect();
            assert_eq!(
                seen,
                [
                    ("cli0", true, "BOUND", true),
                    ("cli1", true, "SELECTING", false),
                    ("cli2", false, "INIT", false)
                ]
            );
            Ok(())
        },
    )
}

#[test]
fn the_carriers_return_verifies_the_lease() -> Outcome {
    isolated(
        path!("the_carriers_return_verifies_the_lease"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&[])?;
            let _task = world.run(Network::default());
            let before = world.bound().await?;
            assert_eq!(before.renewals, 0);
            world.cable(0, false)?;
            let status = world
                .until("no carrier", |status| {
                    status.links.iter().all(|link| !link.carrier)
                })
                .await?;
            assert_eq!(
                lease(&status, "cli0").as_ref(),
                Some(&before),
                "the lease outlives its carrier"
            );
            world.cable(0, true)?;
            let status = world
                .until("a verified lease", |status| {
                    lease(status, "cli0").is_some_and(|it| it.renewals == 1)
                })
                .await?;
            assert_eq!(
                lease(&status, "cli0").map(|it| it.address),
                Some(before.address)
            );
            assert_eq!(world.addresses("cli0").await?.len(), 1);
            Ok(())
        },
    )
}

#[test]
fn a_short_loss_of_the_carrier_and_a_pause_verify_the_lease() -> Outcome {
    isolated(
        path!("a_short_loss_of_the_carrier_and_a_pause_verify_the_lease"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&[])?;
            let _task = world.run(Network::default());
            world.bound().await?;
            let verified = async |world: &world::World, times: u64| {
                let what = format!("a lease verified {times} times");
                let seen = |status: &tinyboot::status::Status| {
                    lease(status, "cli0").is_some_and(|it| it.renewals >= times)
                };
                let status = world.until(&what, seen).await?;
                Ok::<_, String>(lease(&status, "cli0").map_or(0, |it| it.renewals))
            };
            // The second time within a second: the kernel makes one message of both.
            let mut renewals = 0;
            for _ in 0..2 {
                world.cable(0, false)?;
                world.cable(0, true)?;
                renewals = verified(&world, renewals + 1).await?;
            }
            world.pauses.send_replace(());
            verified(&world, renewals + 1).await?;
            assert_eq!(world.addresses("cli0").await?.len(), 1);
            Ok(())
        },
    )
}

#[test]
fn a_link_without_a_carrier_leaves_the_way_to_others() -> Outcome {
    isolated(
        path!("a_link_without_a_carrier_leaves_the_way_to_others"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.pair(1, Some(Ipv4Addr::new(10, 9, 1, 1))).await?;
            world.dnsmasq(&[
                "--interface=srv1",
                "--dhcp-range=10.9.1.10,10.9.1.20,255.255.255.0,120",
            ])?;
            let _task = world.run(Network::default());
            let status = world
                .until("two leases", |status| {
                    let links = ["cli0", "cli1"];
                    links.iter().all(|link| lease(status, link).is_some())
                })
                .await?;
            let address = |link| lease(&status, link).map(|it| it.address.into());
            // The source address tells the link; nothing is sent.
            let way_out = || {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
                socket.connect("192.0.2.1:9")?;
                socket.local_addr().map(|it| Some(it.ip()))
            };
            assert_eq!(way_out()?, address("cli0"));
            world.cable(0, false)?;
            let gone = |status: &tinyboot::status::Status| {
                let mut links = status.links.iter();
                links.any(|it| it.name == "cli0" && !it.carrier)
            };
            world.until("no carrier", gone).await?;
            assert_eq!(way_out()?, address("cli1"));
            world.cable(0, true)?;
            world.until("a carrier", |status| !gone(status)).await?;
            assert_eq!(way_out()?, address("cli0"));
            Ok(())
        },
    )
}

#[test]
fn links_come_and_go() -> Outcome {
    isolated(
        path!("links_come_and_go"),
        &["dnsmasq"],
        async |mut world| {
            let _task = world.run(Network::default());
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&["--dhcp-option=option:dns-server,10.9.0.1"])?;
            world.bound().await?;
            assert_eq!(world.resolvers(), "nameserver 10.9.0.1\n");
            let index = world::index_of(&world.handle, "cli0").await?;
            world.handle.link().del(index).execute().await?;
            world
                .until("no link", |status| status.links.is_empty())
                .await?;
            assert_eq!(world.resolvers(), "");
            Ok(())
        },
    )
}

#[test]
fn a_saved_lease_is_asked_for_first() -> Outcome {
    isolated(
        path!("a_saved_lease_is_asked_for_first"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            let persistent = world.directory.path().join("persistent");
            std::fs::create_dir(&persistent)?;
            world.persistent.send_replace(Some(persistent.clone()));
            world.dnsmasq(&[])?;
            let task = world.run(Network::default());
            let first = world.bound().await?;
            world.stop.cancel();
            task.await?;
            let mac = world
                .board
                .snapshot()
                .links
                .first()
                .map(|link| link.mac.clone())
                .ok_or("no link")?;
            let path = super::saved::path(&persistent, &mac);
            // The file is written beside the event loop.
            let text = tokio::time::timeout(std::time::Duration::from_secs(10), async {
                loop {
                    match std::fs::read_to_string(&path) {
                        Ok(text) => break text,
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
            })
            .await?;
            let other = Ipv4Addr::new(
                10,
                9,
                0,
                if first.address.octets()[3] == 20 {
                    19
                } else {
                    20
                },
            );
            std::fs::write(
                &path,
                text.replace(&first.address.to_string(), &other.to_string()),
            )?;
            world.kill();
            world.forget().await?;
            world.dnsmasq(&[])?;
            let _task = world.run(Network::default());
            assert_eq!(
                world.bound().await?.address,
                other,
                "the saved address, not the one that the server would pick"
            );
            Ok(())
        },
    )
}

#[test]
fn a_lease_for_ever_is_an_address_for_ever() -> Outcome {
    isolated(
        path!("a_lease_for_ever_is_an_address_for_ever"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&["--dhcp-host=*:*:*:*:*:*,infinite"])?;
            let _task = world.run(Network::default());
            assert_eq!(world.bound().await?.seconds, None);
            let addresses = world.addresses("cli0").await?;
            assert!(addresses.iter().all(|it| it.2 == u32::MAX), "{addresses:?}");
            Ok(())
        },
    )
}
