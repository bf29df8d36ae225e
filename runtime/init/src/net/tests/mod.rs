//! The whole network task against real servers, each test in namespaces of its own.

pub mod world;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tinyboot::status::Source;

use crate::settings::{FixedLink, Network};
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
            world.stop.cancel();
            task.await??;
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
            world.persistent.send_replace(Some(persistent.clone()));
            world.dnsmasq(&[])?;
            let task = world.run(Network::default());
            let first = world.bound().await?;
            world.stop.cancel();
            task.await??;
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
fn an_address_that_another_machine_has_is_given_back() -> Outcome {
    isolated(
        path!("an_address_that_another_machine_has_is_given_back"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            let persistent = world.directory.path().join("persistent");
            world.persistent.send_replace(Some(persistent.clone()));
            world.udhcpd(60, 10, "option router 10.9.0.1")?;
            let _task = world.run(Network::default());
            let taken = world.bound().await?.address;
            world.occupy(0, taken)?;
            world
                .until("the conflict", |status| lease(status, "cli0").is_none())
                .await?;
            assert_eq!(world.addresses("cli0").await?, []);
            let mac = world
                .board
                .snapshot()
                .links
                .first()
                .map(|link| link.mac.clone());
            let saved = super::saved::path(&persistent, &mac.ok_or("no link")?);
            let found = std::time::Instant::now();
            assert_ne!(world.bound().await?.address, taken);
            assert!(found.elapsed().as_secs() >= 9, "{:?}", found.elapsed());
            let text = std::fs::read_to_string(saved).unwrap_or_default();
            assert!(!text.contains(&taken.to_string()), "{text}");
            Ok(())
        },
    )
}

