//! Does on a machine what a test asks for: the command lines it is started with, then those that come by HTTP.
//!
//! `POST /` with a command line as its body answers 200 and the command's output, or 500 and the error. What the
//! commands of the arguments print goes to the console, each line after `probe: <command line>: `.

mod attack;
mod chaos;
mod commands;
mod endings;
mod figures;
mod http;
mod journal;
mod loops;
mod network;
mod notify;
mod replay;

use std::io::Write;
use std::net::TcpListener;
use std::thread;

/// Where commands are taken from.
const PORT: u16 = 8080;

/// Prints one line at once; a console that is gone is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "probe: {line}");
}

fn main() {
    // Before any thread, so that all of them leave SIGTERM to the one that waits for it.
    endings::take_over_termination();

    for line in std::env::args().skip(1) {
        commands::run_aloud(&line);
    }

    let listener = match TcpListener::bind(("0.0.0.0", PORT)) {
        Ok(listener) => listener,
        Err(error) => {
            say(&format!("cannot listen on port {PORT}: {error}"));
            std::process::exit(70);
        }
    };
    say("ready");
    for connection in listener.incoming().flatten() {
        thread::spawn(move || {
            if let Err(error) = http::serve(connection) {
                say(&format!("a request failed: {error}"));
            }
        });
    }
}
