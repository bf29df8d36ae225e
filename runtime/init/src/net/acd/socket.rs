//! The detector joined to a packet socket, which is open only while an address is watched.

use std::future::pending;
use std::io::{self, Read as _};
use std::net::Ipv4Addr;
use std::time::Duration;

use nix::libc;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::super::socket::address;
use super::{Detector, Own, arp};

/// Ethernet's number of ARP.
const ETH_P_ARP: u16 = 0x0806;

/// What watches over one link's address.
pub struct Watch {
    detector: Detector,
    link: u32,
    socket: Option<AsyncFd<Socket>>,
}

impl Watch {
    /// A watch over the link with this index and hardware address, in a machine with those.
    pub fn new(link: u32, mac: [u8; 6], own: Own) -> Self {
        Self {
            detector: Detector::new(mac, own),
            link,
            socket: None,
        }
    }

    /// See [`Detector::start`].
    pub fn start(&mut self, now: Duration, address: Ipv4Addr) {
        if self.detector.watches() != Some(address) {
            self.socket = None;
        }
        self.detector.start(now, address);
    }

    /// See [`Detector::stop`].
    pub fn stop(&mut self) {
        self.detector.stop();
        self.socket = None;
    }

    /// See [`Detector::rest`].
    pub fn rest(&mut self) {
        self.detector.rest();
        self.socket = None;
    }

    /// See [`Detector::deadline`].
    pub fn deadline(&self) -> Option<Duration> {
        self.detector.deadline()
    }

    /// Sends what is due.
    ///
    /// # Errors
    ///
    /// What the kernel says to the socket. The address is not watched any longer then.
    pub fn tick(&mut self, now: Duration, random: u32) -> io::Result<()> {
        if let Some(packet) = self.detector.tick(now, random) {
            let sent = self.send(&packet);
            if sent.is_err() {
                self.stop();
            }
            return sent;
        }
        if self.detector.watches().is_none() {
            self.socket = None;
        }
        Ok(())
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        let Some(watched) = self.detector.watches() else {
            return Ok(());
        };
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None => open(self.link, watched)?,
        };
        let socket = self.socket.insert(socket);
        socket
            .get_ref()
            .send_to(packet, &address(self.link, ETH_P_ARP)?)
            .map(drop)
    }

    /// Waits for a packet of another machine that has the address; for ever while none is watched. Nothing is lost if
    /// the future is dropped.
    ///
    /// # Errors
    ///
    /// What the kernel says, such as `NetworkDown` when the link goes down.
    pub async fn conflict(&self) -> io::Result<[u8; 6]> {
        let Some(socket) = &self.socket else {
            return pending().await;
        };
        loop {
            let mut ready = socket.readable().await?;
            let mut packet = [0_u8; arp::LENGTH];
            let Ok(received) = ready.try_io(|socket| socket.get_ref().read(&mut packet)) else {
                continue;
            };
            let length = received?;
            if let Some(other) = packet
                .get(..length)
                .and_then(|packet| self.detector.receive(packet))
            {
                return Ok(other);
            }
        }
    }
}

/// A packet socket for ARP on one link. The kernel's filter lets through nothing but packets whose sender says that it
/// has the address, so that other traffic does not wake anybody.
fn open(link: u32, watched: Ipv4Addr) -> io::Result<AsyncFd<Socket>> {
    const SENDER: u32 = 14;
    const WORD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IF_EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    // Protocol 0: nothing arrives before the filter is in place and `bind` names the protocol.
    let socket = Socket::new(Domain::PACKET, Type::DGRAM, Some(Protocol::from(0)))?;
    socket.set_nonblocking(true)?;
    socket.attach_filter(&[
        SockFilter::new(WORD, 0, 0, SENDER),
        SockFilter::new(IF_EQUAL, 0, 1, watched.to_bits()),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ])?;
    socket.bind(&address(link, ETH_P_ARP)?)?;
    // SAFETY: the socket owns its descriptor, which stays open and the same one for as long as it is registered.
    let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }?;
    Ok(socket)
}
