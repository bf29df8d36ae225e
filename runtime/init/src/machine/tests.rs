//! What the sources make of the settings together.

use super::*;
use serde_json::json;

fn machine() -> Machine {
    let value = json!({ "name": "hello", "app": { "gracePeriod": 7 } });
    let settings = serde_json::from_value(value.clone()).unwrap_or_default();
    Machine::new(value, settings)
}

fn credential(name: &str, value: &str) -> Credential {
    Credential {
        name: name.into(),
        value: value.into(),
    }
}

#[test]
fn the_later_source_wins_and_the_single_setting_in_each() {
    let mut machine = machine();
    machine.take(
        "fw_cfg",
        vec![
            credential("tinyboot.app.gracePeriod", "11"),
            credential("tinyboot.network.deadline", "12"),
            credential(
                "tinyboot.settings",
                r#"{"app": {"gracePeriod": 13}, "storage": {"deadline": 14}}"#,
            ),
            credential("secret", "from fw_cfg"),
        ],
    );
    machine.take(
        "SMBIOS",
        vec![
            credential("tinyboot.network.deadline", "21"),
            credential("secret", "from SMBIOS"),
        ],
    );
    machine.set("the command line", "storage.deadline", "31");
    machine.set("the command line", "network.deadline", "never");
    assert_eq!(
        machine.credentials.get("secret").map(Vec::as_slice),
        Some(b"from SMBIOS".as_slice())
    );
    let settings = machine.layers.settings();
    assert_eq!(settings.app.grace_period, 11);
    assert_eq!(settings.network.deadline, 21);
    assert_eq!(settings.storage.deadline, 31);
}

#[test]
fn there_is_room_for_so_many_bytes() {
    let mut machine = machine();
    let large = "x".repeat(LONGEST - 1);
    machine.take(
        "SMBIOS",
        vec![
            credential("a", &large),
            credential("b", "yy"),
            credential("c", "z"),
        ],
    );
    assert_eq!(machine.credentials.keys().collect::<Vec<_>>(), ["a", "c"]);
    // Its own place is free for what replaces it.
    machine.take(
        "SMBIOS",
        vec![credential("a", "small"), credential("b", &large)],
    );
    assert_eq!(machine.credentials.keys().collect::<Vec<_>>(), ["a", "c"]);
    machine.take("SMBIOS", vec![credential("b", &"x".repeat(LONGEST - 6))]);
    assert_eq!(machine.credentials.len(), 3);
}

#[test]
fn an_image_that_wants_none_has_none() {
    let value = json!({ "control": { "machineSettings": false }, "app": { "gracePeriod": 7 } });
    let settings: Settings = serde_json::from_value(value.clone()).unwrap_or_default();
    assert_eq!(customise(settings.clone(), value), settings);
}

#[test]
fn without_credentials_the_app_is_not_told_of_any() {
    let settings = machine().finish(Path::new("/nowhere/at/all"));
    assert!(settings.app.environment.is_empty());
}

#[test]
fn the_beginning_of_what_is_too_long_is_not_taken_for_the_whole() -> io::Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("raw");
    std::fs::write(&path, vec![b'x'; LONGEST])?;
    assert_eq!(read(&path)?.len(), LONGEST);
    std::fs::write(&path, vec![b'x'; LONGEST + 1])?;
    let error = read(&path).err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("it has more than 1048576 bytes"));
    Ok(())
}
