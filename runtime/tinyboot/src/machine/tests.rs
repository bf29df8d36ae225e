//! [`Machine`] against a directory and a socket that play init, and against real signals in a process of its own.

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::timeout;

use super::testing::{Init, link_with_lease, mount};
use super::*;
use crate::status::{Clock, Link, Storage};

const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it happens soon")
}

fn running(status: &Status) -> (Init, Machine) {
    let init = Init::new();
    init.publish(status);
    let machine = Machine::start(&init.paths()).unwrap();
    (init, machine)
}

#[test]
fn outside_of_a_runtime_it_is_an_error() {
    let error = Machine::start(&Paths::default()).unwrap_err();
    assert!(matches!(error, Error::NoRuntime(_)), "{error}");
}

#[tokio::test]
async fn the_status_is_read_at_the_start() {
    let storage = Storage {
        settled: true,
        iso: Some(mount("/iso")),
        persistent: Some(mount("/persistent")),
        ..Storage::default()
    };
    let (_init, machine) = running(&Status {
        storage,
        ..Status::default()
    });
    assert!(machine.on_tinyboot());
    assert_eq!(machine.iso(), Some(PathBuf::from("/iso")));
    assert_eq!(machine.persistent(), Some(PathBuf::from("/persistent")));
    assert_eq!(machine.action(), None);
    assert!(!machine.token().is_cancelled());
}

#[tokio::test]
async fn a_late_disk_is_seen() {
    let (init, machine) = running(&Status::default());
    assert_eq!(machine.persistent(), None);
    let mut changes = machine.changes();
    let persistent = Some(mount("/persistent"));
    init.publish(&Status {
        storage: Storage {
            persistent,
            ..Storage::default()
        },
        ..Status::default()
    });
    soon(changes.wait_for(|status| status.storage.persistent.is_some()))
        .await
        .unwrap();
    assert_eq!(machine.persistent(), Some(PathBuf::from("/persistent")));
}

#[tokio::test]
async fn network_and_clock_wait_for_their_condition() {
    let (init, machine) = running(&Status::default());
    assert!(
        timeout(Duration::ZERO, machine.network()).await.is_err(),
        "there is no lease yet"
    );
    let links = vec![link_with_lease()];
    init.publish(&Status {
        links: links.clone(),
        ..Status::default()
    });
    soon(machine.network()).await.unwrap();
    assert!(
        timeout(Duration::ZERO, machine.clock()).await.is_err(),
        "the clock is not right yet"
    );
    init.publish(&Status {
        links,
        clock: Clock {
            synchronized: true,
            ..Clock::default()
        },
        ..Status::default()
    });
    soon(machine.clock()).await.unwrap();
}

#[tokio::test]
async fn a_link_without_a_lease_may_be_a_network() {
    let link = |configured| Status {
        links: vec![Link {
            configured,
            ..Link::default()
        }],
        ..Status::default()
    };
    let (init, machine) = running(&link(false));
    assert!(timeout(Duration::ZERO, machine.network()).await.is_err());
    init.publish(&link(true));
    soon(machine.network()).await.unwrap();
}

#[tokio::test]
async fn who_waits_for_a_resumed_machine_misses_none() {
    let (init, machine) = running(&Status::default());
    assert!(timeout(Duration::ZERO, machine.resumed(0)).await.is_err());
    let resumed = |resumes| {
        let mut status = Status::default();
        status.machine.resumes = resumes;
        status
    };
    init.publish(&resumed(2));
    assert_eq!(soon(machine.resumed(0)).await, Ok(2));
    assert_eq!(soon(machine.resumed(1)).await, Ok(2));
    assert!(timeout(Duration::ZERO, machine.resumed(2)).await.is_err());
    init.publish(&init.stopping(Action::PowerOff));
    assert_eq!(soon(machine.resumed(9)).await, Err(Stopping));
}

#[tokio::test]
async fn a_request_cancels_the_token_and_ends_all_waits() {
    let (init, machine) = running(&Status::default());
    let token = machine.token();
    init.publish(&init.stopping(Action::PowerOff));
    soon(token.cancelled()).await;
    assert_eq!(machine.action(), Some(Action::PowerOff));
    assert_eq!(soon(machine.network()).await, Err(Stopping));
    assert_eq!(soon(machine.clock()).await, Err(Stopping));
}

#[tokio::test]
async fn the_later_request_wins() {
    let (init, machine) = running(&Status::default());
    let mut changes = machine.changes();
    init.publish(&init.stopping(Action::PowerOff));
    soon(machine.token().cancelled()).await;
    init.publish(&init.stopping(Action::Reboot));
    let reboot = |status: &Status| {
        status
            .shutdown
            .as_ref()
            .is_some_and(|asked| asked.action == Action::Reboot)
    };
    soon(changes.wait_for(reboot)).await.unwrap();
    assert_eq!(machine.action(), Some(Action::Reboot));
}

#[tokio::test]
async fn a_request_from_before_the_start_counts() {
    let init = Init::new();
    init.publish(&init.stopping(Action::Reboot));
    let machine = Machine::start(&init.paths()).unwrap();
    assert!(machine.token().is_cancelled());
    assert_eq!(machine.action(), Some(Action::Reboot));
}

#[tokio::test]
async fn cancelling_a_token_of_ones_own_stops_nothing_else() {
    let (_init, machine) = running(&Status::default());
    machine.token().cancel();
    assert!(!machine.token().is_cancelled());
}

