//! Fetches a page over https from a server of this test, with certificates that are valid from 2020 to 2120.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned, version};

/// Serves `hello` to everybody who trusts it; returns the port.
fn serve(version: &'static rustls::SupportedProtocolVersion) -> u16 {
    let certificate = CertificateDer::from_pem_slice(include_bytes!("https/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("https/server.key")).unwrap();
    let config =
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let connection = ServerConnection::new(config.clone()).unwrap();
            let mut stream = StreamOwned::new(connection, client.unwrap());
            // A client that does not trust the server ends here.
            if stream.read(&mut [0; 4096]).is_ok() {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
                );
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    port
}

/// Ends with the test, however that ends.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The first line that the program says about `url`.
fn fetch(url: &str, certificates: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
    command
        .env_remove("TINYBOOT")
        .env("HELLO_PORT", "0")
        .env("HELLO_URL", url);
    let child = command
        .env("SSL_CERT_FILE", certificates)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut process = Process(child.unwrap());
    let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let said = lines
        .map(Result::unwrap)
        .find(|line| !line.starts_with("listening") && !line.starts_with("this is"));
    said.expect("the program says how it went")
}

fn here(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/https")
        .join(name)
}

#[test]
fn a_server_with_a_trusted_certificate_is_read() {
    for version in [&version::TLS12, &version::TLS13] {
        let url = format!("https://localhost:{}/", serve(version));
        assert_eq!(
            fetch(&url, &here("authority.pem")),
            format!("fetched {url}: 200, 5 bytes")
        );
    }
}

#[test]
fn a_server_that_nobody_vouches_for_is_refused() {
    let url = format!("https://localhost:{}/", serve(&version::TLS13));
    let said = fetch(&url, &here("other-authority.pem"));
    assert_eq!(
        said,
        format!("{url} cannot be fetched: io: invalid peer certificate: UnknownIssuer.")
    );
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let url = format!("https://127.0.0.1:{}/", serve(&version::TLS13));
    let said = fetch(&url, &here("authority.pem"));
    assert!(
        said.starts_with(&format!("{url} cannot be fetched: "))
            && said.contains("not valid for name"),
        "{said}"
    );
}

#[test]
fn without_certificates_nothing_is_fetched() {
    let said = fetch("https://localhost:1/", Path::new("/nonexistent"));
    assert_eq!(
        said,
        "The certificates in /nonexistent cannot be read: No such file or directory (os error 2)."
    );
    let said = fetch("https://localhost:1/", &here("server.key"));
    assert_eq!(
        said,
        format!(
            "There are no certificates in {}.",
            here("server.key").display()
        )
    );
}
