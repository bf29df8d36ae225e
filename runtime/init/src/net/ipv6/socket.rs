//! The kernel's news about options of router advertisements.

use std::future::pending;
use std::io;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::options::{self, Advertised};

/// `RTNLGRP_ND_USEROPT` (rtnetlink.h).
const ND_USEROPT: u32 = 20;

/// A socket of its own: rtnetlink does not know these messages. One that has failed hears nothing any more.
pub struct Socket(Option<TokioSocket>);

impl Socket {
    /// Opens the socket. If the kernel gives none, that is logged, and the rest of the network works without.
    pub fn open() -> Self {
        let open = || {
            let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
            socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
            socket.socket_mut().add_membership(ND_USEROPT)?;
            Ok(socket)
        };
        let socket = open().inspect_err(complain);
        Self(socket.ok())
    }

    /// Waits for the next options, for ever if the socket has failed. Nothing is lost if the future is dropped. What
    /// comes in a burst may be lost; routers say it again.
    pub async fn next(&mut self) -> Vec<Advertised> {
        while let Some(socket) = &mut self.0 {
            match socket.recv_from_full().await {
                // Only the kernel's own: any process may send to a netlink socket.
                Ok((datagram, from)) if from.port_number() == 0 => {
                    return options::read(&datagram);
                }
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => {}
                Err(error) => {
                    complain(&error);
                    self.0 = None;
                }
            }
        }
        pending().await
    }
}

fn complain(error: &io::Error) {
    log::error!("net: resolvers of IPv6 routers are not heard of: {error}");
}
