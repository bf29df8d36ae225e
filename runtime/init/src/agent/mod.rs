//! What a hypervisor's tools ask a guest for, and have it do: the QEMU guest agent's protocol, on the virtio-serial port
//! `org.qemu.guest_agent.0`, when there is one or as soon as there is.
//!
//! There is no command that reads or writes files or starts programs: what the host can do by this it could do without.

mod disks;
mod facts;
mod freeze;
mod port;
pub(crate) mod protocol;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tinyboot::status::{Action, Status};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::power;
use crate::settings;
use crate::status::Board;
use crate::threads;
use crate::uevent::{Event, Subscription};
use freeze::{FileSystem, Freeze, Mounted, Thawed};
use port::{Heard, Port};
use protocol::{Command, Fault, Mode, Reader, Refused, Request, SENTINEL};

/// The place that is frozen.
const PERSISTENT: &str = "/persistent";
/// How long it stays frozen without a word to thaw it: a snapshot takes seconds, and whoever asked may be gone.
const LONGEST_FREEZE: Duration = Duration::from_secs(60);
/// How long a disk may take to write everything before it stands still.
const FREEZING: Duration = Duration::from_secs(20);
/// How long it may take to thaw.
const THAWING: Duration = Duration::from_secs(5);

/// What the agent needs from the rest of init.
pub struct Surroundings {
    /// What it tells about.
    pub board: Board,
    /// Ports that come.
    pub uevents: Subscription,
    /// Where it asks for a shutdown.
    pub requests: mpsc::UnboundedSender<power::Request>,
    /// Where `/persistent` is as long as it can be written: nowhere while it is frozen, so that init does not wait for it.
    pub persistent: watch::Sender<Option<PathBuf>>,
    /// Whether writers to it wait, so that nothing is expected of the app.
    pub frozen: watch::Sender<bool>,
    /// The clock's settings.
    pub clock: settings::Clock,
}

/// Answers whoever is at the other end of the port, until `stop` is cancelled. What is frozen is thawed before a
/// shutdown, and then.
pub async fn run(surroundings: Surroundings, stop: CancellationToken) {
    let Surroundings {
        board,
        mut uevents,
        requests,
        persistent,
        frozen,
        clock,
    } = surroundings;
    let mut status = board.subscribe();
    let mut agent = Agent {
        board,
        requests,
        persistent,
        clock,
        file_system: || Mounted::at(PERSISTENT.into()),
        held: frozen,
        frozen: None,
    };
    let mut reader = Reader::default();
    let mut buffer = [0; 4096];
    let mut port = open();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            event = uevents.next(), if port.is_none() => {
                if is_of_a_port(&event) {
                    port = open();
                    reader.reset();
                }
            }
            heard = listen(port.as_mut(), &mut buffer) => match (heard, &mut port) {
                (Ok(Heard::Bytes(length)), Some(port)) => {
                    for request in reader.push(buffer.get(..length).unwrap_or_default()) {
                        port.send(&agent.answer(request).await);
                    }
                    // A host that never stops asking must not keep the others from their turn.
                    tokio::task::yield_now().await;
                }
                (Ok(_), _) => reader.reset(),
                (Err(error), _) => {
                    log::info!("agent: the port is gone: {error}");
                    port = None;
                }
            },
            thawed = overdue(&mut agent.frozen) => agent.thawed(&thawed),
            () = shutdown(&mut status), if agent.frozen.is_some() => agent.thaw_for_shutdown().await,
        }
    }
    agent.thaw_for_shutdown().await;
}

/// Waits until one is asked for.
async fn shutdown(status: &mut watch::Receiver<Status>) {
    // The board lives as long as init does.
    let _ = status.wait_for(|status| status.shutdown.is_some()).await;
}

fn is_of_a_port(event: &Event) -> bool {
    match event {
        // Its name comes later than the port itself, by a change.
        Event::Device(uevent) => {
            uevent.field("SUBSYSTEM") == "virtio-ports" && uevent.action != "remove"
        }
        Event::Lost => true,
    }
}

