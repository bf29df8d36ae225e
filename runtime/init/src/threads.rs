//! Threads for calls that may block, in lanes: a disk that hangs holds up its own lane and no other.
//!
//! Each lane has threads that exist from the boot on and never end, so that its work is done also when the kernel refuses
//! new threads. It adds more while there is more to do; when the kernel refuses one, the work waits for those that there are.
//! tokio's pool panics in that case (`spawn_blocking`, `lookup_host`), and `clippy.toml` forbids it.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::task::{Context, Poll};
use std::thread;

use tokio::sync::oneshot;

use crate::priority;

/// Lookups of host names: the resolver gives up by itself.
pub static NAMES: Lane = Lane::new("names", 1, 8);
/// Probing, mounting and making file systems.
pub static DISKS: Lane = Lane::new("disks", 1, 64);
/// Init's own files on `/persistent`.
pub static FILES: Lane = Lane::new("files", 1, 16);
/// Devices other than disks: the RTC, input devices.
pub static DEVICES: Lane = Lane::new("devices", 1, 8);
/// The machine's end: syncing and unmounting.
pub static END: Lane = Lane::new("end", 2, 64).urgent();

type Job = Box<dyn FnOnce() + Send>;

/// Threads with one queue.
pub struct Lane {
    name: &'static str,
    /// How many threads exist from the boot on.
    kept: usize,
    most: usize,
    urgent: bool,
    start: fn(&'static Lane, bool) -> io::Result<()>,
    state: Mutex<State>,
    wake: Condvar,
}

struct State {
    queue: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

/// What a thread was given to do. Dropping it does not stop the thread.
#[derive(Debug)]
pub struct Work<T>(Option<oneshot::Receiver<T>>);

impl<T> Future for Work<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(receiver) = &mut self.0 else {
            return Poll::Pending;
        };
        match Pin::new(receiver).poll(context) {
            Poll::Ready(Ok(value)) => Poll::Ready(value),
            // The thread had a fault, and the panic hook ends the machine.
            Poll::Ready(Err(_)) => {
                self.0 = None;
                Poll::Pending
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Starts the threads that never end.
///
/// # Errors
///
/// The kernel refuses one.
pub fn start() -> io::Result<()> {
    // An allocator's arena for each thread would be memory that nobody needs.
    // SAFETY: it changes how the allocator grows from now on, and nothing else.
    unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, 1) };
    for lane in [&NAMES, &DISKS, &FILES, &DEVICES, &END] {
        lane.fill()?;
    }
    Ok(())
}

impl Lane {
    const fn new(name: &'static str, kept: usize, most: usize) -> Self {
        Self {
            name,
            kept,
            most,
            urgent: false,
            start: add_thread,
            state: Mutex::new(State {
                queue: VecDeque::new(),
                threads: 0,
                idle: 0,
            }),
            wake: Condvar::new(),
        }
    }

    /// Its threads go before the app's.
    const fn urgent(mut self) -> Self {
        self.urgent = true;
        self
    }

    fn fill(&'static self) -> io::Result<()> {
        let mut state = self.state();
        while state.threads < self.kept {
            (self.start)(self, true)?;
            state.threads += 1;
        }
        Ok(())
    }

    /// Has a thread do `work`. Never blocks and never fails: without a free thread the work waits for one.
    pub fn run<T: Send + 'static>(
        &'static self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Work<T> {
        let (sender, receiver) = oneshot::channel();
        self.push(Box::new(move || {
            // Nobody may wait for it any more.
            let _ = sender.send(work());
        }));
        Work(Some(receiver))
    }

    /// As [`Lane::run`], for who is no task: the receiver hears when the work is done.
    pub fn run_beside(&'static self, work: impl FnOnce() + Send + 'static) -> mpsc::Receiver<()> {
        let (sender, receiver) = mpsc::channel();
        self.push(Box::new(move || {
            work();
            let _ = sender.send(());
        }));
        receiver
    }

    fn push(&'static self, job: Job) {
        let mut state = self.state();
        state.queue.push_back(job);
        if state.idle < state.queue.len()
            && state.threads < self.most
            && (self.start)(self, false).is_ok()
        {
            state.threads += 1;
        }
        drop(state);
        self.wake.notify_one();
    }

    /// The next job; `None` ends a thread that is not one of those that are kept.
    fn next(&self, kept: bool) -> Option<Job> {
        let mut state = self.state();
        loop {
            if let Some(job) = state.queue.pop_front() {
                return Some(job);
            }
            if !kept {
                state.threads -= 1;
                return None;
            }
            state.idle += 1;
            state = self
                .wake
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add_thread(lane: &'static Lane, kept: bool) -> io::Result<()> {
    let work = move || {
        if lane.urgent {
            priority::raise();
        }
        while let Some(job) = lane.next(kept) {
            job();
        }
    };
    thread::Builder::new()
        .name(lane.name.into())
        .spawn(work)
        .map(drop)
}

/// Looks a host name up. Dropping the future leaves the lookup alone.
///
/// # Errors
///
/// What the resolver says.
pub async fn resolve(host: &str, port: u16) -> io::Result<Vec<std::net::SocketAddr>> {
    let host = host.to_owned();
    let look_up = move || std::net::ToSocketAddrs::to_socket_addrs(&(host.as_str(), port));
    Ok(NAMES.run(look_up).await?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    const BOUND: std::time::Duration = std::time::Duration::from_secs(60);

    #[test]
    fn work_is_done_also_when_the_kernel_refuses_threads() -> io::Result<()> {
        static REFUSES: AtomicBool = AtomicBool::new(false);
        fn start(lane: &'static Lane, kept: bool) -> io::Result<()> {
            if REFUSES.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            add_thread(lane, kept)
        }
        static LANE: Lane = {
            let mut lane = Lane::new("test", 1, 8);
            lane.start = start;
            lane
        };
        LANE.fill()?;
        REFUSES.store(true, Ordering::SeqCst);
        let (go, gone) = mpsc::channel::<()>();
        let first = LANE.run_beside(move || {
            let _ = gone.recv();
        });
        let others: Vec<_> = (0..5).map(|_| LANE.run_beside(|| ())).collect();
        assert!(go.send(()).is_ok());
        assert!(first.recv_timeout(BOUND).is_ok());
        for other in others {
            assert!(other.recv_timeout(BOUND).is_ok());
        }
        assert_eq!(LANE.state().threads, 1);
        Ok(())
    }

    #[test]
    fn work_that_hangs_does_not_hold_up_the_next_while_there_are_threads() -> io::Result<()> {
        static LANE: Lane = Lane::new("test", 1, 4);
        static MOST: AtomicUsize = AtomicUsize::new(0);
        LANE.fill()?;
        let (release, hanging): (Vec<_>, Vec<_>) = (0..3)
            .map(|_| {
                let (release, hang) = mpsc::channel::<()>();
                let done = LANE.run_beside(move || {
                    let _ = hang.recv();
                });
                (release, done)
            })
            .unzip();
        for _ in 0..20 {
            let done = LANE.run_beside(|| {
                MOST.fetch_max(LANE.state().threads, Ordering::SeqCst);
            });
            assert!(done.recv_timeout(BOUND).is_ok());
        }
        assert_eq!(MOST.load(Ordering::SeqCst), 4);
        drop(release);
        for done in hanging {
            assert!(done.recv_timeout(BOUND).is_ok());
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_name_that_is_an_address_is_one() -> io::Result<()> {
        assert_eq!(
            resolve("192.0.2.1", 123).await?,
            [([192, 0, 2, 1], 123).into()]
        );
        Ok(())
    }
}
