//! The clock's task on a machine that is not this one, with a server that is.

mod pauses;
mod several;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use std::time::Duration;

use tinyboot::status::{Lease, Lease6, Link, Status};

use super::keeper::Network;
use super::pace::Round;
use super::ptp::Host;
use super::refusals::Refusals;
use super::resume::Reading;
use super::*;
use crate::net::tests::world::{Outcome, World, isolated};

/// 2026-11-23T12:00:00Z.
const TRUTH: i64 = 1_795_435_200;
const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);

/// A machine whose clock stands still unless it is set.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Hands>>);

#[derive(Default)]
struct Hands {
    now: i64,
    slewed: Vec<i64>,
    error: Option<Duration>,
    rtc: Option<i64>,
    host: Option<Host>,
    /// RTC and running time, if there is an RTC; the clock is `now`.
    reading: Option<Reading>,
}

impl Fake {
    fn at(seconds: i64) -> Self {
        let fake = Self::default();
        fake.with(|hands| hands.now = seconds * NANOSECONDS);
        fake
    }

    fn with<T>(&self, look: impl FnOnce(&mut Hands) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Machine for Fake {
    fn now(&self) -> i64 {
        self.with(|hands| hands.now)
    }

    fn set(&self, nanoseconds: i64) -> io::Result<()> {
        self.with(|hands| hands.now = nanoseconds);
        Ok(())
    }

    fn slew(&self, nanoseconds: i64) -> io::Result<()> {
        self.with(|hands| hands.slewed.push(nanoseconds));
        Ok(())
    }

    fn vouch(&self, error: Duration) -> io::Result<()> {
        self.with(|hands| hands.error = Some(error));
        Ok(())
    }

    fn host(&self) -> Option<Host> {
        self.with(|hands| hands.host)
    }

    fn reading(&self) -> Option<Reading> {
        self.with(|hands| {
            let clock = hands.now;
            hands.reading.map(|reading| Reading { clock, ..reading })
        })
    }

    fn write_rtc(&self) -> io::Result<()> {
        self.with(|hands| hands.rtc = Some(hands.now));
        Ok(())
    }

    async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        Some(work())
    }
}

fn settings(floor: i64) -> settings::Clock {
    settings::Clock {
        floor: floor.unsigned_abs(),
        servers: Vec::new(),
    }
}

#[test]
fn a_clock_before_the_floor_is_raised() {
    let machine = Fake::at(978_307_200);
    assert_eq!(raise(&machine, &settings(TRUTH), None), "floor");
    assert_eq!(machine.now(), TRUTH * NANOSECONDS);
}

#[test]
fn a_clock_after_the_floor_is_left_alone() {
    let machine = Fake::at(TRUTH + 1);
    assert_eq!(raise(&machine, &settings(TRUTH), None), "rtc");
    assert_eq!(machine.now(), (TRUTH + 1) * NANOSECONDS);
}

#[test]
fn the_saved_time_counts_if_it_is_later() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    saved::save(directory.path(), TRUTH + 5)?;
    let machine = Fake::at(0);
    assert_eq!(
        raise(&machine, &settings(TRUTH), saved::load(directory.path())),
        "saved"
    );
    assert_eq!(machine.now(), (TRUTH + 5) * NANOSECONDS);
    let machine = Fake::at(0);
    assert_eq!(
        raise(
            &machine,
            &settings(TRUTH + 9),
            saved::load(directory.path())
        ),
        "floor"
    );
    assert_eq!(machine.now(), (TRUTH + 9) * NANOSECONDS);
    Ok(())
}

/// A server at 127.0.0.1 that says what `time` says and counts how often it was asked.
fn serve(stratum: u8, time: i64) -> io::Result<Arc<Mutex<u32>>> {
    serve_at(SERVER, stratum, time)
}

fn serve_at(address: Ipv4Addr, stratum: u8, time: i64) -> io::Result<Arc<Mutex<u32>>> {
    let socket = UdpSocket::bind((address, sntp::PORT))?;
    let asked = Arc::new(Mutex::new(0));
    let count = asked.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 128];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            let request = buffer.get(..length).unwrap_or_default();
            let answer =
                sntp::fake::answer(request, stratum, time * NANOSECONDS, time * NANOSECONDS);
            // Someone else's answer comes first and must not count.
            let mut forged = sntp::fake::answer(&[0xaa; 48], 1, 0, 0);
            forged.truncate(48);
            let _ = socket.send_to(&forged, client);
            let _ = socket.send_to(&answer, client);
        }
    });
    Ok(asked)
}

