//! What can go wrong between the program and init.

use std::io;
use std::path::PathBuf;

/// What can go wrong between the program and init. Each message is a full sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no tokio runtime to run in, or it was built without I/O.
    #[error("tinyboot::configure was called outside of a tokio runtime: {0}.")]
    NoRuntime(#[source] tokio::runtime::TryCurrentError),
    /// A handler for SIGTERM or SIGINT could not be installed.
    #[error("The handler for {signal} could not be installed: {source}.")]
    Signal {
        /// The signal's name.
        signal: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The directory of the status could not be watched.
    #[error("{} cannot be watched for changes: {source}.", .path.display())]
    Watch {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The status or the log is there and cannot be read.
    #[error("What the machine says in {} cannot be read: {source}.", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The status is not what this version of the library understands.
    #[error("The machine's status in {} is not understood: {source}.", .path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// Init could not be told something.
    #[error("{message:?} could not be sent to the socket {socket:?} in NOTIFY_SOCKET: {source}.")]
    Notify {
        /// What was to be said.
        message: String,
        /// The socket's address as the environment gives it.
        socket: String,
        /// What the system said.
        source: io::Error,
    },
}

/// The wait ended because power-off or reboot was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("The machine is stopping.")]
pub struct Stopping;
