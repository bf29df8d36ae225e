//! Serves the page, to many clients at once, none of which can hold up the others or the end.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use std::{env, io};

use tinyboot::{CancellationToken, Machine};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::task::TaskTracker;

use crate::http::{Code, HEAD_LIMIT, Request, Response, parse};
use crate::page::Page;
use crate::say::say;

/// How many connections are open at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 32;
/// How long a client may take for its request, and again for taking the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long requests that are open at the end may take.
const FINISH: Duration = Duration::from_secs(3);
/// How much a client may send that nobody reads, until the connection is cut.
const IGNORED: u64 = 64 << 10;

/// Why nothing can be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment is wrong.
    #[error("HELLO_PORT is {0:?}, which is no number from 0 to 65535.")]
    Port(String),
    /// The port is taken, or not for us.
    #[error("Port {port} cannot be listened on: {source}.")]
    Listen {
        /// Which.
        port: u16,
        /// Why not.
        source: io::Error,
    },
}

/// The port that the environment names, or a usual one.
pub fn port(machine: &Machine) -> Result<u16, Error> {
    match env::var_os("HELLO_PORT") {
        Some(port) => {
            let port = port.to_string_lossy();
            port.parse().map_err(|_| Error::Port(port.into_owned()))
        }
        None if machine.on_tinyboot() => Ok(80),
        None => Ok(8080),
    }
}

/// Listens on all addresses of both families, or of IPv4 alone where there is no IPv6.
pub async fn listen(port: u16) -> Result<TcpListener, Error> {
    let both: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
    let one: SocketAddr = (Ipv4Addr::UNSPECIFIED, port).into();
    TcpListener::bind([both, one].as_slice())
        .await
        .map_err(|source| Error::Listen { port, source })
}

/// Answers requests until `stop`; then finishes the open ones and returns.
pub async fn serve(listener: TcpListener, stop: CancellationToken, page: Arc<Page>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let connections = TaskTracker::new();
    let accept = async {
        while let Ok(place) = places.clone().acquire_owned().await {
            let stream = accept(&listener).await;
            let (stop, page) = (stop.clone(), page.clone());
            connections.spawn(async move {
                // Whatever becomes of one client is of no interest to the machine.
                let _ = connection(stream, &stop, &page).await;
                drop(place);
            });
        }
    };
    stop.run_until_cancelled(accept).await;
    drop(listener);
    connections.close();
    if timeout(FINISH, connections.wait()).await.is_err() {
        say(format_args!(
            "{} requests were not finished in {} s",
            connections.len(),
            FINISH.as_secs()
        ));
    }
}

/// The next connection. Errors are those of a client that is gone already or of a moment without memory.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => {
                say(format_args!("A connection cannot be accepted: {error}."));
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One request and its answer.
async fn connection(
    mut stream: TcpStream,
    stop: &CancellationToken,
    page: &Page,
) -> io::Result<()> {
    // A client that has asked for nothing yet is not waited for when the machine stops.
    let mut byte = [0];
    let first = timeout(PATIENCE, stream.peek(&mut byte));
    let Some(Ok(Ok(1))) = stop.run_until_cancelled(first).await else {
        return Ok(());
    };
    let (head_only, response) = match timeout(PATIENCE, receive(&mut stream)).await {
        Ok(Ok(Some(request))) => (request.head_only, page.answer(&request)),
        Ok(Ok(None)) => return Ok(()),
        Ok(Err(code)) => (false, Response::error(code)),
        Err(_) => (false, Response::error(Code::REQUEST_TIMEOUT)),
    };
    timeout(
        PATIENCE,
        send(stream, &response.to_bytes(head_only, SystemTime::now())),
    )
    .await?
}

/// The request, or `None` when the client went away.
async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<Request>, Code> {
    let mut bytes = Vec::new();
    let mut rest = stream.take(HEAD_LIMIT as u64);
    loop {
        match rest.read_buf(&mut bytes).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Ok(None),
        }
        if let Some(request) = parse(&bytes)? {
            return Ok(Some(request));
        }
    }
}

/// Sends the answer and waits until the client has closed, because closing with bytes unread would reset the
/// connection before the client has the answer.
async fn send(mut stream: TcpStream, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.shutdown().await?;
    tokio::io::copy(&mut stream.take(IGNORED), &mut tokio::io::sink()).await?;
    Ok(())
}
