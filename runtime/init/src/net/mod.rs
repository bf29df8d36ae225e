//! The network: every link is brought up and configured, each by a task of its own.

pub(crate) mod acd;
mod apply;
pub(crate) mod dhcp;
pub(crate) mod dhcp6;
pub(crate) mod fixed;
pub(crate) mod frame;
mod hosts;
pub(crate) mod ipv6;
mod link;
mod links;
pub(crate) mod names;
pub(crate) mod resolv;
pub(crate) mod saved;
mod socket;
#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that panics is a test that fails"
)]
pub mod tests;
mod which;
mod worker;

use std::future::pending;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rtnetlink::packet_route::link::InfoKind;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::files;
use crate::settings::{self, Settings};
use crate::status::Board;
use dhcp::Backoff;
use links::Links;
use resolv::Given;
pub use which::hardware;

/// Why the kernel's links are not seen for a while. Leases are renewed meanwhile, and all is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel gives no netlink socket.
    #[error("The kernel's network interfaces cannot be reached: {0}.")]
    Netlink(io::Error),
    /// The interfaces cannot be listed.
    #[error("The kernel did not list its network interfaces: {0}.")]
    List(rtnetlink::Error),
    /// The kernel's messages ended.
    #[error("The kernel's messages about network interfaces ended.")]
    Closed,
    /// The kernel takes no more requests.
    #[error("The kernel takes no more requests about network interfaces.")]
    Deaf,
}

/// Switches for all links, those that the program makes too, below `/proc/sys/net`
/// (Documentation/networking/ip-sysctl.rst). A machine with two NICs in one network answers for an address on the NIC that has
/// it, and asks with an address of the NIC that it asks on. Without that its own second NIC answers the first one's probes.
const SWITCHES: [(&str, &str); 2] = [
    ("ipv4/conf/all/arp_ignore", "1"),
    ("ipv4/conf/all/arp_announce", "2"),
];

/// What is longer than this is no `/etc/hosts` of which a line is replaced.
const LONGEST_HOSTS: u64 = 1 << 20;

/// Everything that the links share.
struct Shared {
    settings: settings::Network,
    image_name: String,
    resolv_conf: PathBuf,
    hosts: PathBuf,
    backoff: Backoff,
    board: Board,
    given: Mutex<resolv::Links>,
    fixed: Mutex<fixed::Plan>,
    own: acd::Own,
    /// True once a link is configured: from then on nobody waits long for a carrier.
    configured: watch::Sender<bool>,
    /// A kind of links that counts as hardware, for tests.
    like_hardware: Option<InfoKind>,
}

impl Shared {
    fn plan<T>(&self, look: impl FnOnce(&mut fixed::Plan) -> T) -> T {
        look(&mut self.fixed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The machine's name if the links were given this.
    fn host_name(&self, links: &resolv::Links) -> String {
        self.plan(|plan| {
            let configured = plan.host_name().or(self.settings.host_name.as_deref());
            resolv::host_name(configured, links, &self.image_name)
        })
    }

    /// Takes note of what a link was given, `None` when it is gone, and writes resolv.conf and the host name anew.
    fn give(&self, link: u32, given: Option<Given>) {
        let mut links = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        match given {
            Some(given) => links.insert(link, given),
            None => links.remove(&link),
        };
        let dns = resolv::merge(&links);
        write(&self.resolv_conf, &resolv::text(&dns));
        self.board.update(|status| status.dns = dns);
        let name = self.host_name(&links);
        if let Err(error) = nix::unistd::sethostname(&name) {
            log::warn!("net: the host name cannot be set to {name}: {error}");
        }
        self.name_in_hosts(&name);
    }

    /// Brings the machine's name in `/etc/hosts` up to date. A file that the image put there by a link is the image's matter.
    fn name_in_hosts(&self, name: &str) {
        let path = &self.hosts;
        if let Ok(found) = std::fs::symlink_metadata(path)
            && (!found.is_file() || found.len() > LONGEST_HOSTS)
        {
            return;
        }
        let old = std::fs::read(path).unwrap_or_default();
        write(path, &hosts::text(&String::from_utf8_lossy(&old), name));
    }
}

/// Replaces a file, if its text is another one.
fn write(path: &Path, text: &str) {
    if std::fs::read(path).is_ok_and(|old| old == text.as_bytes()) {
        return;
    }
    if let Err(error) = files::replace(path, text.as_bytes()) {
        log::error!("net: {} cannot be written: {error}", path.display());
    }
}

/// What else the links look at.
#[derive(Clone)]
struct Surroundings {
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Receiver<()>,
    stop: CancellationToken,
}

/// Configures all links, those that are there and those that come, until `stop` is cancelled. Addresses stay then:
/// the app may need them while it ends. After each of `pauses` of the machine what was obtained is verified.
///
/// What fails is logged and tried again.
pub async fn run(
    settings: Settings,
    board: Board,
    persistent: watch::Receiver<Option<PathBuf>>,
    pauses: watch::Receiver<()>,
    stop: CancellationToken,
) {
    // Without it there is no parameter.
    let command_line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let fixed = fixed::Plan::of_machine(&command_line, &settings);
    let network = settings.network;
    let backoff = Backoff::up_to(Duration::from_secs(network.longest_retry.into()));
    let shared = Shared {
        settings: network,
        image_name: settings.name,
        resolv_conf: "/etc/resolv.conf".into(),
        hosts: "/etc/hosts".into(),
        backoff,
        board,
        given: Mutex::default(),
        fixed: Mutex::new(fixed),
        own: acd::Own::default(),
        configured: watch::Sender::default(),
        like_hardware: None,
    };
    let surroundings = Surroundings {
        persistent,
        pauses,
        stop,
    };
    run_with(shared, surroundings).await;
}

async fn run_with(shared: Shared, surroundings: Surroundings) {
    let shared = Arc::new(shared);
    shared.give(0, None);
    for (switch, value) in SWITCHES {
        if let Err(error) = std::fs::write(Path::new("/proc/sys/net").join(switch), value) {
            log::debug!("net: {switch}: {error}");
        }
    }
    let stop = surroundings.stop.clone();
    let mut failures = 0;
    while let Err(error) = with_requests(&shared, &surroundings).await {
        failures += 1;
        tokio::select! {
            () = stop.cancelled() => return,
            () = again(&error, &shared.backoff, failures) => {}
        }
    }
}

/// Looks after the links for as long as requests can be made.
async fn with_requests(shared: &Arc<Shared>, surroundings: &Surroundings) -> Result<(), Error> {
    let requests = worker::Requests::open().map_err(Error::Netlink)?;
    let mut links = Links::new(shared.clone(), requests, surroundings.clone());
    let mut failures = 0;
    loop {
        let before = links.times_listed();
        let error = match links.follow().await {
            Ok(()) => {
                links.join().await;
                return Ok(());
            }
            Err(Error::Deaf) => return Err(Error::Deaf),
            Err(error) => error,
        };
        failures = if links.times_listed() > before {
            1
        } else {
            failures + 1
        };
        // The links' tasks go on meanwhile.
        tokio::select! {
            () = surroundings.stop.cancelled() => {}
            () = again(&error, &shared.backoff, failures) => {}
        }
    }
}

/// Waits before what failed is tried again.
async fn again(error: &Error, backoff: &Backoff, failures: u32) {
    let pause = backoff.delay(failures, u32::MAX);
    log::error!(
        "net: {error} It is tried again in {:.1} s.",
        pause.as_secs_f32()
    );
    tokio::time::sleep(pause).await;
}

async fn sleep(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => pending().await,
    }
}
