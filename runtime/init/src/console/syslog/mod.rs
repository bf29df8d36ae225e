//! Lines to a syslog server. Nobody waits for it: lines are put into a queue of bounded size, and what finds no room is counted
//! and told once the server takes lines again.

pub(crate) mod message;
pub(crate) mod target;

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Mutex;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{REMOTE, Record, Source, since_boot};
use crate::settings;
use crate::status::Board;
use crate::threads;
use message::{Origin, counted, format};
pub use target::{Target, Transport};

/// How much waits at most, in bytes of text and [`COST`] for each line.
const ROOM: usize = 256 * 1024;
const COST: usize = 64;
/// How long resolving, connecting and sending may take.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A datagram into the void is sent without an error, so that a server's name is looked up again after this time.
const FRESH: Duration = Duration::from_secs(60);
/// How much of what a server says is read, to notice when it ends the stream. Its stream stands still at more.
const IGNORED: usize = 4096;
/// How long the last lines may take when the machine stops.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Lines on their way to the server.
#[derive(Debug)]
pub struct Queue {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug)]
struct Waiting {
    records: VecDeque<Record>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl Queue {
    /// An empty queue, which takes lines from now on.
    pub const fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                records: VecDeque::new(),
                bytes: 0,
                dropped: 0,
                closed: false,
            }),
            more: Notify::const_new(),
        }
    }

    /// Adds a line, or counts it.
    pub fn push(&self, record: &Record) {
        let Ok(mut waiting) = self.waiting.lock() else {
            return;
        };
        if waiting.closed {
            return;
        }
        let cost = COST + record.text.len();
        if waiting.bytes + cost > ROOM {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += cost;
        waiting.records.push_back(record.clone());
        drop(waiting);
        self.more.notify_one();
    }

    /// Takes no lines any more, and forgets those that wait: there is no server.
    pub fn close(&self) {
        if let Ok(mut waiting) = self.waiting.lock() {
            waiting.closed = true;
            waiting.records = VecDeque::new();
        }
    }

    /// The next line; how many were lost comes after the last one that was not.
    async fn next(&self) -> Record {
        loop {
            // Registered before the queue is looked at, so that no line is missed.
            let mut more = pin!(self.more.notified());
            more.as_mut().enable();
            if let Some(record) = self.take() {
                return record;
            }
            more.await;
        }
    }

    /// The next line, if there is one.
    pub(super) fn take(&self) -> Option<Record> {
        let mut waiting = self.waiting.lock().ok()?;
        if let Some(record) = waiting.records.pop_front() {
            waiting.bytes -= COST + record.text.len();
            return Some(record);
        }
        let lost = std::mem::take(&mut waiting.dropped);
        (lost > 0).then(|| Record {
            at: since_boot(),
            source: Source::Init,
            severity: 4,
            text: lost_text(lost),
        })
    }
}

fn lost_text(lost: u64) -> String {
    format!("log: {lost} lines were not sent, the syslog server was away or too slow")
}

/// Sends the machine's lines to the server of the settings, if there is one, until `stop` is cancelled.
pub async fn start(settings: settings::Log, name: String, board: Board, stop: CancellationToken) {
    let Some(text) = settings.syslog else {
        return REMOTE.close();
    };
    let Some(target) = Target::parse(&text) else {
        log::error!(
            "log: lines are sent nowhere: \"{text}\" is neither udp://host:port nor tcp://host:port"
        );
        return REMOTE.close();
    };
    // Until then every server is out of reach, which is nothing to complain about.
    let mut status = board.subscribe();
    let has_network = status.wait_for(|status| status.links.iter().any(|link| link.configured));
    tokio::select! {
        _ = timeout(PATIENCE, has_network) => {}
        () = stop.cancelled() => {}
    }
    run(&REMOTE, target, name, board, stop).await;
}

/// Sends what comes into `queue` to `target` until `stop` is cancelled, and what waits then for a moment more, whatever the server
/// does.
pub async fn run(
    queue: &Queue,
    target: Target,
    app: String,
    board: Board,
    stop: CancellationToken,
) {
    let sender = Sender {
        target,
        app,
        board,
        sink: None,
        complaint: false,
    };
    let end = async {
        stop.cancelled().await;
        sleep(LAST_WORDS).await;
    };
    tokio::select! {
        () = send_all(queue, sender, &stop) => {}
        () = end => {}
    }
    queue.close();
}

