//! Servers whose replies to others come in floods: a segment on which hundreds of machines boot at once.

use std::net::{Ipv4Addr, UdpSocket as Blocking};

use socket2::SockRef;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use super::super::dhcp::testing::reply;
use super::SERVER;
use super::world::{Outcome, World, isolated};
use crate::settings::Network;

const GIVEN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 77);
/// Foreign replies before each right one. A packet socket's buffer has room for about a hundred. Ten times as many pass too, but
/// on a busy machine they take longer than the client waits.
const FOREIGN: u32 = 1000;

/// A server on `srv0` that broadcasts [`FOREIGN`] replies before its own to each message: half of them are to other hardware
/// addresses, half to the client's own in other transactions. It sends them in one go, without the client being able to
/// read in between, so that nothing depends on the machine's speed.
fn flooding(world: &World) -> Result<JoinHandle<()>, Box<dyn std::error::Error>> {
    let socket = world.in_servers_namespace(|| {
        let socket = Blocking::bind((Ipv4Addr::UNSPECIFIED, 67))?;
        socket.set_broadcast(true)?;
        SockRef::from(&socket).bind_device(Some(b"srv0"))?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    })?;
    let socket = UdpSocket::from_std(socket)?;
    Ok(tokio::spawn(async move {
        let mut bytes = [0; 2048];
        while let Ok((length, _)) = socket.recv_from(&mut bytes).await {
            let Some(message) = bytes.get(..length) else {
                continue;
            };
            let Some((xid, mac)) = asked(message) else {
                continue;
            };
            // DISCOVER is answered by OFFER, REQUEST by ACK.
            let kind = if message.get(242) == Some(&1) { 2 } else { 5 };
            for number in 1..=FOREIGN {
                let [a, b, c, d] = number.to_be_bytes();
                let foreign = match number % 2 {
                    0 => reply(kind, xid.wrapping_add(number), mac, GIVEN, SERVER),
                    _ => reply(kind, xid, [2, 9, a, b, c, d], GIVEN, SERVER),
                };
                send(&socket, &foreign);
            }
            send(&socket, &reply(kind, xid, mac, GIVEN, SERVER));
        }
    }))
}

fn asked(message: &[u8]) -> Option<(u32, [u8; 6])> {
    let xid = u32::from_be_bytes(*message.get(4..)?.first_chunk()?);
    Some((xid, *message.get(28..)?.first_chunk()?))
}

/// Sends to all on the link, past the event loop.
fn send(socket: &UdpSocket, message: &[u8]) {
    let to = (Ipv4Addr::BROADCAST, 68);
    let _ = SockRef::from(socket).send_to(message, &std::net::SocketAddr::from(to).into());
}

#[test]
fn replies_to_others_do_not_keep_a_machine_from_its_lease() -> Outcome {
    isolated(
        "net::tests::flood::replies_to_others_do_not_keep_a_machine_from_its_lease",
        &[],
        async |world| {
            world.pair(0, Some(SERVER)).await?;
            let server = flooding(&world)?;
            let _task = world.run(Network::default());
            assert_eq!(world.bound().await?.address, GIVEN);
            server.abort();
            Ok(())
        },
    )
}
