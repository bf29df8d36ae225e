//! Many links at once.

use std::fs::read_dir;
use std::io;
use std::net::Ipv4Addr;

use crate::settings::Network;

use super::world::{Outcome, isolated, lease};

const LINKS: u8 = 100;

fn entries(directory: &str) -> io::Result<usize> {
    Ok(read_dir(directory)?.count())
}

#[test]
fn a_hundred_links_cost_no_threads_and_few_descriptors() -> Outcome {
    isolated(
        "net::tests::many::a_hundred_links_cost_no_threads_and_few_descriptors",
        &["dnsmasq"],
        async |mut world| {
            let mut options = Vec::new();
            for number in 0..LINKS {
                world
                    .pair(number, Some(Ipv4Addr::new(10, 9, number, 1)))
                    .await?;
                options.push(format!("--interface=srv{number}"));
                options.push(format!(
                    "--dhcp-range=10.9.{number}.10,10.9.{number}.20,255.255.255.0,120"
                ));
            }
            world.dnsmasq(&options.iter().map(String::as_str).collect::<Vec<_>>())?;
            let (threads, descriptors) = (entries("/proc/self/task")?, entries("/proc/self/fd")?);
            let _task = world.run(Network::default());
            world
                .until("a lease on each link", |status| {
                    (0..LINKS).all(|number| lease(status, &format!("cli{number}")).is_some())
                })
                .await?;
            // The thread for slow requests, one for all links.
            assert!(entries("/proc/self/task")? <= threads + 1);
            // A link has a socket for its messages and, for some seconds, one that looks for conflicts.
            let more = entries("/proc/self/fd")?.saturating_sub(descriptors);
            assert!(
                more <= 2 * usize::from(LINKS) + 10,
                "{more} descriptors more"
            );
            Ok(())
        },
    )
}