fn asker(world: &World, machine: &Fake) -> Keeper<Fake> {
    let persistent = world.persistent.subscribe();
    let mut keeper = Keeper::new(
        machine.clone(),
        settings(0),
        world.board.clone(),
        persistent,
        watch::Sender::default(),
    );
    keeper.network = Network::of(&world.board.snapshot());
    keeper
}

async fn round(keeper: &mut Keeper<Fake>) -> Round {
    let answers = keeper.ask(&keeper.to_ask()).await;
    keeper.judge(answers).await
}

/// Loopback up, and a link whose lease names the server.
async fn lease(world: &World) -> Outcome {
    lease_with(world, &[SERVER]).await
}

async fn lease_with(world: &World, servers: &[Ipv4Addr]) -> Outcome {
    world.loopback().await?;
    world.board.update(|status| {
        let lease = Lease {
            address: Ipv4Addr::new(10, 9, 0, 10),
            prefix: 24,
            server: SERVER,
            router: None,
            dns: Vec::new(),
            domain: None,
            search: Vec::new(),
            host_name: None,
            mtu: None,
            ntp: servers.to_vec(),
            seconds: None,
            renewals: 0,
        };
        status.links.push(Link {
            name: "eth0".into(),
            lease: Some(lease),
            ..Link::default()
        });
    });
    Ok(())
}

fn keeper(world: &World, machine: &Fake, settings: settings::Clock) -> tokio::task::JoinHandle<()> {
    let keeper = Keeper::new(
        machine.clone(),
        settings,
        world.board.clone(),
        world.persistent.subscribe(),
        watch::Sender::default(),
    );
    // Nobody tells of a snapshot.
    let (_, restored) = watch::channel(());
    tokio::spawn(keeper.run(restored, world.stop.clone()))
}

#[test]
fn the_first_answer_sets_clock_rtc_and_the_saved_time() -> Outcome {
    isolated(
        "clock::tests::the_first_answer_sets_clock_rtc_and_the_saved_time",
        &[],
        async |world| {
            let machine = Fake::at(978_307_200);
            let asked = serve(2, TRUTH)?;
            let persistent = world.directory.path().to_owned();
            world.persistent.send_replace(Some(persistent.clone()));
            let task = keeper(&world, &machine, settings(1_700_000_000));
            assert!(
                !world.board.snapshot().clock.synchronized,
                "nobody is asked without a network"
            );
            lease(&world).await?;
            let status = world
                .until("synchronisation", |status| status.clock.synchronized)
                .await?;
            assert_eq!(status.clock.source, "ntp 127.0.0.1");
            assert!(
                (status.clock.offset - (TRUTH - 1_700_000_000) as f64).abs() < 1e-3,
                "{}",
                status.clock.offset
            );
            world.stop.cancel();
            task.await?;
            assert_eq!(machine.now().div_euclid(NANOSECONDS), TRUTH);
            // The RTC is written beside the event loop.
            tokio::time::timeout(Duration::from_secs(10), async {
                while machine.with(|hands| hands.rtc).is_none() {
                    tokio::task::yield_now().await;
                }
            })
            .await?;
            assert_eq!(
                machine.with(|hands| hands.rtc.map(|time| time.div_euclid(NANOSECONDS))),
                Some(TRUTH)
            );
            assert_eq!(saved::load(&persistent), Some(TRUTH));
            assert_eq!(*asked.lock().unwrap_or_else(PoisonError::into_inner), 1);
            assert!(machine.with(|hands| hands.slewed.is_empty() && hands.error.is_some()));
            Ok(())
        },
    )
}