fn open() -> Option<Port> {
    let name = port::find(Path::new(port::CLASS))?;
    match Port::open(&Path::new("/dev").join(&name)) {
        Ok(port) => {
            log::info!("agent: answers the host on {name}");
            Some(port)
        }
        Err(error) => {
            log::warn!("agent: /dev/{name} cannot be opened: {error}");
            None
        }
    }
}

async fn listen(port: Option<&mut Port>, buffer: &mut [u8]) -> io::Result<Heard> {
    match port {
        Some(port) => port.next(buffer).await,
        None => std::future::pending().await,
    }
}

async fn overdue(frozen: &mut Option<Frozen>) -> Thawed {
    match frozen {
        Some(frozen) => frozen.freeze.overdue().await,
        None => std::future::pending().await,
    }
}

struct Frozen {
    freeze: Freeze,
    since: Instant,
}

/// Does what is asked for. `F` makes what is frozen.
struct Agent<F> {
    board: Board,
    requests: mpsc::UnboundedSender<power::Request>,
    persistent: watch::Sender<Option<PathBuf>>,
    clock: settings::Clock,
    file_system: F,
    /// Whether writers wait.
    held: watch::Sender<bool>,
    frozen: Option<Frozen>,
}

impl<S: FileSystem, F: Fn() -> S> Agent<F> {
    /// The bytes to answer with; none for a shutdown.
    async fn answer(&mut self, request: Result<Request, Refused>) -> Vec<u8> {
        let Request { id, command } = match request {
            Ok(request) => request,
            Err(Refused { id, fault }) => return protocol::answer(id, Err(fault)),
        };
        let mut bytes = match command {
            Command::Sync {
                delimited: true, ..
            } => vec![SENTINEL],
            _ => Vec::new(),
        };
        match self.execute(command).await {
            Ok(None) => {}
            Ok(Some(value)) => bytes.extend(protocol::answer(id, Ok(value))),
            Err(fault) => bytes.extend(protocol::answer(id, Err(fault))),
        }
        bytes
    }

    async fn execute(&mut self, command: Command) -> Result<Option<Value>, Fault> {
        let failed =
            |what: &str, error: &dyn std::fmt::Display| Fault::Failed(format!("{what}: {error}."));
        let value = match command {
            Command::Sync { id, .. } => Value::Number(id),
            Command::Ping => json!({}),
            Command::Info => facts::info(),
            Command::OsInfo => facts::os_info(&self.board.snapshot().name)
                .map_err(|error| failed("The kernel does not say its name", &error.desc()))?,
            Command::HostName => {
                let name = nix::unistd::gethostname()
                    .map_err(|error| failed("The host name cannot be read", &error.desc()))?;
                json!({ "host-name": name.to_string_lossy() })
            }
            Command::Time => clock::now().into(),
            Command::SetTime(time) => {
                let (clock, board) = (self.clock.clone(), self.board.clone());
                // The RTC takes up to a second.
                threads::DEVICES
                    .run(move || clock::set(&clock, &board, time))
                    .await
                    .map_err(|error| failed("The time cannot be set", &error))?;
                json!({})
            }
            Command::Interfaces => facts::interfaces().map_err(|error| {
                failed("The network interfaces cannot be listed", &error.desc())
            })?,
            Command::FileSystems => disks::file_systems(&self.board.snapshot().storage),
            Command::Disks => disks::disks(),
            Command::Processors => facts::processors(),
            Command::Load => facts::load()
                .map_err(|error| failed("The kernel does not say how busy it is", &error))?,
            // Nobody can log in, and nothing here knows of another time zone.
            Command::Users => json!([]),
            Command::Timezone => json!({ "zone": "UTC", "offset": 0 }),
            Command::Shutdown(mode) => {
                self.shut_down(mode);
                return Ok(None);
            }
            Command::FreezeStatus => match self.frozen {
                Some(_) => "frozen".into(),
                None => "thawed".into(),
            },
            Command::Freeze(places) => self.freeze(places.as_deref()).await?.into(),
            Command::Thaw => self.thaw().await?.into(),
        };
        Ok(Some(value))
    }

