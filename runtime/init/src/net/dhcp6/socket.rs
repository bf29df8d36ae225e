//! The client's socket. It is open as long as a router wants DHCPv6, so that no program of the machine takes the port between
//! two exchanges, and hears something only while a server's answer is awaited.

use std::io;
use std::net::{Ipv6Addr, SocketAddrV6};
use std::num::NonZeroU32;

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::UdpSocket;

/// The client's and the servers' ports (RFC 8415, section 7.2).
const CLIENT_PORT: u16 = 546;
const SERVER_PORT: u16 = 547;
/// All_DHCP_Relay_Agents_and_Servers (section 7.1).
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
/// A message is shorter than the largest frame of a link.
const LARGEST: usize = 9216;
/// Kinds of messages that answer one of ours (RFC 8415, section 7.3).
const ADVERTISE: u8 = 2;
const REPLY: u8 = 7;
/// Lets nothing through.
const NOTHING: SockFilter = SockFilter::new(RETURN, 0, 0, 0);
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// A UDP socket at one link's own address: only who is on the link can reach it.
pub struct Servers {
    socket: UdpSocket,
    link: u32,
    /// The address that it sends from.
    pub source: Ipv6Addr,
    rests: bool,
}

impl Servers {
    /// Opens the socket on the link with this index, at its link-local address. It hears nothing before a message is sent.
    ///
    /// # Errors
    ///
    /// The kernel's: the link does not have the address, or not for sure yet. `AddrInUse` says that a program has the port.
    pub fn open(link: u32, source: Ipv6Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV6, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_only_v6(true)?;
        socket.bind_device_by_index_v6(NonZeroU32::new(link))?;
        socket.attach_filter(&[NOTHING])?;
        let bound = socket.bind(&SocketAddrV6::new(source, CLIENT_PORT, 0, link).into());
        bound.map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => io::Error::new(
                io::ErrorKind::AddrInUse,
                format!("a program of this machine has UDP port {CLIENT_PORT}"),
            ),
            _ => error,
        })?;
        Ok(Self {
            socket: UdpSocket::from_std(socket.into())?,
            link,
            source,
            rests: true,
        })
    }

    /// Sends a message to all servers on the link, and has the kernel let through the answers to it and nothing else: no
    /// neighbour can fill the socket's buffer.
    ///
    /// # Errors
    ///
    /// What the kernel says: link down, no buffer. A message that is shorter than one can be is `InvalidInput`.
    pub fn send(&mut self, message: &[u8]) -> io::Result<()> {
        let filter = answers_to(message).ok_or(io::ErrorKind::InvalidInput)?;
        SockRef::from(&self.socket).attach_filter(&filter)?;
        self.rests = false;
        let to = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.link);
        // Not by way of the event loop, which does not know yet that a new socket can be written.
        let socket = SockRef::from(&self.socket);
        socket.send_to(message, &to.into()).map(drop)
    }

    /// No answer is awaited any longer. The port stays taken.
    ///
    /// # Errors
    ///
    /// What the kernel says: it has no memory for the filter.
    pub fn rest(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.rests, true) {
            SockRef::from(&self.socket).attach_filter(&[NOTHING])?;
        }
        Ok(())
    }

    /// Waits for the next datagram that is whole. Nothing is lost if the future is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says, such as that the link went down.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            self.socket.readable().await?;
            let mut message = vec![0; LARGEST];
            match self.socket.try_recv(&mut message) {
                // The kernel cuts a longer one without a word.
                Ok(LARGEST) => {}
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

/// Classic BPF on what follows the IPv6 header: eight bytes of UDP, then a message's kind and its transaction id.
fn answers_to(message: &[u8]) -> Option<[SockFilter; 5]> {
    const WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let [_, a, b, c] = *message.first_chunk()?;
    let word = |kind| u32::from_be_bytes([kind, a, b, c]);
    Some([
        SockFilter::new(WORD, 0, 0, 8),
        SockFilter::new(IF_EQUAL, 1, 0, word(ADVERTISE)),
        SockFilter::new(IF_EQUAL, 0, 1, word(REPLY)),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        NOTHING,
    ])
}