/// Ends after `stop`, when the queue is empty or a line cannot be sent.
async fn send_all(queue: &Queue, mut sender: Sender, stop: &CancellationToken) {
    let mut pause = FIRST_PAUSE;
    loop {
        let record = tokio::select! {
            record = queue.next() => record,
            // A server that closes a stream is noticed before the next line goes there.
            () = closed(sender.sink.as_mut()) => {
                sender.sink = None;
                continue;
            }
            () = stop.cancelled() => match queue.take() {
                Some(record) => record,
                None => return,
            },
        };
        loop {
            let last_attempt = stop.is_cancelled();
            if !last_attempt {
                sender.refresh().await;
            }
            match sender.send(&record).await {
                Ok(()) => break,
                Err(_) if last_attempt => return,
                Err(error) => sender.failed(&error),
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        pause = FIRST_PAUSE;
    }
}

#[derive(Debug)]
enum Sink {
    /// With the time at which its address was looked up.
    Udp(UdpSocket, Instant),
    /// With how much more of what comes is read.
    Tcp(TcpStream, usize),
}

struct Sender {
    target: Target,
    app: String,
    board: Board,
    sink: Option<Sink>,
    /// Whether the log says already that nothing gets there.
    complaint: bool,
}

impl Sender {
    /// Looks the name of a server of datagrams up again now and then. The old address stays while there is no new one.
    async fn refresh(&mut self) {
        let Some(Sink::Udp(_, since)) = &mut self.sink else {
            return;
        };
        if since.elapsed() < FRESH {
            return;
        }
        *since = Instant::now();
        if let Ok(sink) = within(connect(&self.target)).await {
            self.sink = Some(sink);
        }
    }

    async fn send(&mut self, record: &Record) -> io::Result<()> {
        let message = self.message(record);
        // A datagram that nobody took is told at the next one, and a stream may have ended meanwhile: once more is no luxury.
        let had_sink = self.sink.is_some();
        let mut result = self.send_once(&message).await;
        if result.is_err() && had_sink {
            self.sink = None;
            result = self.send_once(&message).await;
        }
        if result.is_err() {
            self.sink = None;
        } else if std::mem::take(&mut self.complaint) {
            log::info!("log: lines go to {}", self.target);
        }
        result
    }

    async fn send_once(&mut self, message: &[u8]) -> io::Result<()> {
        let sink = match &mut self.sink {
            Some(sink) => sink,
            None => {
                let sink = within(connect(&self.target)).await?;
                self.sink.insert(sink)
            }
        };
        match sink {
            Sink::Udp(socket, _) => within(socket.send(message)).await.map(drop),
            Sink::Tcp(stream, _) => within(stream.write_all(&counted(message))).await,
        }
    }

    fn message(&self, record: &Record) -> Vec<u8> {
        let host = nix::unistd::gethostname().unwrap_or_default();
        let origin = Origin {
            host: host.to_string_lossy().into_owned(),
            app: self.app.clone(),
        };
        // The time at which it was said, by the clock as it is now: it may have been set meanwhile.
        let age = since_boot().saturating_sub(record.at);
        let now = clock_gettime(ClockId::CLOCK_REALTIME)
            .map(Duration::from)
            .unwrap_or_default();
        let synchronized = self.board.snapshot().clock.synchronized;
        format(record, &origin, now.saturating_sub(age), synchronized)
    }

    fn failed(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.complaint, true) {
            log::warn!("log: {} cannot be reached: {error}", self.target);
        }
    }
}

async fn within<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(PATIENCE, work).await?
}

async fn connect(target: &Target) -> io::Result<Sink> {
    let mut result = Err(io::ErrorKind::NotFound.into());
    for address in threads::resolve(&target.host, target.port).await? {
        let attempt = async {
            match target.transport {
                Transport::Udp => {
                    let any = if address.is_ipv4() {
                        "0.0.0.0:0"
                    } else {
                        "[::]:0"
                    };
                    let socket = UdpSocket::bind(any).await?;
                    socket.connect(address).await?;
                    Ok(Sink::Udp(socket, Instant::now()))
                }
                Transport::Tcp => {
                    let stream = TcpStream::connect(address).await?;
                    let socket = SockRef::from(&stream);
                    // A server that is gone without a word is noticed within a minute or two.
                    socket.set_tcp_keepalive(
                        &TcpKeepalive::new()
                            .with_time(LONGEST_PAUSE)
                            .with_interval(PATIENCE),
                    )?;
                    socket.set_tcp_user_timeout(Some(LONGEST_PAUSE))?;
                    Ok(Sink::Tcp(stream, IGNORED))
                }
            }
        };
        result = attempt.await;
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Ends when a stream has ended; what the server says is of no interest, and is not read without a bound.
async fn closed(sink: Option<&mut Sink>) {
    let Some(Sink::Tcp(stream, left)) = sink else {
        return std::future::pending().await;
    };
    let mut ignored = [0; 256];
    while *left > 0 {
        let room = (*left).min(ignored.len());
        match stream
            .read(ignored.get_mut(..room).unwrap_or_default())
            .await
        {
            Ok(length @ 1..) => *left = left.saturating_sub(length),
            _ => return,
        }
    }
    // The next line that cannot be sent tells.
    std::future::pending().await
}

#[cfg(test)]
mod tests;
