//! Addresses that come without DHCP, and those that another machine has too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tinyboot::status::Source;

use super::SERVER;
use super::world::{self, Outcome, isolated, lease};
use crate::settings::{FixedLink, Network};

/// The path of a test of this file, as the test runner wants it.
macro_rules! path {
    ($name:literal) => {
        concat!("net::tests::addresses::", $name)
    };
}

#[test]
fn an_address_that_another_machine_has_is_given_back() -> Outcome {
    isolated(
        path!("an_address_that_another_machine_has_is_given_back"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            let persistent = world.directory.path().join("persistent");
            std::fs::create_dir(&persistent)?;
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
            let saved = super::super::saved::path(&persistent, &mac.ok_or("no link")?);
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
