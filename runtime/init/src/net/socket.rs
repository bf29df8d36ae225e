//! The two sockets of a DHCP client: one below IP for a link without an address, one above for a link that has one.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::num::NonZeroU32;
use std::os::fd::AsRawFd;

use nix::libc;
use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::frame;

/// Ethernet's number of IPv4.
const ETH_P_IP: u16 = 0x0800;
/// `tpacket_auxdata.tp_status`: the sender has left the checksum to its card.
const TP_STATUS_CSUMNOTREADY: u32 = 1 << 3;
/// `struct cmsghdr`: length, level, type; a multiple of the alignment on every Linux.
const CMSG_HEADER: usize = size_of::<libc::cmsghdr>();
/// A DHCP message is at most as long as its link's frames.
const LARGEST: usize = 9216;

/// A packet socket on one link: it hears replies and sends broadcasts, whatever the link's address is.
pub struct Packets {
    socket: AsyncFd<Socket>,
    link: u32,
}

impl Packets {
    /// Opens the socket on the link with this index. It hears nothing before [`Packets::expect`] says what is awaited.
    ///
    /// # Errors
    ///
    /// What the kernel says: no such link, no permission, or no packet sockets in this kernel.
    pub fn open(link: u32) -> io::Result<Self> {
        // Protocol 0: nothing arrives before the filter is in place and `bind` names the protocol.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
        socket.set_nonblocking(true)?;
        socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
        let on: libc::c_int = 1;
        // SAFETY: the descriptor is open, and the value is an int of the length that is said.
        let result = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_AUXDATA,
                (&raw const on).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        socket.bind(&address(link, ETH_P_IP)?)?;
        // SAFETY: the socket owns its descriptor, which stays open and the same one for as long as it is registered.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
        Ok(Self { socket, link })
    }

    /// Has the kernel let through the replies to this message of ours and nothing else. A server that broadcasts its replies
    /// to hundreds of machines that boot together must not fill the socket's buffer, in which a hundred of them have room.
    ///
    /// # Errors
    ///
    /// What the kernel says: it has no memory for the filter. A message that is shorter than one can be is `InvalidInput`.
    pub fn expect(&self, message: &[u8]) -> io::Result<()> {
        let filter = reply_to(message).ok_or(io::ErrorKind::InvalidInput)?;
        self.socket.get_ref().attach_filter(&filter)
    }

    /// Sends a DHCP message to all on the link.
    ///
    /// # Errors
    ///
    /// What the kernel says: link down, no buffer. A message that is too long for a packet is `InvalidInput`.
    pub fn broadcast(&self, source: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        let packet = frame::broadcast(source, message).ok_or(io::ErrorKind::InvalidInput)?;
        self.socket
            .get_ref()
            .send_to(&packet, &address(self.link, ETH_P_IP)?)
            .map(drop)
    }

    /// Waits for the next well-formed packet from a server's port and gives its UDP payload. Nothing is lost if the
    /// future is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says; `NetworkDown` is said once when the link goes down.
    pub async fn receive(&self) -> io::Result<Vec<u8>> {
        loop {
            let mut ready = self.socket.readable().await?;
            let Ok(received) = ready.try_io(|socket| receive(socket.get_ref())) else {
                continue;
            };
            let (packet, summed) = received?;
            if let Some(payload) = frame::payload(&packet, summed) {
                return Ok(payload.to_vec());
            }
        }
    }
}

/// The bytes from the IP header on, and whether the UDP checksum in them means anything.
fn receive(socket: &Socket) -> io::Result<(Vec<u8>, bool)> {
    let mut packet = vec![0_u8; LARGEST];
    let mut control = [0_u8; 64];
    let mut part = libc::iovec {
        iov_base: packet.as_mut_ptr().cast(),
        iov_len: packet.len(),
    };
    // SAFETY: a msghdr of zeros is one without an address, buffers and control data.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    // SAFETY: both buffers outlive the call and have the lengths that the message says.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    packet.truncate(length);
    let summed = control
        .get(..message.msg_controllen)
        .is_none_or(checksum_ready);
    Ok((packet, summed))
}

/// Reads `PACKET_AUXDATA` (packet(7)) out of one control message.
fn checksum_ready(control: &[u8]) -> bool {
    let number = |offset: usize| {
        Some(u32::from_ne_bytes(
            *control.get(offset..)?.first_chunk::<4>()?,
        ))
    };
    let level = number(size_of::<usize>());
    let kind = number(size_of::<usize>() + 4);
    let auxdata =
        level == Some(libc::SOL_PACKET as u32) && kind == Some(libc::PACKET_AUXDATA as u32);
    !auxdata || number(CMSG_HEADER).is_none_or(|status| status & TP_STATUS_CSUMNOTREADY == 0)
}

