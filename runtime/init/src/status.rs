//! The machine's status: one value that every task adds to, and the file that the app reads.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tinyboot::status::Status;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{files, limits};

/// A cheaply clonable handle to the one status of the machine.
#[derive(Clone, Debug)]
pub struct Board(Arc<watch::Sender<Status>>);

impl Board {
    /// A board that shows `initial`.
    pub fn new(initial: Status) -> Self {
        Self(Arc::new(watch::Sender::new(initial)))
    }

    /// Changes the status. Those who watch wake only if the status is another one afterwards.
    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.0.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// A copy of the status as it is now.
    pub fn snapshot(&self) -> Status {
        self.0.borrow().clone()
    }

    /// Follows the status: intermediate values may be skipped, the last one never is.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.0.subscribe()
    }

    /// Writes the file at `path` at once, for a reader that is about to be told that it changed.
    pub fn write_now(&self, path: &Path) {
        if let Err(error) = write(path, &self.snapshot()) {
            log::error!("status: {} cannot be written: {error}", path.display());
        }
    }

    /// Keeps the file at `path` equal to the status until `stop` is cancelled; changes that come faster than they can
    /// be written become one. A file that cannot be written is logged once for each new cause.
    pub async fn publish(&self, path: &Path, stop: CancellationToken) {
        let mut changes = self.subscribe();
        changes.mark_changed();
        let mut complaint = None;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                changed = changes.changed() => if changed.is_err() { return },
            }
            let status = changes.borrow_and_update().clone();
            let failure = write(path, &status).err().map(|error| error.to_string());
            if failure != complaint {
                if let Some(cause) = &failure {
                    log::error!("status: {} cannot be written: {cause}", path.display());
                }
                complaint = failure;
            }
        }
    }
}

/// Replaces the file at `path`, so that a reader never sees a part of a status.
fn write(path: &Path, status: &Status) -> io::Result<()> {
    let mut text = serde_json::to_vec_pretty(status)?;
    text.push(b'\n');
    match files::replace(path, &text) {
        // Somebody may have taken the descriptors from init.
        Err(error) if error.raw_os_error() == Some(nix::libc::EMFILE) && limits::restore() => {
            files::replace(path, &text)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn the_file_follows_the_board() -> Result<(), Box<dyn std::error::Error>> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("run/status.json");
        let board = Board::new(Status {
            name: "one".into(),
            ..Status::default()
        });
        let stop = CancellationToken::new();
        let publisher = tokio::spawn({
            let (board, path, stop) = (board.clone(), path.clone(), stop.clone());
            async move { board.publish(&path, stop).await }
        });
        for name in ["one", "two"] {
            board.update(|status| status.name = name.into());
            tokio::time::timeout(Duration::from_secs(10), async {
                loop {
                    let text = std::fs::read(&path).unwrap_or_default();
                    if serde_json::from_slice::<Status>(&text)
                        .is_ok_and(|status| status.name == name)
                    {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await?;
        }
        stop.cancel();
        publisher.await?;
        Ok(())
    }

    #[test]
    fn an_update_without_effect_wakes_nobody() {
        let board = Board::new(Status::default());
        let mut watcher = board.subscribe();
        watcher.mark_unchanged();
        board.update(|status| status.name = String::new());
        assert!(!watcher.has_changed().unwrap_or(true));
        board.update(|status| status.name = "other".into());
        assert!(watcher.has_changed().unwrap_or(false));
    }
}
