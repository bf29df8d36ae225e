//! Two hundred machines that boot at once on one segment, whose server broadcasts its replies: a simulation with a clock,
//! losses and scheduling of its own, the same at each run.

use std::collections::VecDeque;

use super::*;

const MACHINES: usize = 200;
/// Room in a socket's buffer, in messages of a DHCP server: the kernel's default is 212,992 bytes.
const ROOM: usize = 100;
/// A machine that boots reads its socket once in so many milliseconds.
const READS_EVERY: usize = 50;
/// Messages that the server answers in a millisecond.
const ANSWERS: usize = 5;
/// One message of so many is lost, at each receiver by itself.
const LOSS: u32 = 100;

struct Machine {
    client: Client,
    queue: VecDeque<Vec<u8>>,
    bound: Option<usize>,
}

fn mac(number: usize) -> [u8; 6] {
    let [.., a, b] = (number + 1).to_be_bytes();
    [2, 0, 0, 0, a, b]
}

/// Numbers that look random, a row of its own for each seed (Numerical Recipes' generator, its upper bits).
fn numbers(seed: u64) -> impl FnMut() -> u32 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 32) as u32
    }
}

/// A server's answer, if the message is one that wants it.
fn answer(message: &[u8]) -> Option<Vec<u8>> {
    let read = <dhcproto::v4::Message as dhcproto::Decodable>::decode(&mut dhcproto::Decoder::new(
        message,
    ));
    let read = read.ok()?;
    let kind = match read.opts().msg_type()? {
        MessageType::Discover => OFFER,
        MessageType::Request => ACK,
        _ => return None,
    };
    let mac: [u8; 6] = read.chaddr().try_into().ok()?;
    let [.., last] = mac;
    let address = Ipv4Addr::new(10, 0, 1, last);
    Some(crate::net::dhcp::testing::reply(
        kind,
        read.xid(),
        mac,
        address,
        SERVER,
    ))
}

/// The kernel's filter: see [`crate::net::socket`].
fn lets_through(client: &Client, reply: &[u8]) -> bool {
    client.listens()
        && reply.get(4..8) == Some(&client.xid.to_be_bytes())
        && reply.get(28..34) == Some(&client.identity.mac)
}

/// Lets the machines boot until all are bound, and says when each was, in milliseconds, and how many messages the machines sent.
fn boot(seed: u64, filter: fn(&Client, &[u8]) -> bool) -> (Vec<usize>, usize) {
    let mut lost = numbers(seed);
    let mut machines: Vec<Machine> = (0..MACHINES)
        .map(|number| {
            let identity = Identity {
                mac: mac(number),
                host_name: None,
            };
            let random = Box::new(numbers(seed + 1 + number as u64));
            Machine {
                client: Client::new(identity, Backoff::default(), random),
                queue: VecDeque::new(),
                bound: None,
            }
        })
        .collect();
    let mut server: VecDeque<Vec<u8>> = VecDeque::new();
    let mut sent = 0;
    for millisecond in 0..60_000 {
        let now = Duration::from_millis(1_000_000 + millisecond as u64);
        for (number, machine) in machines.iter_mut().enumerate() {
            let mut actions = Vec::new();
            if millisecond == 0 {
                actions.extend(machine.client.carrier_up(now));
            }
            if millisecond % READS_EVERY == number % READS_EVERY {
                for reply in machine.queue.drain(..) {
                    actions.extend(machine.client.receive(now, &reply));
                }
            }
            actions.extend(machine.client.tick(now));
            for action in actions {
                match action {
                    Action::Broadcast { message, .. } => {
                        sent += 1;
                        if !lost().is_multiple_of(LOSS) {
                            server.push_back(message);
                        }
                    }
                    Action::Acquired(_) => machine.bound = Some(millisecond),
                    _ => {}
                }
            }
        }
        let asked = server.drain(..ANSWERS.min(server.len()));
        for reply in asked.filter_map(|message| answer(&message)) {
            for machine in &mut machines {
                let heard = !lost().is_multiple_of(LOSS) && filter(&machine.client, &reply);
                if heard && machine.queue.len() < ROOM {
                    machine.queue.push_back(reply.clone());
                }
            }
        }
        if machines.iter().all(|machine| machine.bound.is_some()) {
            break;
        }
    }
    let mut bound: Vec<usize> = machines.iter().filter_map(|it| it.bound).collect();
    bound.sort_unstable();
    (bound, sent)
}

#[test]
fn two_hundred_machines_that_boot_at_once_are_soon_bound() {
    for seed in 0..3 {
        let (bound, sent) = boot(seed, lets_through);
        assert_eq!(bound.len(), MACHINES, "seed {seed}");
        // Some lose a message of the first exchange, few one of the second too. Without the filter a tenth of the machines
        // lose theirs for want of room.
        let (most, last) = (bound.get(MACHINES * 9 / 10), bound.last());
        assert!(
            most < Some(&500) && last < Some(&4000),
            "seed {seed}: {most:?}, {last:?} ms"
        );
        assert!(sent < MACHINES * 3, "seed {seed}: {sent} messages");
    }
}
