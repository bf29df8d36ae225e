//! Fetches a page over https, to show what that needs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, io};

use tinyboot::Machine;
use tokio::time::{sleep, timeout};
use ureq::Agent;
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use crate::say::say;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(20);
/// How long to wait for a time server. Certificates are valid between two dates, so the clock comes first.
const CLOCK: Duration = Duration::from_secs(20);
/// The pauses between attempts: an address is there before the way behind it, sometimes.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(9),
];
/// The longest page.
const LIMIT: u64 = 16 << 20;

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment is wrong.
    #[error("HELLO_URL is {0:?}, which begins with neither http:// nor https://.")]
    Url(String),
    /// No certificates.
    #[error("The certificates in {} cannot be read: {source}.", .path.display())]
    Certificates {
        /// Where they should be.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nothing in the bundle.
    #[error("There are no certificates in {}.", .0.display())]
    NoCertificates(PathBuf),
    /// The server, or the way to it.
    #[error("{url} cannot be fetched: {source}.")]
    Http {
        /// Which page.
        url: String,
        /// Why not.
        source: ureq::Error,
    },
}

/// The page that the environment asks for, if any.
pub fn url() -> Result<Option<String>, Error> {
    match env::var_os("HELLO_URL").map(|url| url.to_string_lossy().into_owned()) {
        Some(url) if url.starts_with("http://") || url.starts_with("https://") => Ok(Some(url)),
        Some(url) => Err(Error::Url(url)),
        None => Ok(None),
    }
}

/// Fetches `url` once there is a network, and says how that went; gives up when the machine is to stop.
pub async fn fetch(machine: Machine, url: String) {
    let stop = machine.token();
    let attempts = async {
        if machine.network().await.is_err() {
            return;
        }
        if timeout(CLOCK, machine.clock()).await.is_err() {
            say(format_args!(
                "no time server has answered; fetching {url} all the same"
            ));
        }
        let mut pauses = PAUSES.iter();
        loop {
            let request = url.clone();
            match tokio::task::spawn_blocking(move || get(&request)).await {
                Ok(Ok((code, length))) => {
                    return say(format_args!("fetched {url}: {code}, {length} bytes"));
                }
                Ok(Err(error)) => say(format_args!("{error}")),
                Err(error) => say(format_args!("The thread for {url} ended early: {error}.")),
            }
            match pauses.next() {
                Some(pause) => sleep(*pause).await,
                None => return,
            }
        }
    };
    stop.run_until_cancelled(attempts).await;
}

/// The status code and the length of the page.
fn get(url: &str) -> Result<(u16, usize), Error> {
    let mut config = Agent::config_builder()
        .timeout_global(Some(ATTEMPT))
        .http_status_as_error(false);
    if url.starts_with("https://") {
        let tls = TlsConfig::builder()
            .root_certs(certificates()?)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        config = config.tls_config(tls);
    }
    let failed = |source| Error::Http {
        url: url.to_owned(),
        source,
    };
    let mut response = Agent::new_with_config(config.build())
        .get(url)
        .call()
        .map_err(failed)?;
    let body = response
        .body_mut()
        .with_config()
        .limit(LIMIT)
        .read_to_vec()
        .map_err(failed)?;
    Ok((response.status().as_u16(), body.len()))
}

/// What the machine trusts.
fn certificates() -> Result<RootCerts, Error> {
    let path =
        env::var_os("SSL_CERT_FILE").unwrap_or_else(|| "/etc/ssl/certs/ca-certificates.crt".into());
    let path = PathBuf::from(path);
    let bundle = fs::read(&path).map_err(|source| Error::Certificates {
        path: path.clone(),
        source,
    })?;
    let certificates: Vec<_> = parse_pem(&bundle)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Error::NoCertificates(path));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}
