//! Several links of one machine in one network, and links that are not init's, or not yet, or not any longer.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use rtnetlink::{LinkBridge, LinkUnspec, LinkVxlan};
use tinyboot::status::Status;

use super::SERVER;
use super::world::{Outcome, World, index_of, isolated, lease};
use crate::settings::{FixedLink, Network};

/// The path of a test of this file, as the test runner wants it.
macro_rules! path {
    ($name:literal) => {
        concat!("net::tests::several::", $name)
    };
}

/// Joins two pairs to one network, `cli1` and `cli2`, with `srv0` as the bridge between their other ends.
async fn one_network(world: &World) -> Outcome {
    for number in 1..=2 {
        world.pair(number, None).await?;
    }
    world.on_server(|handle| async move {
        let links = handle.link();
        links
            .add(LinkBridge::new("srv0").up().build())
            .execute()
            .await?;
        let bridge = index_of(&handle, "srv0").await?;
        for port in ["srv1", "srv2"] {
            let port = LinkUnspec::new_with_name(port).controller(bridge).build();
            handle.link().change(port).execute().await?;
        }
        let address = handle.address().add(bridge, IpAddr::V4(SERVER), 24);
        Ok(address.execute().await?)
    })
}

fn both_bound(status: &Status) -> bool {
    let links = ["cli1", "cli2"];
    links.iter().all(|link| lease(status, link).is_some())
}

#[test]
fn two_links_in_one_network_keep_their_leases() -> Outcome {
    isolated(
        path!("two_links_in_one_network_keep_their_leases"),
        &["udhcpd"],
        async |mut world| {
            one_network(&world).await?;
            world.udhcpd(4, 10, "option router 10.9.0.1")?;
            let _task = world.run(Network::default());
            let status = world.until("two leases", both_bound).await?;
            let addresses = |status: &Status| {
                ["cli1", "cli2"].map(|link| lease(status, link).map(|it| it.address))
            };
            // Two seconds each, while other machines are looked for during eight. An address that is given back counts from 0.
            let status_then = world
                .until("six renewals each", |status| {
                    let renewals = |link| lease(status, link).map_or(0, |it| it.renewals);
                    renewals("cli1").min(renewals("cli2")) >= 6
                })
                .await?;
            assert_eq!(addresses(&status_then), addresses(&status));
            Ok(())
        },
    )
}

#[test]
fn a_link_that_becomes_a_port_gives_its_address_up_and_gets_one_when_it_is_none() -> Outcome {
    isolated(
        path!("a_link_that_becomes_a_port_gives_its_address_up_and_gets_one_when_it_is_none"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.pair(1, None).await?;
            world.udhcpd(60, 10, "option router 10.9.0.1")?;
            let fixed = FixedLink {
                addresses: vec!["10.8.0.5/24".into()],
                gateways: vec!["10.8.0.1".into()],
                ..FixedLink::default()
            };
            let _task = world.run(Network {
                links: [("cli1".to_owned(), fixed)].into(),
                ..Network::default()
            });
            world.bound().await?;
            world
                .until("both configured", |status| {
                    status.links.iter().filter(|link| link.configured).count() == 2
                })
                .await?;
            let links = world.handle.link();
            links
                .add(LinkBridge::new("br0").up().build())
                .execute()
                .await?;
            let bridge = index_of(&world.handle, "br0").await?;
            for port in ["cli0", "cli1"] {
                let port = LinkUnspec::new_with_name(port).controller(bridge).build();
                world.handle.link().change(port).execute().await?;
            }
            // The bridge is the program's.
            world
                .until("no link", |status| status.links.is_empty())
                .await?;
            for link in ["cli0", "cli1"] {
                assert_eq!(world.addresses(link).await?, []);
            }
            assert!(world.routes().await?.is_empty());
            let free = LinkUnspec::new_with_name("cli0").controller(0).build();
            world.handle.link().change(free).execute().await?;
            world.bound().await?;
            Ok(())
        },
    )
}

