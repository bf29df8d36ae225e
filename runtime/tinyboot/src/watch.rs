//! Follows what init says: its status file and its signals.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::net::unix::pipe;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Sender;
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::status::Status;

/// Where the news come from. It does not end by itself.
#[derive(Debug)]
pub(crate) struct Watch {
    file: Option<StatusFile>,
    terminate: Signal,
    interrupt: Signal,
}

impl Watch {
    /// Catches SIGTERM and SIGINT, watches `file` if there is one, and returns the first status too.
    ///
    /// The signals come first and the file is read last, so that nothing said in between is missed.
    pub(crate) fn new(file: Option<&Path>) -> Result<(Self, Status), Error> {
        let catch = |kind, name| {
            signal(kind).map_err(|source| Error::Signal {
                signal: name,
                source,
            })
        };
        let terminate = catch(SignalKind::terminate(), "SIGTERM")?;
        let interrupt = catch(SignalKind::interrupt(), "SIGINT")?;
        let (file, status) = match file.map(StatusFile::watch).transpose()? {
            Some(file) => match file.read()? {
                Some(status) => (Some(file), status),
                None => (None, Status::default()),
            },
            None => (None, Status::default()),
        };
        Ok((
            Self {
                file,
                terminate,
                interrupt,
            },
            status,
        ))
    }

    /// True if init's status is there.
    pub(crate) fn has_status(&self) -> bool {
        self.file.is_some()
    }

    /// Passes on every new status, and cancels `stop` when a signal or the status says so. Never ends.
    ///
    /// The status goes out before the token is cancelled: init writes the action before it sends SIGTERM, and whoever
    /// wakes by the token finds it.
    pub(crate) async fn follow(mut self, status: Sender<Status>, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                _ = self.terminate.recv() => true,
                _ = self.interrupt.recv() => true,
                () = changed(self.file.as_ref()) => false,
            };
            // The file is replaced as a whole, so a status that cannot be read has no successor yet; the last one stays.
            if let Some(Ok(Some(new))) = self.file.as_ref().map(StatusFile::read) {
                status.send_if_modified(|old| {
                    let differs = *old != new;
                    *old = new;
                    differs
                });
            }
            if asked || status.borrow().shutdown.is_some() {
                stop.cancel();
            }
        }
    }
}

/// Ends when the file was replaced; never without a file, or when the kernel's queue is broken (signals still work).
async fn changed(file: Option<&StatusFile>) {
    match file {
        Some(file) if file.changed().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// The status file, and a watch on its directory, because a replaced file is another inode.
#[derive(Debug)]
struct StatusFile {
    path: PathBuf,
    /// What inotify says is read like a pipe. What it says does not matter, only that it says something.
    events: pipe::Receiver,
}

impl StatusFile {
    fn watch(path: &Path) -> Result<Self, Error> {
        let directory = path.parent().unwrap_or(Path::new("/"));
        let queue = || -> io::Result<pipe::Receiver> {
            let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
            inotify.add_watch(directory, AddWatchFlags::IN_MOVED_TO)?;
            pipe::Receiver::from_owned_fd_unchecked(inotify.as_fd().try_clone_to_owned()?)
        };
        let events = queue().map_err(|source| Error::Watch {
            path: directory.to_owned(),
            source,
        })?;
        Ok(Self {
            path: path.to_owned(),
            events,
        })
    }

    /// The status, or `None` when there is no such file.
    fn read(&self) -> Result<Option<Status>, Error> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(Error::Read {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let status = serde_json::from_slice(&bytes);
        status.map(Some).map_err(|source| Error::Parse {
            path: self.path.clone(),
            source,
        })
    }

    async fn changed(&self) -> io::Result<()> {
        let mut events = [0; 4096];
        loop {
            self.events.readable().await?;
            match self.events.try_read(&mut events) {
                Ok(_) => return Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
