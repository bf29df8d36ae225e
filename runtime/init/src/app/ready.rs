//! When the app starts: as soon as storage and the links have settled, and not later than their deadlines.

use std::time::Duration;

use tinyboot::status::Status;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::drivers::Progress;
use crate::net;
use crate::settings::Settings;
use crate::status::Board;

/// Storage keeps its deadline itself; this much later the app does not believe it any more.
const MARGIN: Duration = Duration::from_secs(1);
/// How long the medium with the app's closure may take until the log says that it is missing, and how often it does then.
const PATIENCE: Duration = Duration::from_secs(1);
const REMINDER: Duration = Duration::from_secs(30);

/// Waits until the app can start. What is missing when a deadline passes is logged.
pub async fn wait(settings: &Settings, board: &Board, mut drivers: watch::Receiver<Progress>) {
    let now = Instant::now();
    let network = now + seconds(settings.network.deadline);
    let storage = now + seconds(settings.storage.deadline) + MARGIN;
    // Until its driver is there a NIC is not known; a driver that hangs is waited for no longer than the network.
    let _ = timeout_at(network, drivers.wait_for(|progress| progress.coldplugged)).await;
    let mut status = board.subscribe();
    if timeout_at(storage, status.wait_for(|status| status.storage.settled))
        .await
        .is_err()
    {
        log::error!("app: starts without storage, which has not settled");
    }
    if let Some(missing) = links(board, network).await {
        log::warn!(
            "app: starts without the network: no address after {} s on {}",
            settings.network.deadline,
            missing.join(", ")
        );
    }
}

/// Waits until all links have settled; those that have not at the deadline.
async fn links(board: &Board, deadline: Instant) -> Option<Vec<String>> {
    let mut status = board.subscribe();
    loop {
        // A link that the kernel has may not be in the status yet.
        let hardware = match timeout_at(deadline, net::hardware()).await {
            Ok(Ok(hardware)) => hardware,
            Ok(Err(error)) => {
                log::error!("app: {error}");
                Vec::new()
            }
            Err(_) => return Some(vec!["links that the kernel has not named yet".into()]),
        };
        let missing = unsettled(&status.borrow_and_update(), &hardware);
        if missing.is_empty() {
            return None;
        }
        if timeout_at(deadline, status.changed()).await.is_err() {
            return Some(missing);
        }
    }
}

/// Waits until the medium is there that has the app's closure, if one has to have it, as long as it takes: nothing could be
/// started without. Says so at first and then now and again.
pub async fn closure(settings: &Settings, board: &Board) {
    let Some(path) = &settings.storage.closure else {
        return;
    };
    let mut status = board.subscribe();
    let begin = Instant::now();
    let mut patience = PATIENCE;
    // Only such a medium is mounted there.
    while timeout_at(
        begin + patience,
        status.wait_for(|status| status.storage.iso.is_some()),
    )
    .await
    .is_err()
    {
        let label = settings.volume_id.as_deref().unwrap_or_default();
        log::warn!(
            "app: waits for the medium \"{label}\" with {}; none has come in {} s",
            path.display(),
            patience.as_secs()
        );
        patience += REMINDER;
    }
}

fn seconds(count: u32) -> Duration {
    Duration::from_secs(count.into())
}

/// Links that nobody has said about yet that they are configured or cannot be: those of the status, and those with hardware
/// that have no task yet.
fn unsettled(status: &Status, hardware: &[String]) -> Vec<String> {
    let links = status.links.iter();
    let waiting = links.filter(|link| !link.settled).map(|link| &link.name);
    let known = |name: &&String| status.links.iter().any(|link| link.name == **name);
    let unknown = hardware.iter().filter(|name| !known(name));
    waiting.chain(unknown).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tinyboot::status::Link;

    #[test]
    fn every_interface_has_to_be_settled() {
        let link = |name: &str, settled| Link {
            name: name.into(),
            settled,
            ..Link::default()
        };
        let status = Status {
            links: vec![link("eth0", true), link("eth1", false)],
            ..Status::default()
        };
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| (*name).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(unsettled(&status, &[]), names(&["eth1"]));
        assert_eq!(unsettled(&status, &names(&["eth0"])), names(&["eth1"]));
        assert_eq!(
            unsettled(&status, &names(&["eth0", "eth1", "eth2"])),
            names(&["eth1", "eth2"])
        );
    }
}
