//! Placeholder until the clock's branch is merged.
use crate::{settings, status::Board};
use std::path::{Path, PathBuf};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
pub fn floor(_: &settings::Clock, _: Option<&Path>) {}
pub async fn run(
    _: settings::Clock,
    _: Board,
    _: watch::Receiver<Option<PathBuf>>,
    stop: CancellationToken,
) {
    stop.cancelled().await;
}
