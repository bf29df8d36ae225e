//! The machine's lines, those of init, of the app and of the kernel: on each console, in memory ([`ring`]), and to a syslog server
//! ([`syslog`]) if there is one.
//!
//! A thread of its own writes, so that a slow serial line never holds up the event loop. The app waits for room, by way
//! of its pipe; init does not wait: beyond [`OWN_LIMIT`] lines its own are counted and the number is told.
//!
//! The lines do not go through `/dev/kmsg`: the kernel limits its rate and cuts long lines.

pub mod kernel;
pub(crate) mod kmsg;
pub(crate) mod line;
mod ring;
pub mod syslog;

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::priority;
pub use line::{Splitter, escaped};
pub use ring::PATH as LOG;
use ring::Ring;

/// How many lines of init and of the kernel wait for the consoles at most.
const OWN_LIMIT: usize = 2000;
/// How many lines of the app do; then the app waits.
const APP_LIMIT: usize = 256;
/// How long a console may take no byte until lines pass it by.
const PATIENCE: Duration = Duration::from_secs(5);

static QUEUE: OnceLock<Queue> = OnceLock::new();
/// Lines for the syslog server, also those from before anybody knows whether there is one.
pub static REMOTE: syslog::Queue = syslog::Queue::new();

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Init.
    Init,
    /// The app.
    App,
    /// The kernel.
    Kernel,
    /// A process that writes into the kernel's log.
    Kmsg,
}

impl Source {
    fn name(self) -> &'static str {
        match self {
            Self::Init => "tinyboot",
            Self::App => "app",
            Self::Kernel => "kernel",
            Self::Kmsg => "kmsg",
        }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Time since boot.
    pub at: Duration,
    /// Who says it.
    pub source: Source,
    /// In syslog's numbers: 3 is an error, 4 a warning, 6 information.
    pub severity: u8,
    /// Without anything that a terminal would obey.
    pub text: String,
}

impl Record {
    fn rendered(&self) -> Vec<u8> {
        line::render(self.at, self.source.name(), &self.text)
    }
}

struct Queue {
    sender: Sender<Message>,
    own: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
    room: Arc<Semaphore>,
}

enum Message {
    /// A line of init or the kernel, and whether it is for the consoles too.
    Own(Vec<u8>, bool),
    App(Vec<u8>, OwnedSemaphorePermit),
    Consoles(Vec<Console>),
    Keep(PathBuf),
    Flush(Sender<()>),
}

/// Time since boot, as all of init's messages tell it (`CLOCK_BOOTTIME`).
pub fn since_boot() -> Duration {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}

/// Starts the writer on `/dev/console` and makes it the receiver of the `log` macros.
///
/// # Errors
///
/// No thread could be started, or it was called a second time.
pub fn start() -> io::Result<()> {
    let (sender, receiver) = mpsc::channel();
    let queue = Queue {
        sender,
        own: Arc::default(),
        dropped: Arc::default(),
        room: Arc::new(Semaphore::new(APP_LIMIT)),
    };
    let (own, dropped) = (queue.own.clone(), queue.dropped.clone());
    let first = Console::open(Path::new("/dev/console"))
        .into_iter()
        .collect();
    thread::Builder::new()
        .name("console".into())
        .spawn(move || {
            // Who asked for the machine's end is to be read also while the app takes all of the processor.
            priority::raise();
            write_all(&receiver, first, &own, &dropped);
        })?;
    QUEUE
        .set(queue)
        .map_err(|_| io::Error::from(io::ErrorKind::AlreadyExists))?;
    log::set_logger(&Logger).map_err(io::Error::other)?;
    log::set_max_level(log::LevelFilter::Info);
    Ok(())
}

/// Turns from `/dev/console`, which is one console, to all those that the kernel writes to. Needs sysfs and devtmpfs.
pub fn open_active() {
    let active = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let mut consoles = Vec::new();
    for name in active.split_ascii_whitespace() {
        match Console::open(&Path::new("/dev").join(name)) {
            Ok(console) => consoles.push(console),
            Err(error) => log::warn!("console: /dev/{name} cannot be opened: {error}"),
        }
    }
    if let (Some(queue), false) = (QUEUE.get(), consoles.is_empty()) {
        // The writer lives as long as the process does.
        let _ = queue.sender.send(Message::Consoles(consoles));
    }
}