#[test]
fn conflicts_are_not_looked_for_unless_wanted() -> Outcome {
    isolated(
        path!("conflicts_are_not_looked_for_unless_wanted"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.udhcpd(60, 10, "")?;
            let _task = world.run(Network {
                detect_conflicts: false,
                ..Network::default()
            });
            let taken = world.bound().await?.address;
            world.occupy(0, taken)?;
            for count in 1..=2 {
                world.cable(0, false)?;
                world
                    .until("no carrier", |status| {
                        status.links.iter().all(|link| !link.carrier)
                    })
                    .await?;
                world.cable(0, true)?;
                let status = world
                    .until("a verified lease", |status| {
                        lease(status, "cli0").is_none_or(|it| it.renewals == count)
                    })
                    .await?;
                assert_eq!(lease(&status, "cli0").map(|it| it.address), Some(taken));
            }
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

#[test]
fn router_advertisements_configure_a_link() -> Outcome {
    isolated(
        path!("router_advertisements_configure_a_link"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, None).await?;
            world.occupy(0, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))?;
            let _task = world.run(Network {
                deadline: 30,
                ..Network::default()
            });
            world.router(&[
                "--dhcp-range=2001:db8::,ra-only,64,300",
                "--dhcp-option=option6:dns-server,[2001:db8::53]",
                "--dhcp-option=option6:domain-search,a.example,b.example",
            ])?;
            let status = world
                .until("IPv6 and its resolver", |status| {
                    !status.dns.servers.is_empty()
                        && status.links.iter().all(|link| link.configured)
                })
                .await?;
            let link = status.links.first().ok_or("no link")?;
            assert!(link.settled && link.lease.is_none() && link.state == "SELECTING");
            let source = Source::RouterAdvertisement;
            assert!(
                link.addresses
                    .iter()
                    .all(|it| it.prefix == 64 && it.source == source)
            );
            assert_eq!(link.addresses.len(), 1, "{:?}", link.addresses);
            assert!(
                matches!(link.routes.as_slice(), [route] if route.prefix == 0
                && matches!(route.gateway, Some(IpAddr::V6(router)) if router.is_unicast_link_local())
                && route.source == source)
            );
            assert!(
                status
                    .dns
                    .servers
                    .iter()
                    .all(|it| it.link == "cli0" && it.source == source)
            );
            assert_eq!(
                world.resolvers(),
                "search a.example b.example\nnameserver 2001:db8::53\n"
            );
            let index = world::index_of(&world.handle, "cli0").await?;
            world.handle.link().del(index).execute().await?;
            world
                .until("no link", |status| {
                    status.links.is_empty() && status.dns.servers.is_empty()
                })
                .await?;
            assert_eq!(world.resolvers(), "");
            Ok(())
        },
    )
}

#[test]
fn fixed_addresses_need_no_server() -> Outcome {
    isolated(
        path!("fixed_addresses_need_no_server"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            world.pair(1, None).await?;
            let texts = |list: &[&str]| list.iter().map(|it| (*it).to_owned()).collect::<Vec<_>>();
            let fixed = FixedLink {
                addresses: texts(&["10.9.0.5/24", "2001:db8::5/64"]),
                gateways: texts(&["10.9.0.1", "2001:db8::1"]),
                dns: texts(&["2001:db8::53", "not an address"]),
                search: texts(&["a.example"]),
            };
            let _task = world.run_by(
                "quiet ip=192.0.2.5::192.0.3.1:255.255.255.0:box:cli1:off:192.0.2.53",
                Network {
                    links: [("cli0".to_owned(), fixed)].into(),
                    ..Network::default()
                },
            );
            let status = world
                .until("two configured links", |status| {
                    status.links.len() == 2
                        && status
                            .links
                            .iter()
                            .all(|link| link.configured && link.settled)
                })
                .await?;
            assert_eq!(
                world.addresses("cli0").await?,
                [(Ipv4Addr::new(10, 9, 0, 5), 24, u32::MAX)]
            );
            assert_eq!(
                world.addresses("cli1").await?,
                [(Ipv4Addr::new(192, 0, 2, 5), 24, u32::MAX)]
            );
            assert_eq!(
                world.routes().await?,
                [
                    "0.0.0.0/0 via 10.9.0.1 metric 1000+index",
                    "0.0.0.0/0 via 192.0.3.1 metric 1000+index",
                    "10.9.0.0/24 via link metric 1000+index",
                    "192.0.2.0/24 via link metric 1000+index",
                    "192.0.3.1/32 via link metric 1000+index",
                ]
            );
            assert_eq!(
                world.resolvers(),
                "search a.example\nnameserver 2001:db8::53\nnameserver 192.0.2.53\n"
            );
            assert_eq!(nix::unistd::gethostname()?, "box");
            let seen: Vec<_> = status
                .links
                .iter()
                .map(|link| {
                    let sources: Vec<Source> = link.addresses.iter().map(|it| it.source).collect();
                    (link.state.as_str(), sources, link.routes.len())
                })
                .collect();
            assert_eq!(
                seen,
                [
                    ("STATIC", vec![Source::Settings, Source::Settings], 2),
                    ("STATIC", vec![Source::CommandLine], 2)
                ]
            );
            // A carrier that goes and comes takes nothing away.
            world.cable(0, false)?;
            world
                .until("no carrier", |status| {
                    status.links.iter().any(|link| !link.configured)
                })
                .await?;
            world.cable(0, true)?;
            world
                .until("the carrier", |status| {
                    status.links.iter().all(|link| link.configured)
                })
                .await?;
            assert_eq!(world.routes().await?.len(), 5);
            Ok(())
        },
    )
}

#[test]
fn a_link_without_dhcp_is_waited_for_by_nobody() -> Outcome {
    isolated(
        path!("a_link_without_dhcp_is_waited_for_by_nobody"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let settings = Network {
                deadline: 3600,
                ..Network::default()
            };
            let _task = world.run_by("ip=off", settings);
            let status = world
                .until("a settled link", |status| {
                    status.links.iter().any(|link| link.settled && link.carrier)
                })
                .await?;
            assert!(
                status
                    .links
                    .iter()
                    .all(|link| !link.configured && link.addresses.is_empty())
            );
            Ok(())
        },
    )
}

#[test]
#[ignore = "needs systemd-networkd in /lib/systemd, and to be root"]
fn systemd_networkd_is_a_server_too() -> Outcome {
    isolated(
        path!("systemd_networkd_is_a_server_too"),
        &["unshare"],
        async |mut world| {
            world.pair(0, None).await?;
            let options = "EmitDNS=yes\\nDNS=10.9.0.53\\nEmitNTP=yes\\nNTP=10.9.0.54\\nEmitRouter=yes\\nRapidCommit=yes";
            world.networkd(8, options)?;
            let _task = world.run(Network::default());
            let lease = world.bound().await?;
            assert_eq!(
                (lease.server, lease.router, lease.prefix),
                (SERVER, Some(SERVER), 24)
            );
            assert_eq!(lease.dns, [IpAddr::from([10, 9, 0, 53])]);
            assert_eq!(lease.ntp, [Ipv4Addr::new(10, 9, 0, 54)]);
            assert_eq!(lease.seconds, Some(8));
            world
                .until("a renewal", |status| {
                    world::lease(status, "cli0").is_some_and(|it| it.renewals >= 1)
                })
                .await?;
            world.cable(0, false)?;
            world
                .until("no carrier", |status| {
                    status.links.iter().all(|link| !link.carrier)
                })
                .await?;
            world.cable(0, true)?;
            world
                .until("a lease again", |status| {
                    status
                        .links
                        .iter()
                        .any(|link| link.carrier && link.state == "BOUND")
                })
                .await?;
            Ok(())
        },
    )
}
