//! Counts its boots, answers every request with that number, and stops when it is asked to.

use std::path::Path;
use std::time::Duration;
use std::{env, fs, io};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

/// Where init mounts the file system labelled "tinyboot". Without one, writing fails.
const PERSISTENT: &str = "/persistent";

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let boots = count(&Path::new(PERSISTENT).join("boots"));
    // On the machine itself port 80; `PORT=8080 cargo run` on yours.
    let port = env::var("PORT")
        .ok()
        .and_then(|port| port.parse().ok())
        .unwrap_or(80_u16);
    let listener = TcpListener::bind(("::", port)).await?;
    println!("listening on port {port}, {boots}");
    // Init's status says from here on that the program is ready.
    let _ = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);

    // The power button, Ctrl-Alt-Del and `kill` all come as SIGTERM; there are 10 seconds from then on.
    let mut stop = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    tokio::spawn(timeout(Duration::from_secs(10), answer(stream, boots.clone())));
                }
            }
            _ = stop.recv() => break,
        }
    }
    println!("stopped in order");
    Ok(())
}

async fn answer(mut stream: TcpStream, text: String) -> io::Result<()> {
    let mut request = [0; 2048];
    let _ = stream.read(&mut request).await?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len() + 1
    );
    stream
        .write_all(format!("{head}{text}\n").as_bytes())
        .await?;
    stream.shutdown().await
}

fn count(file: &Path) -> String {
    let before: u64 = fs::read_to_string(file)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    match fs::write(file, format!("{}\n", before + 1)) {
        Ok(()) => format!("boot number {}", before + 1),
        Err(error) => format!("boots are not counted: {error}"),
    }
}
