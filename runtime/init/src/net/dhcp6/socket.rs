//! The client's socket, which is open only while a server's answer is awaited.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;

/// The client's and the servers' ports (RFC 8415, section 7.2).
const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// All_DHCP_Relay_Agents_and_Servers (section 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// A message is at most as long as its link's frames.
const LARGEST: usize = 9216;

/// A UDP socket at one link's own address: only who is on the link can reach it.
pub struct Servers {
    socket: UdpSocket,
    link: u32,
    /// The address that it sends from.
    pub source: Ipv6Addr,
}

impl Servers {
    /// Opens the socket on the link with this index, at its link-local address.
    ///
    /// # Errors
    ///
    /// What the kernel says: the link does not have the address, or not for sure yet, or a program of the machine has the
    /// port.
    pub fn open(link: u32, source: Ipv6Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_only_v6(true)?;
        socket.bind_device_by_index_v6(NonZeroU32::new(link))?;
        socket.bind(&SocketAddrV6::new(source, CLIENT_PORT, 0, link).into())?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            link,
            source,
        })
    }

    /// Sends a message to all servers on the link.
    ///
    /// # Errors
    ///
    /// What the kernel says: link down, no buffer.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.link);
        // Not by way of the event loop, which does not know yet that a new socket can be written.
        let socket = SockRef::from(&self.socket);
        socket.send_to(message, &to.into()).map(drop)
    }

    /// Waits for the next datagram. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says, such as that the link went down.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            self.socket.readable().await?;
            let mut message = vec![0; LARGEST];
            match self.socket.try_recv(&mut message) {
                Ok(length) => {
                    message.truncate(length);
                    return Ok(message);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}