#[tokio::test]
async fn a_status_that_is_not_understood_keeps_the_last_one() {
    let (init, machine) = running(&Status {
        name: "first".to_owned(),
        ..Status::default()
    });
    let mut changes = machine.changes();
    init.write(b"{ \"name\": ");
    init.write(b"");
    init.publish(&Status {
        name: "second".to_owned(),
        ..Status::default()
    });
    soon(changes.wait_for(|status| status.name != "first"))
        .await
        .unwrap();
    assert_eq!(machine.status().name, "second");
}

#[tokio::test]
async fn fields_of_a_later_version_are_ignored() {
    let init = Init::new();
    init.write(
        br#"{ "name": "x", "colour": "red", "storage": { "settled": true, "tape": null } }"#,
    );
    let machine = Machine::start(&init.paths()).unwrap();
    assert!(machine.status().storage.settled);
}

#[tokio::test]
async fn a_status_that_cannot_be_read_at_the_start_is_one_sentence() {
    let init = Init::new();
    init.write(b"[");
    let error = Machine::start(&init.paths()).unwrap_err();
    assert!(matches!(error, Error::Parse { .. }));
    let path = init.directory.path().join("status.json");
    let begin = format!(
        "The machine's status in {} is not understood: ",
        path.display()
    );
    assert!(error.to_string().starts_with(&begin), "{error}");
}

#[tokio::test]
async fn an_ordinary_machine_has_everything_and_no_storage() {
    let machine = Machine::start(&Paths::default()).unwrap();
    assert!(!machine.on_tinyboot());
    assert_eq!(
        (machine.iso(), machine.persistent(), machine.action()),
        (None, None, None)
    );
    soon(machine.network()).await.unwrap();
    soon(machine.clock()).await.unwrap();
    machine.notify_ready().unwrap();
}

#[tokio::test]
async fn the_log_is_both_files_the_older_one_first() {
    let init = Init::new();
    init.publish(&Status::default());
    let machine = Machine::start(&init.paths()).unwrap();
    assert_eq!(machine.log().unwrap(), "");
    let path = init.directory.path().join("log");
    assert_eq!(machine.previous_log().unwrap(), "");
    std::fs::write(path.with_extension("previous"), "zero\n").unwrap();
    assert_eq!(machine.previous_log().unwrap(), "zero\n");
    std::fs::write(&path, "two\nÿ").unwrap();
    std::fs::write(path.with_extension("old"), "one\n").unwrap();
    assert_eq!(machine.log().unwrap(), "one\ntwo\nÿ");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let error = machine.log().unwrap_err().to_string();
    assert!(error.starts_with("What the machine says in "), "{error}");
    let ordinary = Machine::start(&Paths::default()).unwrap();
    assert_eq!(ordinary.log().unwrap(), "");
    assert_eq!(ordinary.previous_log().unwrap(), "");
}

#[tokio::test]
async fn init_hears_what_the_program_says() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let machine = Machine::start(&Paths {
        notify: Some(path.into()),
        ..Paths::default()
    })
    .unwrap();
    machine.notify_ready().unwrap();
    machine.notify_status("serving\non port 80").unwrap();
    machine.extend_timeout(Duration::from_secs(30)).unwrap();
    machine.notify_watchdog().unwrap();
    machine.notify_stopping().unwrap();
    for expected in [
        "READY=1",
        "STATUS=serving on port 80",
        "EXTEND_TIMEOUT_USEC=30000000",
        "WATCHDOG=1",
        "STOPPING=1",
    ] {
        let mut buffer = [0; 100];
        let length = socket.recv(&mut buffer).unwrap();
        assert_eq!(buffer.get(..length), Some(expected.as_bytes()));
    }
}

/// The program of the tests below: it says when it listens, and with which action it was stopped.
#[test]
#[ignore = "started as a process of its own by the tests that send signals"]
fn program() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let status = env::var_os("TEST_STATUS").map(PathBuf::from);
        let machine = Machine::start(&Paths {
            status,
            ..Paths::default()
        })
        .unwrap();
        println!("\nlistening");
        soon(machine.token().cancelled()).await;
        println!("stopped with {:?}", machine.action());
    });
}

struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(paths: &Paths) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([
            "--exact",
            "machine::tests::program",
            "--ignored",
            "--nocapture",
        ]);
        if let Some(path) = &paths.status {
            command.env("TEST_STATUS", path);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { child, lines };
        program.wait_for("listening");
        program
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    fn wait_for(&mut self, begin: &str) -> String {
        self.lines
            .by_ref()
            .map(Result::unwrap)
            .find(|line| line.starts_with(begin))
            .expect("the program says it")
    }

    fn end(mut self) -> String {
        let line = self.wait_for("stopped with");
        assert!(self.child.wait().unwrap().success());
        line
    }
}

#[test]
fn a_signal_on_an_ordinary_machine_is_a_request_for_power_off() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let program = Program::start(&Paths::default());
        program.signal(signal);
        assert_eq!(program.end(), "stopped with Some(PowerOff)");
    }
}

#[test]
fn the_action_is_known_when_the_signal_comes() {
    let init = Init::new();
    init.publish(&Status::default());
    let program = Program::start(&init.paths());
    init.publish(&init.stopping(Action::Reboot));
    program.signal(Signal::SIGTERM);
    assert_eq!(program.end(), "stopped with Some(Reboot)");
}

#[test]
fn a_signal_without_a_request_stops_the_program_and_asks_nothing_of_the_machine() {
    let init = Init::new();
    init.publish(&Status::default());
    let program = Program::start(&init.paths());
    program.signal(Signal::SIGTERM);
    assert_eq!(program.end(), "stopped with None");
}
