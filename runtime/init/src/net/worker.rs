//! A thread beside the event loop for what the kernel does while it is asked for it: a request of rtnetlink(7) is carried out
//! inside sendto(2), which takes as long as a driver does that loads its firmware, and holds up all others meanwhile.

use std::future::{Future, pending};
use std::io;
use std::sync::OnceLock;

use rtnetlink::Handle;
use tokio::runtime::{self, Builder};
use tokio::task::JoinHandle;

/// Set once; `None` if the machine had no thread to give, in which case the event loop does it all.
static WORKER: OnceLock<Option<runtime::Handle>> = OnceLock::new();

fn worker() -> Option<&'static runtime::Handle> {
    let start = || {
        let runtime = Builder::new_current_thread().enable_io().build()?;
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("net".into())
            .spawn(move || runtime.block_on(pending::<()>()))?;
        Ok(handle)
    };
    let started = WORKER.get_or_init(|| {
        let started: io::Result<runtime::Handle> = start();
        started
            .inspect_err(|error| log::error!("net: there is no thread for slow requests: {error}"))
            .ok()
    });
    started.as_ref()
}

fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    match worker() {
        Some(worker) => worker.spawn(future),
        None => tokio::spawn(future),
    }
}

/// Does `work` on the thread, after what it has been given before; `None` if it panicked. The work goes on if the future is
/// dropped.
pub async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    spawn(async move { work() }).await.ok()
}

/// A socket for requests that is served by the thread, until this is dropped.
pub struct Requests {
    /// Sends requests.
    pub handle: Handle,
    served: JoinHandle<()>,
}

impl Requests {
    /// Opens the socket.
    ///
    /// # Errors
    ///
    /// What the kernel says to a new socket.
    pub fn open() -> io::Result<Self> {
        let entered = worker().map(runtime::Handle::enter);
        let (connection, handle, _) = rtnetlink::new_connection()?;
        drop(entered);
        Ok(Self {
            handle,
            served: spawn(connection),
        })
    }

    /// Waits until the socket has failed, after which all requests fail. Nothing is lost if the future is dropped.
    pub async fn failed(&mut self) {
        let _ = (&mut self.served).await;
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.served.abort();
    }
}
