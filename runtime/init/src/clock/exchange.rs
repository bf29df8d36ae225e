//! One question to one server.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{error::Elapsed, timeout};

use super::kernel::Machine;
use super::refusals::Refusals;
use super::sntp::{self, Reject, Sample};
use crate::threads;

/// How long a name may take to resolve.
const RESOLVE: Duration = Duration::from_secs(5);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// More addresses of one name are not tried in one go.
const MOST_ADDRESSES: usize = 4;

/// Why a server gave no sample.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Its name has no address.
    #[error("Its name cannot be resolved: {0}.")]
    Resolve(io::Error),
    /// The name service took too long.
    #[error("Its name was not resolved within 5 s.")]
    ResolveTimeout(Elapsed),
    /// All its addresses refused lately.
    #[error("It refused lately and is left alone.")]
    LeftAlone,
    /// The network refuses.
    #[error("It cannot be reached: {0}.")]
    Unreachable(io::Error),
    /// No answer came in time.
    #[error("It did not answer within 2 s.")]
    Timeout(Elapsed),
    /// An answer came that does not count.
    #[error(transparent)]
    Rejected(Reject),
}

/// Asks a server, a name or an address, for the time; who answered, and what. A name is resolved anew each time, so
/// that what the name service says now counts. Addresses that refused are left alone. The system's resolver works on a
/// thread of its own. Dropping the future ends the exchange.
///
/// # Errors
///
/// That of the last address that was tried.
pub async fn ask(
    machine: &impl Machine,
    server: &str,
    refusals: &Refusals,
) -> Result<(IpAddr, Sample), Error> {
    if let Ok(address) = server.parse::<IpAddr>() {
        return ask_any(machine, [(address, sntp::PORT).into()], refusals).await;
    }
    let resolved = timeout(RESOLVE, threads::resolve(server, sntp::PORT)).await;
    let addresses = resolved
        .map_err(Error::ResolveTimeout)?
        .map_err(Error::Resolve)?;
    ask_any(machine, addresses, refusals).await
}

/// Asks the addresses of one server, one after the other, until one answers.
pub(super) async fn ask_any(
    machine: &impl Machine,
    addresses: impl IntoIterator<Item = SocketAddr>,
    refusals: &Refusals,
) -> Result<(IpAddr, Sample), Error> {
    let mut result = Err(Error::Resolve(io::ErrorKind::NotFound.into()));
    let mut tried = 0;
    for address in addresses {
        let ip = address.ip();
        if refusals.holds(ip) {
            if tried == 0 {
                result = Err(Error::LeftAlone);
            }
            continue;
        }
        if tried == MOST_ADDRESSES {
            break;
        }
        tried += 1;
        match exchange(machine, address).await {
            Ok(sample) => {
                refusals.answered(ip);
                return Ok((ip, sample));
            }
            Err(error) => {
                if let Error::Rejected(Reject::Refused(code)) = error {
                    refusals.refused(ip, code);
                }
                result = Err(error);
            }
        }
    }
    result
}

/// A socket that is connected hears that server alone, and learns when nobody listens there.
async fn exchange(machine: &impl Machine, server: SocketAddr) -> Result<Sample, Error> {
    let any = if server.is_ipv4() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    } else {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    };
    let socket = UdpSocket::bind((any, 0))
        .await
        .map_err(Error::Unreachable)?;
    socket.connect(server).await.map_err(Error::Unreachable)?;
    // Keyed from the kernel's generator, without waiting for it as getrandom(2) does early in a boot.
    let nonce = RandomState::new().build_hasher().finish();
    let sent = machine.now();
    socket
        .send(&sntp::request(nonce))
        .await
        .map_err(Error::Unreachable)?;
    let answer = async {
        let mut buffer = [0; 512];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(Error::Unreachable)?;
            let received = machine.now();
            match sntp::read(
                buffer.get(..length).unwrap_or_default(),
                nonce,
                sent,
                received,
            ) {
                Err(Reject::NotOurs) => {}
                other => return other.map_err(Error::Rejected),
            }
        }
    };
    timeout(ANSWER, answer).await.map_err(Error::Timeout)?
}
