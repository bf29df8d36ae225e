//! What the kernel says when a device comes, changes or goes (Documentation/ABI/testing/sysfs-uevent, lib/kobject_uevent.c).

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use netlink_sys::protocols::NETLINK_KOBJECT_UEVENT;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// The kernel's own messages; group 2 is udev's.
const KERNEL_GROUP: u32 = 1;
/// Room in the kernel for a burst: a hub with devices behind it, a whole bus after its driver came. The kernel takes what it allows of it.
const BUFFER: nix::libc::c_int = 1 << 20;

/// One message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `change`, `remove`, `bind`, …
    pub action: String,
    /// The device's path below `/sys`.
    pub path: String,
    /// All other fields: SUBSYSTEM, DEVNAME, MODALIAS, …
    pub fields: BTreeMap<String, String>,
}

impl Uevent {
    /// Reads `action@path` and the zero-terminated `KEY=value` fields behind it; `None` if it has another form.
    pub fn parse(message: &[u8]) -> Option<Self> {
        let mut parts = message.split(|byte| *byte == 0);
        let (action, path) = std::str::from_utf8(parts.next()?).ok()?.split_once('@')?;
        let fields = parts
            .filter_map(|part| std::str::from_utf8(part).ok()?.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        Some(Self {
            action: action.to_owned(),
            path: path.to_owned(),
            fields,
        })
    }

    /// One field, or the empty string.
    pub fn field(&self, key: &str) -> &str {
        self.fields.get(key).map_or("", String::as_str)
    }
}

/// What subscribers get.
#[derive(Clone, Debug)]
pub enum Event {
    /// A message of the kernel.
    Device(Arc<Uevent>),
    /// Messages were lost: look at everything again.
    Lost,
}

/// Where the messages are distributed.
#[derive(Clone, Debug)]
pub struct Hub(broadcast::Sender<Event>);

/// One receiver of the messages.
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Event>);

impl Hub {
    /// A hub without a source; [`Hub::run`] is that.
    pub fn new() -> Self {
        Self(broadcast::Sender::new(512))
    }

    /// Follows the messages from now on.
    pub fn subscribe(&self) -> Subscription {
        Subscription(self.0.subscribe())
    }

    /// Distributes the kernel's messages until `stop` is cancelled.
    ///
    /// # Errors
    ///
    /// The socket cannot be used any more.
    pub async fn run(self, socket: TokioSocket, stop: CancellationToken) -> io::Result<()> {
        loop {
            let received = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = socket.recv_from_full() => received,
            };
            let event = match received {
                // A process could send to the group too: only the kernel has port 0.
                Ok((message, from)) if from.port_number() == 0 => match Uevent::parse(&message) {
                    Some(uevent) => Event::Device(Arc::new(uevent)),
                    None => continue,
                },
                Ok(_) => continue,
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Event::Lost,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            // Nobody listening is no error.
            let _ = self.0.send(event);
        }
    }
}

impl Subscription {
    /// The next message. Never ends by itself; cancelling it loses nothing.
    pub async fn next(&mut self) -> Event {
        match self.0.recv().await {
            Ok(event) => event,
            Err(broadcast::error::RecvError::Lagged(_)) => Event::Lost,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Opens the socket. What the kernel says from now on is kept until it is read.
///
/// # Errors
///
/// The kernel has no netlink, or no memory.
pub fn socket() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_KOBJECT_UEVENT)?;
    socket
        .socket_mut()
        .bind(&SocketAddr::new(0, KERNEL_GROUP))?;
    socket.socket_mut().set_rx_buf_sz(BUFFER)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_of_the_kernel() {
        let message = b"add@/devices/pci0000:00/0000:00:02.0/virtio0/block/vda\0ACTION=add\0SUBSYSTEM=block\0DEVNAME=vda\0EMPTY=\0";
        let uevent = Uevent::parse(message);
        assert_eq!(uevent.as_ref().map(|u| u.action.as_str()), Some("add"));
        assert_eq!(uevent.as_ref().map(|u| u.field("DEVNAME")), Some("vda"));
        assert_eq!(uevent.as_ref().map(|u| u.field("MODALIAS")), Some(""));
    }

    #[test]
    fn what_udev_sends_is_not_for_us() {
        assert_eq!(Uevent::parse(b"libudev\0\xfe\xed\xca\xfe"), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Uevent::parse(&bytes);
        }
    }
}
