//! What is answered, with a file system that is none.

use super::*;
use std::sync::{Arc, Mutex};
use tinyboot::status::{Mount, Shutdown};

#[derive(Clone, Default)]
struct Fake {
    calls: Arc<Mutex<Vec<&'static str>>>,
    refuses: bool,
}

impl Fake {
    fn call(&self, name: &'static str) -> io::Result<()> {
        if self.refuses {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.calls.lock().map(|mut calls| calls.push(name)).ok();
        Ok(())
    }

    fn calls(&self) -> Vec<&'static str> {
        self.calls
            .lock()
            .map(|calls| calls.clone())
            .unwrap_or_default()
    }
}

impl FileSystem for Fake {
    fn freeze(&mut self) -> io::Result<()> {
        self.call("freeze")
    }

    fn thaw(&mut self) -> io::Result<()> {
        self.call("thaw")
    }
}

struct Host {
    agent: Agent<Box<dyn Fn() -> Fake>>,
    requests: mpsc::UnboundedReceiver<power::Request>,
    file_system: Fake,
}

fn host(read_only: bool, refuses: bool) -> Host {
    let mut status = Status::default();
    status.storage.persistent = Some(Mount {
        path: PERSISTENT.into(),
        device: "/dev/vda".into(),
        file_system: "btrfs".into(),
        read_only,
    });
    let file_system = Fake {
        refuses,
        ..Fake::default()
    };
    let (asking, requests) = mpsc::unbounded_channel();
    let its = file_system.clone();
    Host {
        agent: Agent {
            board: Board::new(status),
            requests: asking,
            persistent: watch::Sender::new(Some(PERSISTENT.into())),
            clock: settings::Clock {
                floor: u64::MAX / 2,
                servers: Vec::new(),
            },
            file_system: Box::new(move || its.clone()),
            held: watch::Sender::new(false),
            frozen: None,
        },
        requests,
        file_system,
    }
}

impl Host {
    async fn bytes(&mut self, request: &str) -> Vec<u8> {
        let mut answer = Vec::new();
        for request in Reader::default().push(request.as_bytes()) {
            answer.extend(self.agent.answer(request).await);
        }
        answer
    }

    /// What is returned, or the description of the error.
    async fn ask(&mut self, command: &str, arguments: Value) -> Result<Value, String> {
        let request = json!({ "execute": command, "arguments": arguments }).to_string();
        let answer: Value = serde_json::from_slice(&self.bytes(&request).await)
            .map_err(|error| error.to_string())?;
        match answer.get("return") {
            Some(value) => Ok(value.clone()),
            None => Err(answer
                .pointer("/error/desc")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()),
        }
    }

    async fn simply(&mut self, command: &str) -> Result<Value, String> {
        self.ask(command, json!({})).await
    }

    /// Whether writers do not wait: init may write, and the app's deadlines count.
    fn writers_go_on(&self) -> bool {
        let may_write = self.agent.persistent.borrow().is_some();
        assert_ne!(may_write, *self.agent.held.borrow());
        may_write
    }
}

