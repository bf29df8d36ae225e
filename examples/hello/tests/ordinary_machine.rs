//! The program as a user of an ordinary machine runs it: a process, a port, Ctrl-C.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const SOON: Duration = Duration::from_secs(30);

struct Hello {
    child: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Hello {
    fn start(environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
        command
            .env_remove("TINYBOOT")
            .env_remove("HELLO_URL")
            .env("HELLO_PORT", "0");
        command
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        // By a thread, since a pipe cannot be read with a bound.
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in output.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let mut hello = Self {
            child,
            lines,
            port: 0,
        };
        let line = hello.wait_for("listening on port ");
        hello.wait_for("this is no tinyboot machine");
        hello.port = line.rsplit(' ').next().unwrap().parse().unwrap();
        hello
    }

    /// The next line that begins so.
    fn wait_for(&mut self, begin: &str) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(SOON)
                .unwrap_or_else(|error| panic!("the program did not say {begin:?}: {error}"));
            if line.starts_with(begin) {
                return line;
            }
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        stream
    }

    fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(request).unwrap();
        rest(stream)
    }

    fn get(&self, path: &str) -> String {
        self.ask(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes())
    }

    fn stop(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// What it says to its end, and how it ends.
    fn end(mut self) -> (Vec<String>, ExitStatus) {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(SOON) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("the program did not end; it said {lines:?}")
                }
            }
        }
        (lines, self.child.wait().unwrap())
    }
}

impl Drop for Hello {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn rest(mut stream: TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn the_pages_are_served() {
    let hello = Hello::start(&[]);
    let page = hello.get("/");
    assert!(
        page.starts_with("HTTP/1.1 200 OK\r\n") && page.contains("<h1>hello</h1>"),
        "{page}"
    );
    let status = hello.get("/status.json");
    assert!(
        status.contains("Content-Type: application/json\r\n") && status.contains("\"links\": []"),
        "{status}"
    );
    assert!(
        hello
            .get("/other")
            .starts_with("HTTP/1.1 404 Not Found\r\n")
    );
}

#[test]
fn bad_requests_have_an_answer() {
    let hello = Hello::start(&[]);
    assert!(hello.ask(b"\0\0\0\0").starts_with("HTTP/1.1 400 "));
    assert!(
        hello
            .ask(b"DELETE / HTTP/1.1\r\nHost: x\r\n\r\n")
            .starts_with("HTTP/1.1 405 ")
    );
    // More than is read: the answer arrives all the same.
    let long = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nCookie: {}\r\n\r\n",
        "c".repeat(40_000)
    );
    assert!(hello.ask(long.as_bytes()).starts_with("HTTP/1.1 431 "));
    assert!(hello.get("/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_slow_client_is_told_so() {
    let hello = Hello::start(&[]);
    let mut stream = hello.connect();
    stream.write_all(b"GET / HT").unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 408 "));
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_out() {
    let hello = Hello::start(&[]);
    let idle: Vec<_> = (0..40).map(|_| hello.connect()).collect();
    assert!(hello.get("/").starts_with("HTTP/1.1 200 "));
    drop(idle);
}

#[test]
fn a_client_that_goes_away_is_no_event() {
    let hello = Hello::start(&[]);
    for _ in 0..50 {
        let mut stream = hello.connect();
        stream.write_all(b"GET / HTTP/1.1\r\n").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    assert!(hello.get("/").starts_with("HTTP/1.1 200 "));
}

#[test]
fn a_signal_stops_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let hello = Hello::start(&[]);
        let idle = hello.connect();
        let begin = Instant::now();
        hello.stop(signal);
        let (lines, status) = hello.end();
        assert_eq!(lines, ["stopping: poweroff", "stopped in order"]);
        assert!(status.success());
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "it does not wait for an idle client"
        );
        drop(idle);
    }
}

#[test]
fn an_open_request_is_finished_and_no_new_one_accepted() {
    let mut hello = Hello::start(&[]);
    let mut stream = hello.connect();
    stream.write_all(b"GET /status.json HT").unwrap();
    // This answer shows that the half request before was seen too.
    hello.get("/");
    hello.stop(Signal::SIGTERM);
    hello.wait_for("stopping: poweroff");
    let refused = || {
        TcpStream::connect(("127.0.0.1", hello.port))
            .is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused)
    };
    let begin = Instant::now();
    while !refused() {
        assert!(begin.elapsed() < SOON, "the port is closed");
        std::thread::yield_now();
    }
    stream.write_all(b"TP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(rest(stream).starts_with("HTTP/1.1 200 OK\r\n"));
    let (lines, status) = hello.end();
    assert_eq!(lines, ["stopped in order"]);
    assert!(status.success());
}

#[test]
fn a_download_that_hangs_does_not_hold_up_the_end() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let hello = Hello::start(&[("HELLO_URL", &url)]);
    silent.set_nonblocking(true).unwrap();
    let begin = Instant::now();
    let _client = loop {
        match silent.accept() {
            Ok((client, _)) => break client,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        assert!(begin.elapsed() < SOON, "the program did not connect");
        std::thread::yield_now();
    };
    let begin = Instant::now();
    hello.stop(Signal::SIGTERM);
    let (lines, status) = hello.end();
    assert_eq!(lines.last().map(String::as_str), Some("stopped in order"));
    assert!(status.success());
    assert!(begin.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_page_is_fetched() {
    let server = Hello::start(&[]);
    let url = format!("http://127.0.0.1:{}/other", server.port);
    let mut hello = Hello::start(&[("HELLO_URL", &url)]);
    assert_eq!(
        hello.wait_for("fetched "),
        format!("fetched {url}: 404, 10 bytes")
    );
}

#[test]
fn what_cannot_be_fetched_is_one_sentence() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut hello = Hello::start(&[("HELLO_URL", &format!("http://{nobody}/"))]);
    let line = hello.wait_for("http://");
    assert!(
        line.contains("cannot be fetched: ") && line.ends_with('.'),
        "{line}"
    );
}

#[test]
fn a_wrong_environment_is_one_sentence() {
    for (name, value, expected) in [
        (
            "HELLO_PORT",
            "many",
            "HELLO_PORT is \"many\", which is no number from 0 to 65535.",
        ),
        (
            "HELLO_URL",
            "ftp://x",
            "HELLO_URL is \"ftp://x\", which begins with neither http:// nor https://.",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hello"));
        let output = command
            .env_remove("TINYBOOT")
            .env("HELLO_PORT", "0")
            .env(name, value)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(said.lines().last(), Some(expected));
        assert_eq!(output.status.code(), Some(1));
    }
}
