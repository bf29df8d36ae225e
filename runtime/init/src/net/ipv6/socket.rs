//! The kernel's news about options of router advertisements.

use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::options::{self, Advertised};

/// `RTNLGRP_ND_USEROPT` (rtnetlink.h).
const ND_USEROPT: u32 = 20;

/// A socket of its own: rtnetlink does not know these messages.
pub struct Socket(TokioSocket);

impl Socket {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// What the kernel says to a new socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
        socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
        socket.socket_mut().add_membership(ND_USEROPT)?;
        Ok(Self(socket))
    }

    /// Waits for the next options. Nothing is lost if the future is dropped. What comes in a burst may be lost; routers say it
    /// again.
    ///
    /// # Errors
    ///
    /// The socket has failed, and another one has to be opened.
    pub async fn next(&mut self) -> io::Result<Vec<Advertised>> {
        loop {
            match self.0.recv_from_full().await {
                // Only the kernel's own: any process may send to a netlink socket.
                Ok((datagram, from)) if from.port_number() == 0 => {
                    return Ok(options::read(&datagram));
                }
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Err(error) => return Err(error),
            }
        }
    }
}
