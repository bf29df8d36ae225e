//! What the app tells by sd_notify(3): lines of `KEY=value` in a datagram.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixDatagram;

/// Where the app finds the socket, as `$NOTIFY_SOCKET`.
pub const SOCKET: &str = "/run/tinyboot/notify";
/// The longest datagram that is read; more of it is cut off.
pub const LENGTH: usize = 4096;
/// The longest `STATUS=` that is kept.
const LONGEST_STATUS: usize = 500;

/// One thing that the app tells. Keys that init does not act on are passed over, as the protocol wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The app does its work.
    Ready,
    /// The app began to stop.
    Stopping,
    /// What it does, in its words.
    Status(String),
    /// It wants this much time from now on before it is killed.
    ExtendTimeout(Duration),
}

/// Opens the socket; processes that gave up root may write to it too.
///
/// # Errors
///
/// `path` cannot be made.
pub fn open(path: &Path) -> io::Result<UnixDatagram> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let socket = UnixDatagram::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// Reads one datagram.
pub fn parse(datagram: &[u8]) -> Vec<Notice> {
    let text = String::from_utf8_lossy(datagram);
    let fields = text.lines().filter_map(|line| line.split_once('='));
    fields
        .filter_map(|(key, value)| match (key, value) {
            ("READY", "1") => Some(Notice::Ready),
            ("STOPPING", "1") => Some(Notice::Stopping),
            ("STATUS", status) => Some(Notice::Status(
                status.chars().take(LONGEST_STATUS).collect(),
            )),
            ("EXTEND_TIMEOUT_USEC", time) => time
                .parse()
                .ok()
                .map(|time| Notice::ExtendTimeout(Duration::from_micros(time))),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_datagram_has_several_lines() {
        let expected = [
            Notice::Status("at work: a=b".into()),
            Notice::Ready,
            Notice::ExtendTimeout(Duration::from_secs(5)),
        ];
        assert_eq!(parse(b"STATUS=at work: a=b\nREADY=1\nWATCHDOG=1\nMAINPID=7\nEXTEND_TIMEOUT_USEC=5000000\n"), expected);
        assert_eq!(
            parse(b"READY=0\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=x\n\xff"),
            [Notice::Stopping]
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
