use super::*;
use proptest::prelude::*;

/// What the reader makes of the bytes: a command's form, or the error's class and description.
fn heard(bytes: &[u8]) -> Vec<Result<Command, (String, String)>> {
    Reader::default()
        .push(bytes)
        .into_iter()
        .map(|result| {
            result
                .map(|request| request.command)
                .map_err(|refused| (refused.fault.class().to_owned(), refused.fault.to_string()))
        })
        .collect()
}

fn sync(id: i64, delimited: bool) -> Command {
    Command::Sync {
        id: id.into(),
        delimited,
    }
}

fn generic(description: &str) -> Result<Command, (String, String)> {
    Err(("GenericError".into(), description.into()))
}

#[test]
fn the_commands_of_libvirt_and_proxmox() {
    let text = br#"{"execute":"guest-sync","arguments":{"id":1724000000123}}
{"execute":"guest-ping"}
{ "execute": "guest-set-time", "arguments": { "time": 1795435200000000000 } }
{"execute":"guest-set-time"}
{"execute":"guest-fsfreeze-freeze-list","arguments":{"mountpoints":["/persistent"]}}
{"execute":"guest-fsfreeze-thaw","arguments":{}}
{"execute":"guest-shutdown"}{"execute":"guest-shutdown","arguments":{"mode":"reboot"}}"#;
    assert_eq!(
        heard(text),
        [
            Ok(sync(1_724_000_000_123, false)),
            Ok(Command::Ping),
            Ok(Command::SetTime(Some(1_795_435_200_000_000_000))),
            Ok(Command::SetTime(None)),
            Ok(Command::Freeze(Some(vec!["/persistent".into()]))),
            Ok(Command::Thaw),
            Ok(Command::Shutdown(Mode::PowerDown)),
            Ok(Command::Shutdown(Mode::Reboot)),
        ]
    );
}

#[test]
fn requests_need_no_line_between_them() {
    let text = br#"{"execute":"guest-sync-delimited","arguments":{"id":7}}{"execute":"guest-ping","id":[1]}"#;
    assert_eq!(heard(text), [Ok(sync(7, true)), Ok(Command::Ping)]);
    let ids: Vec<_> = Reader::default()
        .push(text)
        .into_iter()
        .flatten()
        .map(|request| request.id)
        .collect();
    assert_eq!(ids, [None, Some(json!([1]))]);
}

