//! What the app and the host's tools say.

use std::time::Duration;

use tokio::time::Instant;

use super::Input;
use super::kernel::check_line;
use crate::agent::protocol::{Reader, answer};
use crate::app::liveness::{Liveness, Step};
use crate::app::notify::{Notice, parse, start_time};
use crate::console::line::{LONGEST, Splitter, escaped};
use crate::console::syslog::message::{Origin, counted, format};
use crate::console::{Record, Source};

/// The guest agent's stream, whole and in the pieces of the input: the same requests come of both, and each answer is one line of JSON.
pub fn agent(data: &[u8]) {
    let mut input = Input::new(data);
    let (cut, pad) = (usize::from(input.u16()), usize::from(input.u16()));
    let rest = input.rest();
    let (first, second) = rest.split_at(cut.min(rest.len()));
    // Now and then more than a request may have.
    let blanks = if pad % 8 == 7 { pad / 3 } else { 0 };
    let first = [first, &vec![b' '; blanks]].concat();
    let stream = [first.as_slice(), second].concat();
    let (mut whole, mut pieces) = (Reader::default(), Reader::default());
    let requests = whole.push(&stream);
    let mut others = pieces.push(&first);
    others.extend(pieces.push(second));
    assert_eq!(requests, others);
    assert!(requests.len() <= stream.len());
    for request in requests {
        let line = match request {
            Ok(request) => answer(request.id, Ok(serde_json::Value::Null)),
            Err(refused) => answer(refused.id, Err(refused.fault)),
        };
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(line.ends_with(b"\n"));
        assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
    }
    // Whatever came before, a host that begins anew is heard.
    let heard = whole.push(b"\xff{\"execute\":\"guest-ping\"}");
    assert!(matches!(heard.as_slice(), [.., Ok(_)]), "{heard:?}");
}

/// Datagrams of sd_notify with time going by: what is due ends, a deadline lies ahead and is one that a person could live to see,
/// and an app is given up only after it was asked and killed.
pub fn notify(data: &[u8]) {
    const LONGEST_WAIT: Duration = Duration::from_secs(32 * 86400);
    let mut input = Input::new(data);
    let mode = input.byte();
    let start = Instant::now();
    let mut now = start;
    let seconds = |flag: u8, time| (mode & flag != 0).then_some(Duration::from_secs(time));
    let mut liveness = Liveness::new(now, seconds(1, 30), seconds(2, 5), Duration::from_secs(10));
    let mut steps = Vec::new();
    for _ in 0..60 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 4 {
            0 => now += Duration::from_millis(input.u32().into()),
            1 => now = now.max(liveness.deadline().unwrap_or(now)),
            2 => {
                let line: &[u8] = input.pick(
                    b"READY=1",
                    &[
                        b"WATCHDOG=1",
                        b"STOPPING=1\nRELOADING=1",
                        b"EXTEND_TIMEOUT_USEC=18446744073709551615",
                        b"WATCHDOG_USEC=1",
                        b"WATCHDOG=trigger",
                    ],
                );
                hear(&mut liveness, now, line);
            }
            _ => hear(&mut liveness, now, input.piece()),
        }
        let mut due = 0;
        while let Some(step) = liveness.due(now) {
            steps.push(step);
            due += 1;
            assert!(due <= 3, "{steps:?}");
        }
        let deadline = liveness.deadline();
        let ahead = deadline.map(|at| at.saturating_duration_since(now));
        assert!(
            ahead.is_none_or(|time| !time.is_zero() && time < LONGEST_WAIT),
            "{ahead:?}"
        );
    }
    assert!(
        matches!(
            steps.as_slice(),
            [] | [Step::Fail(_)]
                | [Step::Fail(_), Step::Kill]
                | [Step::Fail(_), Step::Kill, Step::GiveUp]
        ),
        "{steps:?}"
    );
    for step in steps {
        if let Step::Fail(failure) = step {
            check_line(&failure.to_string());
            let _ = failure.signal();
        }
    }
    let _ = start_time(&String::from_utf8_lossy(data));
}

fn hear(liveness: &mut Liveness, now: Instant, datagram: &[u8]) {
    let notices = parse(datagram);
    assert!(notices.len() <= datagram.len());
    for notice in notices {
        if let Notice::Status(text) = &notice {
            assert!(text.chars().count() <= 500 && !text.contains('\n'));
        }
        liveness.hear(now, &notice);
    }
}

/// The app's output in pieces: lines of bounded length that do nothing to a terminal, and the same as syslog messages.
pub fn console(data: &[u8]) {
    let mut input = Input::new(data);
    let origin = Origin {
        host: String::from_utf8_lossy(input.piece()).into_owned(),
        app: "hello".into(),
    };
    let (at, severity) = (Duration::from_micros(input.u64()), input.byte());
    let source = input.pick(Source::App, &[Source::Init, Source::Kernel, Source::Kmsg]);
    let mut splitter = Splitter::default();
    let mut lines = Vec::new();
    while !input.is_empty() {
        // Now and then longer than a line may be.
        let times = if input.seldom(8) { 16 } else { 1 };
        lines.extend(splitter.push(&input.piece().repeat(times)));
    }
    lines.extend(splitter.finish());
    for line in lines {
        assert!(line.len() <= LONGEST);
        let text = escaped(&line);
        check_line(&text);
        let record = Record {
            at,
            source,
            severity,
            text,
        };
        let message = format(&record, &origin, at, severity & 1 == 0);
        assert!(message.len() <= 2048);
        let text = std::str::from_utf8(&message).unwrap_or("\0");
        check_line(text);
        assert!(
            text.split(' ').nth(5).is_some_and(|word| word == "-"),
            "{text}"
        );
        assert!(counted(&message).ends_with(&message));
    }
}
