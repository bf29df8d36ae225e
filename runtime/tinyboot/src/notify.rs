//! What the program says to init: the sd_notify protocol, one datagram a message.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::error::Error;

/// The socket named by `NOTIFY_SOCKET`, if any.
#[derive(Clone, Debug)]
pub(crate) struct Notify {
    socket: Option<OsString>,
}

impl Notify {
    /// `socket` is a path, or an abstract name behind `@`; without one all messages are dropped.
    pub(crate) fn new(socket: Option<OsString>) -> Self {
        Self {
            socket: socket.filter(|name| !name.is_empty()),
        }
    }

    /// Sends one message. It does not wait: a full queue is an error.
    pub(crate) fn send(&self, message: &str) -> Result<(), Error> {
        let Some(name) = &self.socket else {
            return Ok(());
        };
        let send = || -> io::Result<()> {
            let address = match name.as_bytes() {
                [b'@', rest @ ..] => SocketAddr::from_abstract_name(rest)?,
                _ => SocketAddr::from_pathname(name)?,
            };
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to_addr(message.as_bytes(), &address)?;
            Ok(())
        };
        send().map_err(|source| Error::Notify {
            message: message.to_owned(),
            socket: name.to_string_lossy().into_owned(),
            source,
        })
    }
}

/// `STATUS=` and a text on one line: a line feed would start another assignment.
pub(crate) fn status(text: &str) -> String {
    format!("STATUS={}", text.replace(['\n', '\r'], " "))
}

/// `EXTEND_TIMEOUT_USEC=` and the time from now.
pub(crate) fn extend_timeout(by: Duration) -> String {
    format!("EXTEND_TIMEOUT_USEC={}", by.as_micros())
}

/// How often `WATCHDOG=1` has to be said, from the values of `WATCHDOG_USEC` and `WATCHDOG_PID` (sd_watchdog_enabled(3)): `None`
/// when it need not be, or another process has to.
pub(crate) fn watchdog(
    time: Option<OsString>,
    pid: Option<OsString>,
    own: u32,
) -> Option<Duration> {
    let number = |text: OsString| text.to_str()?.parse::<u64>().ok();
    if pid.is_some_and(|pid| number(pid) != Some(own.into())) {
        return None;
    }
    let time = number(time?).filter(|time| *time > 0 && *time < u64::MAX)?;
    Some(Duration::from_micros(time))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn a_message_reaches_a_socket_with_a_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Notify::new(Some(path.into())).send("READY=1").unwrap();
        assert_eq!(received(&socket), "READY=1");
    }

    #[test]
    fn a_message_reaches_an_abstract_socket() {
        let name = format!("tinyboot-test-{}", std::process::id());
        let socket =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notify::new(Some(format!("@{name}").into()))
            .send("STOPPING=1")
            .unwrap();
        assert_eq!(received(&socket), "STOPPING=1");
    }

    #[test]
    fn without_a_socket_nothing_is_sent() {
        Notify::new(None).send("READY=1").unwrap();
        Notify::new(Some(OsString::new())).send("READY=1").unwrap();
    }

    #[test]
    fn a_socket_that_is_not_there_is_one_sentence() {
        let error = Notify::new(Some("/nonexistent/notify".into()))
            .send("READY=1")
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"READY=1\" could not be sent to the socket \"/nonexistent/notify\" in NOTIFY_SOCKET: \
             No such file or directory (os error 2)."
        );
    }

    #[test]
    fn a_full_queue_is_an_error_and_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(Some(path.into()));
        let full = (0..100_000).find_map(|_| notify.send("STATUS=again").err());
        assert!(
            matches!(full, Some(Error::Notify { source, .. }) if source.kind() == io::ErrorKind::WouldBlock)
        );
    }

    #[test]
    fn a_time_is_in_microseconds() {
        assert_eq!(
            extend_timeout(Duration::from_millis(1500)),
            "EXTEND_TIMEOUT_USEC=1500000"
        );
    }

    #[test]
    fn the_watchdog_is_for_the_named_process() {
        let ask = |time: Option<&str>, pid: Option<&str>| {
            watchdog(time.map(OsString::from), pid.map(OsString::from), 7)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(ask(Some("1000000"), None), second);
        assert_eq!(ask(Some("1000000"), Some("7")), second);
        for (time, pid) in [
            (None, None),
            (Some("1000000"), Some("8")),
            (Some("1000000"), Some("")),
            (Some("0"), None),
            (Some("18446744073709551615"), None),
            (Some("soon"), None),
        ] {
            assert_eq!(ask(time, pid), None);
        }
    }

    proptest! {
        #[test]
        fn a_status_is_one_assignment(text in "\\PC*(\n|\r|\\PC)*") {
            let message = status(&text);
            prop_assert!(message.starts_with("STATUS="));
            prop_assert!(!message.contains(['\n', '\r']));
        }
    }
}