#[tokio::test]
async fn the_answer_to_a_delimited_sync_begins_with_the_sentinel() {
    let mut host = host(false, false);
    let request = r#"{"execute":"guest-sync-delimited","arguments":{"id":5},"id":"x"}"#;
    assert_eq!(
        host.bytes(request).await,
        b"\xff{\"id\":\"x\",\"return\":5}\n"
    );
    assert_eq!(
        host.bytes(r#"{"execute":"guest-sync","arguments":{"id":6}}"#)
            .await,
        b"{\"return\":6}\n"
    );
}

#[tokio::test]
async fn every_command_that_is_named_answers() {
    for command in protocol::COMMANDS {
        let mut host = host(false, false);
        let arguments = match command.name {
            "guest-sync" | "guest-sync-delimited" => json!({ "id": 1 }),
            // Nobody's clock is set by a test: before the floor.
            "guest-set-time" => json!({ "time": 0 }),
            _ => json!({}),
        };
        let request = json!({ "execute": command.name, "arguments": arguments }).to_string();
        let answer = host.bytes(&request).await;
        assert_eq!(answer.is_empty(), !command.answers, "{}", command.name);
    }
}

#[tokio::test]
async fn the_time_is_not_set_before_the_floor() {
    let mut host = host(false, false);
    let answer = host.ask("guest-set-time", json!({ "time": 0 })).await;
    assert_eq!(
        answer,
        Err("The time cannot be set: 1970-01-01T00:00:00Z is before the image's floor.".into())
    );
}

#[tokio::test]
async fn a_shutdown_is_asked_for_and_has_no_answer() {
    let mut host = host(false, false);
    for (arguments, action) in [
        (json!({}), Action::PowerOff),
        (json!({ "mode": "powerdown" }), Action::PowerOff),
        (json!({ "mode": "halt" }), Action::PowerOff),
        (json!({ "mode": "reboot" }), Action::Reboot),
    ] {
        let request = json!({ "execute": "guest-shutdown", "arguments": arguments }).to_string();
        assert_eq!(host.bytes(&request).await, b"");
        let request = power::Request {
            action,
            reason: "guest agent",
        };
        assert_eq!(host.requests.try_recv(), Ok(request));
    }
}

#[tokio::test]
async fn while_it_is_frozen_init_does_not_write() {
    let mut host = host(false, false);
    assert_eq!(
        host.simply("guest-fsfreeze-status").await,
        Ok("thawed".into())
    );
    assert_eq!(host.simply("guest-fsfreeze-freeze").await, Ok(1.into()));
    assert!(!host.writers_go_on());
    assert_eq!(
        host.simply("guest-fsfreeze-status").await,
        Ok("frozen".into())
    );
    assert_eq!(
        host.simply("guest-fsfreeze-freeze").await,
        Err("/persistent is frozen already.".into())
    );
    assert_eq!(host.file_system.calls(), ["freeze"]);
    assert_eq!(host.simply("guest-fsfreeze-thaw").await, Ok(1.into()));
    assert!(host.writers_go_on());
    assert_eq!(host.simply("guest-fsfreeze-thaw").await, Ok(0.into()));
    assert_eq!(host.file_system.calls(), ["freeze", "thaw"]);
}

#[tokio::test]
async fn only_what_can_be_written_and_is_meant_is_frozen() {
    let places = |places: &[&str]| json!({ "mountpoints": places });
    let mut host = host(false, false);
    let list = "guest-fsfreeze-freeze-list";
    assert_eq!(host.ask(list, places(&["/", "/iso"])).await, Ok(0.into()));
    assert!(host.file_system.calls().is_empty());
    assert_eq!(host.ask(list, places(&["/persistent"])).await, Ok(1.into()));
    let mut host = self::host(true, false);
    assert_eq!(host.simply("guest-fsfreeze-freeze").await, Ok(0.into()));
    assert!(host.file_system.calls().is_empty());
}

#[tokio::test]
async fn what_cannot_be_frozen_stays_as_it_is() {
    let mut host = host(false, true);
    assert_eq!(
        host.simply("guest-fsfreeze-freeze").await,
        Err("/persistent cannot be frozen: unsupported.".into())
    );
    assert!(host.writers_go_on());
    assert_eq!(
        host.simply("guest-fsfreeze-status").await,
        Ok("thawed".into())
    );
}

#[tokio::test]
async fn a_machine_that_stops_is_not_frozen() {
    let mut host = host(false, false);
    host.agent.board.update(|status| {
        status.shutdown = Some(Shutdown {
            action: Action::PowerOff,
            reason: "power button".into(),
            deadline: 0.0,
        });
    });
    assert_eq!(
        host.simply("guest-fsfreeze-freeze").await,
        Err("The machine is stopping.".into())
    );
}

#[tokio::test]
async fn a_disk_that_is_gone_meanwhile_is_not_written_to() {
    let mut host = host(false, false);
    assert_eq!(host.simply("guest-fsfreeze-freeze").await, Ok(1.into()));
    host.agent
        .board
        .update(|status| status.storage.persistent = None);
    assert_eq!(host.simply("guest-fsfreeze-thaw").await, Ok(1.into()));
    assert!(host.agent.persistent.borrow().is_none());
    assert!(!*host.agent.held.borrow(), "the app's deadlines count");
}
