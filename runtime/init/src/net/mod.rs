//! Placeholder until the network's branch is merged.
use crate::{settings, status::Board};
use std::path::PathBuf;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
#[derive(Debug, thiserror::Error)]
pub enum Error {}
pub async fn run(
    _: settings::Network,
    _: String,
    board: Board,
    _: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) -> Result<(), Error> {
    for name in ["eth0", "eth1"] {
        board.update(|s| {
            s.links.push(tinyboot::status::Link {
                name: name.into(),
                settled: true,
                ..Default::default()
            })
        });
    }
    stop.cancelled().await;
    Ok(())
}