/// Keeps the last lines in memory where the app can read them, those from before too. Needs `/run`.
pub fn keep() {
    if let Some(queue) = QUEUE.get() {
        let _ = queue.sender.send(Message::Keep(ring::PATH.into()));
    }
}

/// Writes one line of the app, when there is room. Cancelling the future loses the line.
pub async fn app_line(text: &[u8]) {
    let Some(queue) = QUEUE.get() else { return };
    if let Ok(permit) = queue.room.clone().acquire_owned().await {
        let record = Record {
            at: since_boot(),
            source: Source::App,
            severity: 6,
            text: escaped(text),
        };
        REMOTE.push(&record);
        let _ = queue.sender.send(Message::App(record.rendered(), permit));
    }
}

/// Tells a line of init or the kernel, on the consoles if it is `shown`. Beyond a limit lines are counted.
fn tell(at: Duration, source: Source, severity: u8, text: &[u8], shown: bool) {
    let record = Record {
        at,
        source,
        severity,
        text: escaped(text),
    };
    REMOTE.push(&record);
    let Some(queue) = QUEUE.get() else { return };
    if queue.own.fetch_add(1, Ordering::Relaxed) >= OWN_LIMIT {
        queue.own.fetch_sub(1, Ordering::Relaxed);
        queue.dropped.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let _ = queue.sender.send(Message::Own(record.rendered(), shown));
}

/// Blocks until all that was logged is on the consoles, `limit` at most.
pub fn flush(limit: Duration) {
    let Some(queue) = QUEUE.get() else { return };
    let (sender, done) = mpsc::channel();
    if queue.sender.send(Message::Flush(sender)).is_ok() {
        let _ = done.recv_timeout(limit);
    }
}

struct Logger;

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // Libraries log details of their own; what matters of them comes back as an error.
        metadata.target().starts_with("tinyboot")
    }

    fn log(&self, record: &log::Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let severity = match record.level() {
            log::Level::Error => 3,
            log::Level::Warn => 4,
            _ => 6,
        };
        let text = record.args().to_string();
        tell(since_boot(), Source::Init, severity, text.as_bytes(), true);
    }

    fn flush(&self) {}
}

fn write_all(
    receiver: &Receiver<Message>,
    mut consoles: Vec<Console>,
    own: &AtomicUsize,
    dropped: &AtomicUsize,
) {
    let mut ring = Ring::default();
    while let Ok(message) = receiver.recv() {
        match message {
            Message::Own(text, shown) => {
                ring.push(&text);
                if shown {
                    consoles.iter_mut().for_each(|console| console.write(&text));
                }
                own.fetch_sub(1, Ordering::Relaxed);
                let lost = dropped.swap(0, Ordering::Relaxed);
                if lost > 0 {
                    let text = format!(
                        "console: {lost} lines of init and the kernel were lost, the consoles are too slow"
                    );
                    let text = line::render(since_boot(), "tinyboot", &text);
                    ring.push(&text);
                    consoles.iter_mut().for_each(|console| console.write(&text));
                }
            }
            Message::App(text, room) => {
                ring.push(&text);
                consoles.iter_mut().for_each(|console| console.write(&text));
                drop(room);
            }
            Message::Keep(path) => ring.keep(path),
            Message::Consoles(opened) => consoles = opened,
            Message::Flush(done) => {
                let _ = done.send(());
            }
        }
    }
}

struct Console {
    path: PathBuf,
    file: File,
    /// How many lines in a row this console did not take.
    lost: usize,
}