#[test]
fn every_known_command_is_understood() {
    for command in COMMANDS {
        let arguments = if command.arguments == ["id"] {
            json!({ "id": 1 })
        } else {
            json!({})
        };
        let text = json!({ "execute": command.name, "arguments": arguments }).to_string();
        assert!(
            matches!(heard(text.as_bytes()).as_slice(), [Ok(_)]),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_is_named() {
    let cases = [
        (
            r#"{"execute":"guest-ping","arguments":{"x":1}}"#,
            r#"The argument "x" of guest-ping is not known."#,
        ),
        (
            r#"{"execute":"guest-sync"}"#,
            r#"The argument "id" of guest-sync is missing."#,
        ),
        (
            r#"{"execute":"guest-sync","arguments":{"id":"1"}}"#,
            r#"The argument "id" of guest-sync is no integer."#,
        ),
        (
            r#"{"execute":"guest-set-time","arguments":{"time":-1}}"#,
            r#"The argument "time" of guest-set-time is no time since 1970."#,
        ),
        (
            r#"{"execute":"guest-shutdown","arguments":{"mode":"now"}}"#,
            r#"The argument "mode" of guest-shutdown is "now" and neither halt nor powerdown nor reboot."#,
        ),
        (
            r#"{"execute":"guest-fsfreeze-freeze-list","arguments":{"mountpoints":[1]}}"#,
            r#"The argument "mountpoints" of guest-fsfreeze-freeze-list is no list of strings."#,
        ),
        (
            r#"{"arguments":{}}"#,
            r#"The request is not understood: it has no "execute"."#,
        ),
        (
            r#"{"execute":1}"#,
            r#"The request is not understood: its "execute" is no string."#,
        ),
        (
            r#"{"execute":"guest-ping","arguments":[]}"#,
            r#"The request is not understood: its "arguments" are no object."#,
        ),
        (
            r#"{"execute":"guest-ping","extra":1}"#,
            r#"The request is not understood: it has an unknown "extra"."#,
        ),
        (
            "guest-ping\n",
            "The request is not understood: it is no JSON object.",
        ),
        (
            "{\"execute\":\"guest-\nping\"}",
            "The request is not understood: a string has no end.",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(
            heard(text.as_bytes()).first(),
            Some(&generic(expected)),
            "{text}"
        );
    }
    assert_eq!(
        heard(br#"{"execute":"guest-exec","id":3}"#),
        [Err((
            "CommandNotFound".into(),
            "The command \"guest-exec\" is not known.".into()
        ))]
    );
}

#[test]
fn a_fault_spoils_its_line_and_no_more() {
    let text = b"nonsense {\"execute\":\"guest-ping\"}\n{\"execute\":\"guest-info\"}\n";
    assert_eq!(heard(text).get(1..), Some([Ok(Command::Info)].as_slice()));
    // An object that is no JSON.
    let text = b"{execute}{\"execute\":\"guest-info\"}";
    assert_eq!(heard(text).get(1..), Some([Ok(Command::Info)].as_slice()));
}

#[test]
fn a_request_that_never_ends_is_given_up() {
    let mut reader = Reader::default();
    let mut text = b"{\"execute\":\"".to_vec();
    text.resize(LONGEST * 3, b'x');
    let results = reader.push(&text);
    assert_eq!(
        results,
        [Err(Refused {
            id: None,
            fault: Fault::TooLong
        })]
    );
    assert!(reader.text.len() <= LONGEST);
    assert_eq!(reader.push(b"\n{\"execute\":\"guest-ping\"}").len(), 1);
}

#[test]
fn answers_have_the_protocols_form() {
    assert_eq!(answer(None, Ok(json!({}))), b"{\"return\":{}}\n");
    assert_eq!(
        answer(Some(json!(3)), Err(Fault::NotFound("x".into()))),
        b"{\"error\":{\"class\":\"CommandNotFound\",\"desc\":\"The command \\\"x\\\" is not known.\"},\"id\":3}\n"
    );
}

proptest! {
    #[test]
    fn after_the_sentinel_any_past_is_forgotten(past in proptest::collection::vec(any::<u8>(), 0..300), id in any::<i64>()) {
        let mut reader = Reader::default();
        let _ = reader.push(&past);
        let text = format!("{{\"execute\":\"guest-sync-delimited\",\"arguments\":{{\"id\":{id}}}}}");
        let mut bytes = vec![SENTINEL];
        bytes.extend(text.bytes());
        let heard: Vec<_> = reader.push(&bytes).into_iter().map(|result| result.map(|request| request.command)).collect();
        prop_assert_eq!(heard, [Ok(sync(id, true))]);
    }

    #[test]
    fn the_cuts_between_reads_do_not_matter(pieces in proptest::collection::vec(piece(), 0..12), cut in 1usize..40) {
        let bytes = pieces.concat();
        let mut reader = Reader::default();
        let parts: Vec<_> = bytes.chunks(cut).flat_map(|chunk| reader.push(chunk)).collect();
        prop_assert_eq!(parts, Reader::default().push(&bytes));
        prop_assert!(reader.text.len() <= LONGEST);
    }

    #[test]
    fn every_answer_is_one_line_of_json(text in ".{0,60}") {
        let line = answer(Some(Value::String(text.clone())), Err(Fault::NotFound(text)));
        prop_assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1));
        prop_assert!(serde_json::from_slice::<Value>(&line).is_ok());
    }
}

/// Bytes as they may come, close to what is meant to come.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..20),
        "[{}\\[\\]\"\\\\,: a\n]{0,20}".prop_map(String::into_bytes),
        Just(br#"{"execute":"guest-ping","id":"}"}"#.to_vec()),
        Just(b"\xff".to_vec()),
        Just(b"\n".to_vec()),
    ]
}
