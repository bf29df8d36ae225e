//! A file system that stands still while a host takes a snapshot of its disk (`FIFREEZE` and `FITHAW`, linux/fs.h).
//!
//! A thread holds it: who writes to a frozen file system sleeps until it is thawed, and that must not be who is to thaw
//! it. It thaws when it is told to, when nobody could tell it any more, and by itself when the time is over.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::libc::c_int;
use tokio::sync::oneshot;

nix::ioctl_readwrite!(freeze, b'X', 119, c_int);
nix::ioctl_readwrite!(thaw, b'X', 120, c_int);

/// What can be frozen; tests have another one.
pub trait FileSystem: Send + 'static {
    /// Writes everything to the disk and stops all further writing. Blocks as long as the disk needs.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    fn freeze(&mut self) -> io::Result<()>;
    /// Lets the writers go on.
    ///
    /// # Errors
    ///
    /// What the kernel says.
    fn thaw(&mut self) -> io::Result<()>;
}

/// The one that is mounted at a place.
pub struct Mounted {
    path: PathBuf,
    root: Option<File>,
}

impl Mounted {
    /// That at `path`.
    pub fn at(path: PathBuf) -> Self {
        Self { path, root: None }
    }
}

impl FileSystem for Mounted {
    fn freeze(&mut self) -> io::Result<()> {
        let root = self.root.insert(File::open(&self.path)?);
        // SAFETY: the descriptor is open, and the kernel does not use the argument.
        unsafe { freeze(root.as_raw_fd(), std::ptr::null_mut()) }?;
        Ok(())
    }

    fn thaw(&mut self) -> io::Result<()> {
        let root = self.root.take().ok_or(io::ErrorKind::NotFound)?;
        // SAFETY: as above.
        unsafe { thaw(root.as_raw_fd(), std::ptr::null_mut()) }?;
        Ok(())
    }
}

/// How a freeze ended.
#[derive(Debug)]
pub struct Thawed {
    /// Nobody had said so, but the time was over.
    pub overdue: bool,
    /// What the kernel said.
    pub result: io::Result<()>,
}

/// A file system that is frozen, or is on its way there. Dropping this thaws it.
#[derive(Debug)]
pub struct Freeze {
    // Never sent to: the thread notices that it is gone.
    _hold: mpsc::Sender<()>,
    frozen: Option<oneshot::Receiver<io::Result<()>>>,
    thawed: oneshot::Receiver<Thawed>,
}

impl Freeze {
    /// Begins to freeze, for `limit` at most from when it is done.
    ///
    /// # Errors
    ///
    /// There can be no further thread.
    pub fn begin(mut file_system: impl FileSystem, limit: Duration) -> io::Result<Self> {
        let (hold, order) = mpsc::channel::<()>();
        let (frozen_sender, frozen) = oneshot::channel();
        let (thawed_sender, thawed) = oneshot::channel();
        thread::Builder::new()
            .name("freeze".into())
            .spawn(move || {
                let result = file_system.freeze();
                let failed = result.is_err();
                // Whoever does not wait for it any more has let go of `hold`, too.
                let _ = frozen_sender.send(result);
                if failed {
                    return;
                }
                let overdue = order.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
                let result = file_system.thaw();
                let _ = thawed_sender.send(Thawed { overdue, result });
            })?;
        Ok(Self {
            _hold: hold,
            frozen: Some(frozen),
            thawed,
        })
    }

    /// Waits until everything stands still. To be asked once; cancelling it changes nothing.
    ///
    /// # Errors
    ///
    /// What the kernel says; then nothing was changed.
    pub async fn frozen(&mut self) -> io::Result<()> {
        match self.frozen.take() {
            Some(frozen) => frozen
                .await
                .unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())),
            None => Ok(()),
        }
    }

    /// Waits until it was thawed because the time is over. Cancelling it loses nothing.
    pub async fn overdue(&mut self) -> Thawed {
        gone_is_thawed((&mut self.thawed).await)
    }

    /// Thaws and waits until that is done.
    pub async fn thaw(self) -> Thawed {
        let Self { _hold, thawed, .. } = self;
        drop(_hold);
        gone_is_thawed(thawed.await)
    }
}

fn gone_is_thawed(result: Result<Thawed, oneshot::error::RecvError>) -> Thawed {
    result.unwrap_or_else(|_| Thawed {
        overdue: false,
        result: Err(io::ErrorKind::NotFound.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Writes down what is done to it.
    struct Recorder {
        calls: Arc<Mutex<Vec<&'static str>>>,
        refuses: bool,
    }

    impl FileSystem for Recorder {
        fn freeze(&mut self) -> io::Result<()> {
            self.call("freeze");
            if self.refuses {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            Ok(())
        }

        fn thaw(&mut self) -> io::Result<()> {
            self.call("thaw");
            Ok(())
        }
    }

    impl Recorder {
        fn call(&self, name: &'static str) {
            if let Ok(mut calls) = self.calls.lock() {
                calls.push(name);
            }
        }
    }

    fn recorder(refuses: bool) -> (Recorder, Arc<Mutex<Vec<&'static str>>>) {
        let calls = Arc::default();
        (
            Recorder {
                calls: Arc::clone(&calls),
                refuses,
            },
            calls,
        )
    }

    fn said(calls: &Mutex<Vec<&'static str>>) -> Vec<&'static str> {
        calls.lock().map(|calls| calls.clone()).unwrap_or_default()
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn it_is_thawed_when_somebody_says_so() -> io::Result<()> {
        let (file_system, calls) = recorder(false);
        let mut freeze = Freeze::begin(file_system, LONG)?;
        freeze.frozen().await?;
        assert_eq!(said(&calls), ["freeze"]);
        let thawed = freeze.thaw().await;
        assert!(!thawed.overdue && thawed.result.is_ok());
        assert_eq!(said(&calls), ["freeze", "thaw"]);
        Ok(())
    }

    #[tokio::test]
    async fn it_thaws_itself_when_the_time_is_over() -> io::Result<()> {
        let (file_system, calls) = recorder(false);
        let mut freeze = Freeze::begin(file_system, Duration::from_millis(1))?;
        freeze.frozen().await?;
        assert!(freeze.overdue().await.overdue);
        assert_eq!(said(&calls), ["freeze", "thaw"]);
        Ok(())
    }

    #[tokio::test]
    async fn whoever_forgets_it_thaws_it() -> io::Result<()> {
        let (file_system, calls) = recorder(false);
        drop(Freeze::begin(file_system, LONG)?);
        while said(&calls) != ["freeze", "thaw"] {
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    #[tokio::test]
    async fn what_cannot_be_frozen_is_not_thawed() -> io::Result<()> {
        let (file_system, calls) = recorder(true);
        let mut freeze = Freeze::begin(file_system, LONG)?;
        assert!(freeze.frozen().await.is_err());
        assert!(freeze.thaw().await.result.is_err());
        assert_eq!(said(&calls), ["freeze"]);
        Ok(())
    }
}
