//! The port to the host: a character device of virtio-serial, which the host opens and closes as it likes.
//!
//! As long as no host has it open, reading gives an end of file and poll(2) says "hung up", both at once and again and
//! again. So the port is not polled for its state but for changes of it: an epoll instance of its own watches it
//! edge-triggered, and the event loop watches that instance, which never hangs up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::poll::PollTimeout;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use tokio::io::unix::AsyncFd;

/// The name by which hosts know the agent's port.
const NAME: &str = "org.qemu.guest_agent.0";
/// A directory for each port.
pub const CLASS: &str = "/sys/class/virtio-ports";

/// The port of that name below `class`, as the kernel calls it.
pub fn find(class: &Path) -> Option<String> {
    let entry = fs::read_dir(class).ok()?.flatten().find(|entry| {
        fs::read_to_string(entry.path().join("name")).is_ok_and(|name| name.trim_end() == NAME)
    })?;
    entry.file_name().into_string().ok()
}

/// What happened at the port.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// So many bytes came.
    Bytes(usize),
    /// No host is listening any more.
    Closed,
}

struct Changes(Epoll);

impl AsRawFd for Changes {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

/// An open port.
pub struct Port {
    file: File,
    changes: AsyncFd<Changes>,
    outgoing: Vec<u8>,
    closed: bool,
}

impl Port {
    /// Opens a device for this process alone.
    ///
    /// # Errors
    ///
    /// What the kernel says, `EBUSY` when another process has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)?;
        Self::new(OwnedFd::from(file))
    }

    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLET;
        epoll.add(&file, EpollEvent::new(flags, 0))?;
        // SAFETY: the epoll instance owns its descriptor and is neither replaced nor closed as long as it is registered.
        let changes = unsafe {
            AsyncFd::register_with_interest(Changes(epoll), tokio::io::Interest::READABLE)
        }?;
        Ok(Self {
            file,
            changes,
            outgoing: Vec::new(),
            closed: true,
        })
    }

    /// Has bytes written by [`Port::next`], before anything more is read.
    pub fn send(&mut self, bytes: &[u8]) {
        self.outgoing.extend(bytes);
    }

    /// Writes what is to be written and waits for bytes from the host. Cancelling it loses nothing.
    ///
    /// # Errors
    ///
    /// The port is gone.
    pub async fn next(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        loop {
            if self.write()? {
                match self.file.read(buffer) {
                    Ok(0) => {
                        if !std::mem::replace(&mut self.closed, true) {
                            return Ok(Heard::Closed);
                        }
                    }
                    Ok(length) => {
                        self.closed = false;
                        return Ok(Heard::Bytes(length));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.closed = false,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => return Err(error),
                }
            }
            self.changed().await?;
        }
    }

    /// Writes until all is written; false if the host has no room for more.
    fn write(&mut self) -> io::Result<bool> {
        while !self.outgoing.is_empty() {
            match self.file.write(&self.outgoing) {
                Ok(0) => return Ok(false),
                Ok(length) => drop(self.outgoing.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Waits until the port is in another state than when it was last looked at.
    async fn changed(&self) -> io::Result<()> {
        let mut ready = self.changes.readable().await?;
        let mut events = [EpollEvent::empty()];
        // Takes the change; what comes from here on is the next one.
        let result = self
            .changes
            .get_ref()
            .0
            .wait(&mut events, PollTimeout::ZERO);
        ready.clear_ready();
        match result {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::task::{Context, Wake, Waker};
    use std::time::Duration;

    fn pair() -> io::Result<(Port, UnixStream)> {
        let (ours, host) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Port::new(OwnedFd::from(ours))?, host))
    }

    async fn soon<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        tokio::time::timeout(Duration::from_secs(30), work)
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    #[tokio::test]
    async fn bytes_go_both_ways() -> io::Result<()> {
        let (mut port, mut host) = pair()?;
        let mut buffer = [0; 16];
        host.write_all(b"ping")?;
        assert_eq!(soon(port.next(&mut buffer)).await?, Heard::Bytes(4));
        port.send(b"pong");
        host.write_all(b"more")?;
        assert_eq!(soon(port.next(&mut buffer)).await?, Heard::Bytes(4));
        let mut answer = [0; 4];
        host.read_exact(&mut answer)?;
        assert_eq!(&answer, b"pong");
        Ok(())
    }

    #[tokio::test]
    async fn a_host_that_does_not_read_is_not_read_from() -> io::Result<()> {
        let (mut port, mut host) = pair()?;
        let much = vec![b'x'; 1 << 20];
        port.send(&much);
        host.write_all(b"next")?;
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 1 << 20];
            host.read_exact(&mut all).map(|()| (all, host))
        });
        let mut buffer = [0; 16];
        assert_eq!(soon(port.next(&mut buffer)).await?, Heard::Bytes(4));
        assert!(port.outgoing.is_empty());
        let (all, _host) = reader
            .join()
            .unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))?;
        assert_eq!(all, much);
        Ok(())
    }

    /// A socket whose other end is closed is as a port without a host: end of file and "hung up" at each look.
    #[test]
    fn a_host_that_is_gone_keeps_nobody_busy() -> io::Result<()> {
        // On a thread of its own, since what is busy does not end.
        let (sender, result) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let _ =
                sender.send(runtime.and_then(|runtime| runtime.block_on(idle_without_a_host())));
        });
        result
            .recv_timeout(Duration::from_secs(30))
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn idle_without_a_host() -> io::Result<()> {
        let (mut port, mut host) = pair()?;
        let mut buffer = [0; 16];
        host.write_all(b"x")?;
        assert_eq!(soon(port.next(&mut buffer)).await?, Heard::Bytes(1));
        drop(host);
        assert_eq!(soon(port.next(&mut buffer)).await?, Heard::Closed);
        let next = port.next(&mut buffer);
        tokio::pin!(next);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(Arc::clone(&wakes));
        let mut woken = true;
        // Each round looks at the descriptors.
        for _ in 0..1000 {
            if woken {
                let polled = next.as_mut().poll(&mut Context::from_waker(&waker));
                assert!(polled.is_pending(), "{polled:?}");
            }
            tokio::task::yield_now().await;
            woken = wakes.0.swap(false, Ordering::Relaxed);
            wakes.1.fetch_add(usize::from(woken), Ordering::Relaxed);
        }
        // What had changed before may be told once more.
        let wakes = wakes.1.load(Ordering::Relaxed);
        assert!(wakes <= 1, "{wakes}");
        Ok(())
    }

    /// Whether it was woken since the last look, and how often so far.
    #[derive(Default)]
    struct Wakes(AtomicBool, AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    #[test]
    fn the_port_is_found_by_its_name() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        assert_eq!(find(directory.path()), None);
        for (port, name) in [
            ("vport0p1", "com.redhat.spice.0\n"),
            ("vport1p2", "org.qemu.guest_agent.0\n"),
        ] {
            fs::create_dir(directory.path().join(port))?;
            fs::write(directory.path().join(port).join("name"), name)?;
        }
        // Its name is not known yet.
        fs::create_dir(directory.path().join("vport2p1"))?;
        assert_eq!(find(directory.path()).as_deref(), Some("vport1p2"));
        Ok(())
    }
}
