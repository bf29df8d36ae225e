//! The power button as ACPI reports it: the multicast group of `acpi_event`.

use std::io;
use std::time::Duration;

use netlink_sys::protocols::NETLINK_GENERIC;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::genetlink::{self, Family};

/// The class of a power button; "button/sleep" and "button/lid" are others.
const POWER_BUTTON: &str = "button/power";
/// A press, ACPI specification 4.8.3.1.1; 0x02 is a wake-up.
const PRESSED: u32 = 0x80;

/// Sends `()` for each press until the receiver goes away. Ends at once when the kernel has no ACPI.
///
/// # Errors
///
/// The socket fails.
pub async fn run(presses: mpsc::UnboundedSender<()>) -> io::Result<()> {
    let mut socket = TokioSocket::new(NETLINK_GENERIC)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    let Some(family) = resolve(&mut socket).await? else {
        log::info!("power: the kernel has no ACPI events; the power button counts as a key only");
        return Ok(());
    };
    socket.socket_mut().add_membership(family.group)?;
    loop {
        let message = match socket.recv_from_full().await {
            Ok((message, from)) if from.port_number() == 0 => message,
            Ok(_) => continue,
            // Events were lost in a burst: none of them can be a person's finger.
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => continue,
            Err(error) => return Err(error),
        };
        let event = genetlink::acpi_event(&message, family);
        if event.is_some_and(|event| event.class == POWER_BUTTON && event.kind == PRESSED)
            && presses.send(()).is_err()
        {
            return Ok(());
        }
    }
}

async fn resolve(socket: &mut TokioSocket) -> io::Result<Option<Family>> {
    socket
        .send_to(&genetlink::family_request(), &SocketAddr::new(0, 0))
        .await?;
    match timeout(Duration::from_secs(1), socket.recv_from_full()).await {
        Ok(answer) => Ok(genetlink::family(&answer?.0)),
        Err(_) => Ok(None),
    }
}
