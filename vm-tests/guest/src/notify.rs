//! What the probe says to init, in the words of sd_notify(3).

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

static FEEDS: AtomicBool = AtomicBool::new(false);

/// Sends one message.
pub fn send(message: &str) -> io::Result<String> {
    let socket = std::env::var_os("NOTIFY_SOCKET").ok_or(io::ErrorKind::NotFound)?;
    UnixDatagram::unbound()?.send_to(message.as_bytes(), socket)?;
    Ok(String::new())
}

/// Says `WATCHDOG=1` several times a second from now on, until `starve`.
pub fn feed() -> io::Result<String> {
    if !FEEDS.swap(true, Ordering::SeqCst) {
        thread::spawn(|| {
            while FEEDS.load(Ordering::SeqCst) && send("WATCHDOG=1").is_ok() {
                thread::sleep(Duration::from_millis(250));
            }
        });
    }
    Ok(String::new())
}

/// Says it no longer.
pub fn starve() -> io::Result<String> {
    FEEDS.store(false, Ordering::SeqCst);
    Ok(String::new())
}