#[test]
fn links_that_the_program_makes_are_its_own_unless_named() -> Outcome {
    isolated(
        path!("links_that_the_program_makes_are_its_own_unless_named"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            let fixed = FixedLink {
                addresses: vec!["10.8.0.5/24".into()],
                ..FixedLink::default()
            };
            let _task = world.run(Network {
                links: [("named0".to_owned(), fixed)].into(),
                ..Network::default()
            });
            world
                .until("the link with hardware", |status| !status.links.is_empty())
                .await?;
            // Once the second one is seen, so is the first one.
            for name in ["other0", "named0"] {
                let link = LinkBridge::new(name).build();
                world.handle.link().add(link).execute().await?;
            }
            let status = world
                .until("the link that is named", |status| {
                    status
                        .links
                        .iter()
                        .any(|link| link.name == "named0" && link.state == "STATIC")
                })
                .await?;
            let names: Vec<_> = status.links.iter().map(|link| link.name.as_str()).collect();
            assert_eq!(names, ["cli0", "named0"]);
            Ok(())
        },
    )
}

#[test]
fn a_link_without_a_cable_is_not_waited_for() -> Outcome {
    isolated(
        path!("a_link_without_a_cable_is_not_waited_for"),
        &[],
        async |world| {
            world.pair(0, None).await?;
            world.cable(0, false)?;
            let _task = world.run(Network::default());
            let settled = |status: &Status| {
                status
                    .links
                    .iter()
                    .any(|link| link.settled && !link.carrier)
            };
            tokio::select! {
                biased;
                seen = world.until("a settled link", settled) => drop(seen?),
                // What negotiation takes is no matter of a link without hardware. Both times are this event loop's.
                () = tokio::time::sleep(Duration::from_secs(4)) => return Err("it is waited for".into()),
            }
            Ok(())
        },
    )
}

#[test]
fn a_link_that_cannot_be_brought_up_is_tried_again() -> Outcome {
    isolated(
        path!("a_link_that_cannot_be_brought_up_is_tried_again"),
        &[],
        async |world| {
            // The kernel brings a VXLAN up only while nobody else has its port.
            let port = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 4789))?;
            let link = LinkVxlan::new("cli0", 5).port(4789).build();
            world.handle.link().add(link).execute().await?;
            let _task = world.run_by("ip=:::::cli0:off", Network::default());
            world
                .until("a link that is waited for no longer", |status| {
                    status
                        .links
                        .iter()
                        .any(|link| link.settled && !link.carrier)
                })
                .await?;
            drop(port);
            world
                .until("a carrier", |status| {
                    status.links.iter().any(|link| link.carrier)
                })
                .await?;
            Ok(())
        },
    )
}

#[test]
fn the_network_comes_although_the_kernel_could_not_be_asked_at_first() -> Outcome {
    isolated(
        path!("the_network_comes_although_the_kernel_could_not_be_asked_at_first"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.udhcpd(60, 10, "")?;
            let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
            setrlimit(Resource::RLIMIT_NOFILE, 3, hard)?;
            let task = world.run(Network::default());
            // It tries, and would have ended by now.
            tokio::task::yield_now().await;
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            for _ in 0..10 {
                ticks.tick().await;
                assert!(!task.is_finished(), "the network has ended");
            }
            setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
            world.bound().await?;
            Ok(())
        },
    )
}

#[test]
fn another_hardware_address_is_another_client() -> Outcome {
    isolated(
        path!("another_hardware_address_is_another_client"),
        &["dnsmasq"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.dnsmasq(&["--dhcp-host=02:00:00:00:00:77,10.9.0.99"])?;
            let _task = world.run(Network::default());
            let first = world.bound().await?.address;
            let changed = LinkUnspec::new_with_name("cli0").address(vec![2, 0, 0, 0, 0, 0x77]);
            world
                .handle
                .link()
                .change(changed.build())
                .execute()
                .await?;
            let wanted = Ipv4Addr::new(10, 9, 0, 99);
            world
                .until("the address for the other client", |status| {
                    lease(status, "cli0").is_some_and(|it| it.address == wanted)
                })
                .await?;
            let addresses = world.addresses("cli0").await?;
            assert!(addresses.iter().all(|it| it.0 != first), "{addresses:?}");
            Ok(())
        },
    )
}

#[test]
fn after_a_pause_a_conflict_is_seen_although_no_server_answers() -> Outcome {
    isolated(
        path!("after_a_pause_a_conflict_is_seen_although_no_server_answers"),
        &["udhcpd"],
        async |mut world| {
            world.pair(0, Some(SERVER)).await?;
            world.udhcpd(3600, 10, "")?;
            let _task = world.run(Network::default());
            let taken = world.bound().await?.address;
            world.kill();
            // What was found out before the pause counts no longer: as if the eight seconds were over.
            world.pauses.send_replace(());
            world.occupy(0, taken)?;
            world
                .until("the conflict", |status| lease(status, "cli0").is_none())
                .await?;
            Ok(())
        },
    )
}
