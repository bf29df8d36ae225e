//! The whole network task against real servers, each test in namespaces of its own.

mod world;

use std::net::Ipv4Addr;

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
    isolated(path!("a_lease_becomes_address_routes_and_resolvers"), &["dnsmasq"], async |mut world| {
        world.pair(0, Some(SERVER)).await?;
        world.dnsmasq(&[
            "--dhcp-option=option:router,10.9.0.1",
            "--dhcp-option=option:dns-server,10.9.0.1,10.9.0.2",
            "--dhcp-option=option:mtu,1400",
            "--dhcp-option=option:ntp-server,10.9.0.3",
            "--domain=example.test",
        ])?;
        let task = world.run(Network::default());
        let lease = world.bound().await?;
        assert_eq!((lease.server, lease.router, lease.prefix), (SERVER, Some(SERVER), 24));
        assert_eq!((lease.mtu, lease.seconds), (Some(1400), Some(120)));
        assert_eq!(lease.ntp, [Ipv4Addr::new(10, 9, 0, 3)]);
        let addresses = world.addresses("cli0").await?;
        assert_eq!(addresses.len(), 1, "{addresses:?}");
        assert!(
            addresses.iter().all(|it| it.0 == lease.address && it.1 == 24 && (60..=121).contains(&it.2)),
            "{addresses:?}"
        );
        assert_eq!(
            world.routes().await?,
            ["0.0.0.0/0 via 10.9.0.1 metric 1000+index", "10.9.0.0/24 via link metric 1000+index"]
        );
        assert_eq!(world.mtu("cli0")?, 1400);
        assert_eq!(world.resolvers(), "search example.test\nnameserver 10.9.0.1\nnameserver 10.9.0.2\n");
        assert_eq!(nix::unistd::gethostname()?, "image");
        world.stop.cancel();
        task.await??;
        assert_eq!(world.addresses("cli0").await?.len(), 1, "addresses stay when the task is stopped");
        Ok(())
    })
}

#[test]
fn a_short_lease_is_renewed_and_expires_when_the_server_is_gone() -> Outcome {
    isolated(path!("a_short_lease_is_renewed_and_expires_when_the_server_is_gone"), &["udhcpd"], async |mut world| {
        world.pair(0, Some(SERVER)).await?;
        world.udhcpd(4, 10, "option router 10.9.0.1")?;
        let _task = world.run(Network::default());
        world.bound().await?;
        world.until("two renewals", |status| lease(status, "cli0").is_some_and(|it| it.renewals >= 2)).await?;
        assert_eq!(world.addresses("cli0").await?.len(), 1);
        assert_eq!(world.routes().await?.len(), 2);
        world.kill();
        world.until("the lease's end", |status| lease(status, "cli0").is_none()).await?;
        assert_eq!(world.addresses("cli0").await?, []);
        assert!(world.routes().await?.is_empty());
        assert_eq!(world.resolvers(), "");
        world.udhcpd(4, 10, "")?;
        world.bound().await?;
        assert_eq!(world.addresses("cli0").await?.len(), 1);
        assert_eq!(world.routes().await?.len(), 1, "a lease without a router has the subnet's route alone");
        Ok(())
    })
}