    fn shut_down(&self, mode: Mode) {
        let action = match mode {
            // A machine that is halted and not off serves nobody.
            Mode::Halt | Mode::PowerDown => Action::PowerOff,
            Mode::Reboot => Action::Reboot,
        };
        // Init listens as long as it lives.
        let _ = self.requests.send(power::Request {
            action,
            reason: "guest agent",
        });
    }

    /// How many file systems are frozen now.
    async fn freeze(&mut self, places: Option<&[String]>) -> Result<u32, Fault> {
        if self.frozen.is_some() {
            return Err(Fault::Failed(format!("{PERSISTENT} is frozen already.")));
        }
        let status = self.board.snapshot();
        if status.shutdown.is_some() {
            return Err(Fault::Failed("The machine is stopping.".into()));
        }
        let writable = status
            .storage
            .persistent
            .is_some_and(|mount| !mount.read_only);
        if !writable || places.is_some_and(|places| !places.iter().any(|place| place == PERSISTENT))
        {
            return Ok(0);
        }
        let failed =
            |error: io::Error| Fault::Failed(format!("{PERSISTENT} cannot be frozen: {error}."));
        self.persistent.send_replace(None);
        self.held.send_replace(true);
        let begun = Freeze::begin((self.file_system)(), LONGEST_FREEZE).map_err(failed);
        let mut status = self.board.subscribe();
        let result = match begun {
            Ok(mut freeze) => {
                let result = tokio::select! {
                    result = timeout(FREEZING, freeze.frozen()) => result.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
                    () = shutdown(&mut status) => Err(io::ErrorKind::Interrupted.into()),
                };
                result.map(|()| freeze).map_err(failed)
            }
            Err(fault) => Err(fault),
        };
        match result {
            Ok(freeze) => {
                log::info!("agent: {PERSISTENT} is frozen");
                self.frozen = Some(Frozen {
                    freeze,
                    since: Instant::now(),
                });
                Ok(1)
            }
            Err(fault) => {
                self.restore();
                Err(fault)
            }
        }
    }

    /// How many were thawed.
    async fn thaw(&mut self) -> Result<u32, Fault> {
        let Some(Frozen { freeze, since }) = self.frozen.take() else {
            return Ok(0);
        };
        let thawed = timeout(THAWING, freeze.thaw()).await.unwrap_or(Thawed {
            overdue: false,
            result: Err(io::ErrorKind::TimedOut.into()),
        });
        self.restore();
        match thawed {
            // It was just then that the time was over.
            Thawed { overdue: true, .. } => Ok(0),
            Thawed { result: Ok(()), .. } => {
                log::info!(
                    "agent: {PERSISTENT} is thawed after {:.1} s",
                    since.elapsed().as_secs_f64()
                );
                Ok(1)
            }
            Thawed {
                result: Err(error), ..
            } => Err(Fault::Failed(format!(
                "{PERSISTENT} cannot be thawed: {error}."
            ))),
        }
    }

    /// Before the app is to stop: it may have something to write.
    async fn thaw_for_shutdown(&mut self) {
        if let Err(fault) = self.thaw().await {
            log::error!("agent: {fault}");
        }
    }

    /// It was thawed because the time was over.
    fn thawed(&mut self, thawed: &Thawed) {
        self.frozen = None;
        self.restore();
        match &thawed.result {
            Ok(()) => log::warn!(
                "agent: {PERSISTENT} was frozen for {} s and is thawed, since nobody did it; a snapshot that is taken now is not consistent",
                LONGEST_FREEZE.as_secs()
            ),
            Err(error) => log::error!("agent: {PERSISTENT} cannot be thawed: {error}"),
        }
    }

    /// Lets init write again, if there is still a place to write to, and the app's deadlines count.
    fn restore(&self) {
        self.held.send_replace(false);
        let mount = self.board.snapshot().storage.persistent;
        let path = mount
            .filter(|mount| !mount.read_only)
            .map(|mount| mount.path);
        self.persistent.send_replace(path);
    }
}

#[cfg(test)]
mod tests;