/// The link's broadcast address for packets of an Ethernet protocol (packet(7)).
pub fn address(link: u32, protocol: u16) -> io::Result<SockAddr> {
    let index = libc::c_int::try_from(link).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the storage is larger than a sockaddr_ll and aligned for any address; its length is set to that of the
    // address that is written.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let mut to: libc::sockaddr_ll = zeroed();
            to.sll_family = libc::AF_PACKET as libc::c_ushort;
            to.sll_protocol = protocol.to_be();
            to.sll_ifindex = index;
            to.sll_halen = 6;
            to.sll_addr = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0];
            storage.cast::<libc::sockaddr_ll>().write(to);
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })
    }?;
    Ok(address)
}

const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Classic BPF (the kernel's Documentation/networking/filter.rst): unfragmented UDP to port 68, in it a BOOTREPLY with the
/// transaction id and the hardware address of the message. A load beyond the packet's end lets nothing through.
fn reply_to(message: &[u8]) -> Option<[SockFilter; 17]> {
    const BYTE: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    const HALF: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_ABS) as u16;
    const HEADER_LENGTH: u16 = (libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH) as u16;
    const BYTE_AFTER_HEADER: u16 = (libc::BPF_LD | libc::BPF_B | libc::BPF_IND) as u16;
    const HALF_AFTER_HEADER: u16 = (libc::BPF_LD | libc::BPF_H | libc::BPF_IND) as u16;
    const WORD_AFTER_HEADER: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_IND) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const IF_ANY: u16 = (libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K) as u16;
    const BOOTREPLY: u32 = 2;
    let xid = u32::from_be_bytes(*message.get(4..)?.first_chunk()?);
    let [a, b, c, d, e, f] = *message.get(28..)?.first_chunk()?;
    let mac = (
        u32::from_be_bytes([a, b, c, d]),
        u32::from(u16::from_be_bytes([e, f])),
    );
    Some([
        SockFilter::new(BYTE, 0, 0, 9),
        SockFilter::new(IF_EQUAL, 0, 14, libc::IPPROTO_UDP as u32),
        SockFilter::new(HALF, 0, 0, 6),
        SockFilter::new(IF_ANY, 12, 0, 0x3fff),
        SockFilter::new(HEADER_LENGTH, 0, 0, 0),
        SockFilter::new(HALF_AFTER_HEADER, 0, 0, 2),
        SockFilter::new(IF_EQUAL, 0, 9, frame::CLIENT_PORT.into()),
        SockFilter::new(BYTE_AFTER_HEADER, 0, 0, 8),
        SockFilter::new(IF_EQUAL, 0, 7, BOOTREPLY),
        SockFilter::new(WORD_AFTER_HEADER, 0, 0, 8 + 4),
        SockFilter::new(IF_EQUAL, 0, 5, xid),
        SockFilter::new(WORD_AFTER_HEADER, 0, 0, 8 + 28),
        SockFilter::new(IF_EQUAL, 0, 3, mac.0),
        SockFilter::new(HALF_AFTER_HEADER, 0, 0, 8 + 32),
        SockFilter::new(IF_EQUAL, 0, 1, mac.1),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])
}

/// A UDP socket of the client's port at one address: it sends what goes to a server by way of the ordinary routes.
/// It hears nothing, since the packet socket does, but while it is open the kernel does not answer replies with
/// "port unreachable".
pub struct Unicast {
    socket: Socket,
    /// The address that it sends from.
    pub source: Ipv4Addr,
}

impl Unicast {
    /// Opens the socket on the link with this index.
    ///
    /// # Errors
    ///
    /// What the kernel says: the link does not have the address, or a program of the machine has the port.
    pub fn open(link: u32, source: Ipv4Addr) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.set_reuse_address(true)?;
        socket.attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)])?;
        socket.bind_device_by_index_v4(NonZeroU32::new(link))?;
        socket.bind(&SocketAddrV4::new(source, frame::CLIENT_PORT).into())?;
        Ok(Self { socket, source })
    }

    /// Sends a DHCP message to the server.
    ///
    /// # Errors
    ///
    /// What the kernel says: no route, or the server's hardware address is not to be had.
    pub fn send(&self, server: Ipv4Addr, message: &[u8]) -> io::Result<()> {
        self.socket
            .send_to(
                message,
                &SocketAddrV4::new(server, frame::SERVER_PORT).into(),
            )
            .map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(level: i32, kind: i32, status: u32) -> Vec<u8> {
        let mut bytes = 36_usize.to_ne_bytes().to_vec();
        bytes.extend_from_slice(&level.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.resize(CMSG_HEADER, 0);
        bytes.extend_from_slice(&status.to_ne_bytes());
        bytes
    }

    #[test]
    fn a_checksum_counts_unless_the_kernel_says_otherwise() {
        assert!(checksum_ready(&[]));
        assert!(checksum_ready(&control(
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            1
        )));
        assert!(!checksum_ready(&control(
            libc::SOL_PACKET,
            libc::PACKET_AUXDATA,
            9
        )));
        assert!(checksum_ready(&control(
            libc::SOL_SOCKET,
            libc::PACKET_AUXDATA,
            9
        )));
    }
}