#[test]
fn a_server_may_set_the_clock_back_but_not_before_the_floor() -> Outcome {
    isolated(
        "clock::tests::a_server_may_set_the_clock_back_but_not_before_the_floor",
        &[],
        async |world| {
            let _asked = serve(2, TRUTH)?;
            lease(&world).await?;
            let later = Fake::at(TRUTH + 86_400);
            let task = keeper(&world, &later, settings(TRUTH - 1));
            world
                .until("synchronisation", |status| status.clock.synchronized)
                .await?;
            assert_eq!(later.now().div_euclid(NANOSECONDS), TRUTH);
            task.abort();

            let built_later = Fake::at(TRUTH + 86_400);
            let mut keeper = Keeper::new(
                built_later.clone(),
                settings(TRUTH + 60),
                world.board.clone(),
                world.persistent.subscribe(),
                watch::Sender::default(),
            );
            keeper.network = Network::of(&world.board.snapshot());
            let answers = keeper.ask(&keeper.to_ask()).await;
            assert_eq!(keeper.judge(answers).await, Round::Failed);
            assert_eq!(built_later.now(), (TRUTH + 86_400) * NANOSECONDS);
            Ok(())
        },
    )
}

#[test]
fn a_server_that_refuses_is_left_alone() -> Outcome {
    isolated(
        "clock::tests::a_server_that_refuses_is_left_alone",
        &[],
        async |world| {
            let asked = serve(0, TRUTH)?;
            lease(&world).await?;
            let machine = Fake::at(TRUTH);
            let mut keeper = Keeper::new(
                machine,
                settings(0),
                world.board.clone(),
                world.persistent.subscribe(),
                watch::Sender::default(),
            );
            keeper.network = Network::of(&world.board.snapshot());
            assert_eq!(keeper.to_ask(), ["127.0.0.1"]);
            let answers = keeper.ask(&keeper.to_ask()).await;
            assert_eq!(keeper.judge(answers).await, Round::Failed);
            assert_eq!(keeper.to_ask(), [""; 0]);
            assert_eq!(*asked.lock().unwrap_or_else(PoisonError::into_inner), 1);
            Ok(())
        },
    )
}

#[test]
fn a_link_without_a_lease_is_a_network_too() {
    let status = |configured| Status {
        links: vec![Link {
            configured,
            ..Link::default()
        }],
        ..Status::default()
    };
    assert!(!Network::of(&status(false)).up);
    assert!(Network::of(&status(true)).up);
}

#[test]
fn a_dhcpv6_server_names_time_servers_too() {
    let status = Status {
        links: vec![Link {
            lease6: Some(Lease6 {
                ntp: vec![Ipv6Addr::LOCALHOST],
                ..Lease6::default()
            }),
            ..Link::default()
        }],
        ..Status::default()
    };
    assert_eq!(Network::of(&status).servers, ["::1"]);
}

#[test]
fn the_host_sets_the_clock_either_way_but_not_before_the_floor() {
    let machine = Fake::at(TRUTH + 100);
    let board = Board::new(Status::default());
    let set =
        |time: i64| outside::set_on(&machine, &settings(TRUTH), &board, Some(time * NANOSECONDS));
    assert!(set(TRUTH + 10).is_ok());
    assert_eq!(machine.now(), (TRUTH + 10) * NANOSECONDS);
    assert_eq!(
        machine.with(|hands| hands.rtc),
        Some((TRUTH + 10) * NANOSECONDS)
    );
    assert_eq!(board.snapshot().clock.source, "host");
    let error = set(TRUTH - 1).map_err(|error| error.to_string());
    assert_eq!(
        error,
        Err("2026-11-23T11:59:59Z is before the image's floor".into())
    );
    assert_eq!(machine.now(), (TRUTH + 10) * NANOSECONDS);
}

#[test]
fn a_disk_that_hangs_does_not_stop_the_clock() -> Outcome {
    isolated(
        "clock::tests::a_disk_that_hangs_does_not_stop_the_clock",
        &[],
        async |world| {
            let machine = Fake::at(978_307_200);
            let _asked = serve(2, TRUTH)?;
            // Whoever opens a directory of this kind waits; so does who opens a FIFO that nobody writes to.
            let hanging = world.directory.path().join("hanging");
            nix::unistd::mkfifo(&hanging, nix::sys::stat::Mode::S_IRWXU)?;
            world.persistent.send_replace(Some(hanging.clone()));
            let task = keeper(&world, &machine, settings(1_700_000_000));
            lease(&world).await?;
            world
                .until("synchronisation", |status| status.clock.synchronized)
                .await?;
            world.board.update(|status| status.links.clear());
            world.stop.cancel();
            // It does not wait for the disk for ever.
            tokio::time::timeout(Duration::from_secs(30), task).await??;
            // Lets the threads go.
            drop(
                std::fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .open(&hanging)?,
            );
            Ok(())
        },
    )
}