impl Console {
    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.into(),
            file: open(path)?,
            lost: 0,
        })
    }

    /// Writes `text`; a console that takes nothing for [`PATIENCE`] is passed by until it takes bytes again.
    fn write(&mut self, text: &[u8]) {
        if self.lost > 0 {
            let notice = format!(
                "console: {} lines are missing here, this console took none",
                self.lost
            );
            let notice = line::render(since_boot(), "tinyboot", &notice);
            if !self.ready(Duration::ZERO) || !self.put(&notice) {
                self.lost += 1;
                return;
            }
            self.lost = 0;
        }
        if !self.put(text) {
            self.lost = 1;
        }
    }

    /// Whether the console took all of `text`.
    fn put(&mut self, mut text: &[u8]) -> bool {
        let mut is_fresh = false;
        while !text.is_empty() {
            match self.file.write(text) {
                Ok(count) => text = text.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !self.ready(PATIENCE) {
                        return false;
                    }
                }
                // The kernel hangs a terminal up when the process that it controls ends; a program made it its own by opening it.
                // A descriptor from before is useless then, and a new one is not. Once a line, so that nobody keeps init here.
                Err(_) if !is_fresh => match open(&self.path) {
                    Ok(file) => {
                        self.file = file;
                        is_fresh = true;
                    }
                    Err(_) => return false,
                },
                // There is nowhere to report a console that is gone.
                Err(_) => return false,
            }
        }
        true
    }

    fn ready(&self, limit: Duration) -> bool {
        let mut polled = [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)];
        let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
        poll(&mut polled, timeout).is_ok_and(|count| count > 0)
    }
}

fn open(path: &Path) -> io::Result<File> {
    // No controlling terminal: a Ctrl-C on the serial line is not for init.
    let flags = nix::libc::O_NOCTTY | nix::libc::O_NONBLOCK;
    OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::{FromRawFd, OwnedFd};
    use std::os::unix::fs::symlink;

    /// A terminal: its other side, and its path.
    fn terminal() -> io::Result<(File, PathBuf)> {
        let (mut other, mut own) = (-1, -1);
        let none = std::ptr::null_mut();
        // SAFETY: the two numbers are written; name, settings and size may be null.
        let result = unsafe {
            nix::libc::openpty(&raw mut other, &raw mut own, none, none.cast(), none.cast())
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: openpty gave both, and nobody else has them.
        let (other, own) = unsafe { (File::from_raw_fd(other), OwnedFd::from_raw_fd(own)) };
        let path = fs::read_link(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&own)
        ))?;
        Ok((other, path))
    }

    /// All that the terminal gets up to a line that ends with `last`; an error if that does not come.
    fn heard(terminal: &mut File, last: &str) -> io::Result<String> {
        let mut text = String::new();
        while !text.ends_with(&format!("{last}\r\n")) {
            let mut polled = [PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, PollTimeout::from(20_000u16))? == 0 {
                return Err(io::Error::other(format!("there is only {text:?}")));
            }
            let mut bytes = [0; 1000];
            let length = terminal.read(&mut bytes)?;
            text += &String::from_utf8_lossy(bytes.get(..length).unwrap_or_default());
        }
        Ok(text)
    }

    #[test]
    fn a_console_that_was_hung_up_is_opened_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("console");
        let turn_to = |terminal: &Path| {
            let _ = fs::remove_file(&path);
            symlink(terminal, &path)
        };
        let (mut first, name) = terminal()?;
        turn_to(&name)?;
        let mut console = Console::open(&path)?;
        console.write(b"one\n");
        assert_eq!(heard(&mut first, "one")?, "one\r\n");

        let (mut second, name) = terminal()?;
        turn_to(&name)?;
        drop(first);
        console.write(b"two\n");
        assert_eq!(heard(&mut second, "two")?, "two\r\n");

        // Gone, and then back.
        fs::remove_file(&path)?;
        drop(second);
        console.write(b"three\n");
        console.write(b"four\n");
        let (mut third, name) = terminal()?;
        turn_to(&name)?;
        console.write(b"five\n");
        let text = heard(&mut third, "five")?;
        assert!(text.contains("console: 2 lines are missing here"), "{text}");
        Ok(())
    }
}
