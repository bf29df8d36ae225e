//! Settings laid over those that the image was built with, one by one: a wrong one changes nothing. No I/O here.
//!
//! Which settings there are and what they take is known in one place, [`Settings`]: a value is put where its key says, and
//! what cannot be read as settings then is refused.

use serde_json::{Map, Value};

use crate::settings::Settings;

/// Why a value is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It would be another program, or the program would lie elsewhere.
    #[error("it is a matter of the image")]
    Fixed,
    /// Settings have two words at least.
    #[error("there is no such setting")]
    NoSection,
    /// There is no such setting, or it takes other values.
    #[error("{0}")]
    Wrong(serde_json::Error),
    /// A whole set of settings is none.
    #[error("it is no JSON object of JSON objects")]
    NoObject,
    /// The form is right, the value is not.
    #[error("{0}")]
    Refused(String),
}

/// The settings as they are so far.
pub struct Layers {
    value: Value,
    settings: Settings,
}

impl Layers {
    /// Those of the image. `value` is what `settings` were read from.
    pub fn new(value: Value, settings: Settings) -> Self {
        Self { value, settings }
    }

    /// The result.
    pub fn settings(self) -> Settings {
        self.settings
    }

    /// Sets what `key` names, such as `app.gracePeriod` or `app.environment.RUST_LOG`, or with the key `settings` all that
    /// a JSON object has. A value is JSON; what is not, or does not fit so, is a string, or else a list of strings with
    /// commas between them.
    ///
    /// Each of the keys that was tried, and how it went.
    pub fn set(&mut self, key: &str, text: &str) -> Vec<(String, Result<(), Error>)> {
        let text = text.trim();
        if key == "settings" {
            return self.set_all(text);
        }
        vec![(key.to_owned(), self.set_text(key, text))]
    }

    fn set_text(&mut self, key: &str, text: &str) -> Result<(), Error> {
        let json = serde_json::from_str(text).ok();
        let items = text.split(',').map(str::trim);
        let list: Value = items
            .filter(|item| !item.is_empty())
            .map(Value::from)
            .collect();
        let mut complaint = None;
        for value in json.into_iter().chain([Value::from(text), list]) {
            match self.put(key, value) {
                Ok(()) => return Ok(()),
                // It has the form, and is not what is wanted: another form would make another value of it.
                Err(error @ (Error::Fixed | Error::Refused(_))) => return Err(error),
                // The first complaint is the one about what was most likely meant.
                Err(error) => drop(complaint.get_or_insert(error)),
            }
        }
        complaint.map_or(Ok(()), Err)
    }

    fn set_all(&mut self, text: &str) -> Vec<(String, Result<(), Error>)> {
        let all: Map<String, Value> = match serde_json::from_str(text) {
            Ok(all) => all,
            Err(_) => return vec![("settings".into(), Err(Error::NoObject))],
        };
        let mut results = Vec::new();
        for (section, values) in all {
            let Value::Object(values) = values else {
                results.push((section, Err(Error::NoObject)));
                continue;
            };
            for (name, value) in values {
                let key = format!("{section}.{name}");
                let result = self.put(&key, value);
                results.push((key, result));
            }
        }
        results
    }

    fn put(&mut self, key: &str, value: Value) -> Result<(), Error> {
        if !key.contains('.') {
            return Err(Error::NoSection);
        }
        let mut changed = self.value.clone();
        // Only a section, a name, and a name in a map: a variable of the environment may have dots.
        let mut place = &mut changed;
        for part in key.splitn(3, '.') {
            if !place.is_object() {
                *place = Value::Object(Map::new());
            }
            let Value::Object(object) = place else {
                return Err(Error::NoObject);
            };
            place = object.entry(part).or_insert(Value::Null);
        }
        *place = value;
        let settings: Settings = serde_json::from_value(changed.clone()).map_err(Error::Wrong)?;
        if fixed(&settings) != fixed(&self.settings) {
            return Err(Error::Fixed);
        }
        if let Some(problem) = added(self.settings.problems(), settings.problems()) {
            return Err(Error::Refused(problem));
        }
        self.value = changed;
        self.settings = settings;
        Ok(())
    }
}

/// The first problem that was not there before: what is wrong already must not cost the machine what it is told rightly.
fn added(mut before: Vec<String>, now: Vec<String>) -> Option<String> {
    now.into_iter().find(|problem| {
        let known = before.iter().position(|known| known == problem);
        known.map(|at| before.swap_remove(at)).is_none()
    })
}

/// What the image is, whatever machine it runs on.
fn fixed(settings: &Settings) -> impl PartialEq {
    (
        settings.name.clone(),
        settings.volume_id.clone(),
        settings.app.command.clone(),
        settings.app.links.clone(),
        settings.app.sandbox.clone(),
        settings.storage.closure.clone(),
        settings.clock.floor,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::OnExit;
    use proptest::prelude::*;
    use serde_json::json;

    fn layers() -> Layers {
        let value = json!({
            "name": "hello",
            "app": { "command": ["/app/hello"], "gracePeriod": 7, "environment": { "A": "1" } },
        });
        let settings = serde_json::from_value(value.clone()).unwrap_or_default();
        Layers::new(value, settings)
    }

    /// The error's sentence, or nothing.
    fn tried(layers: &mut Layers, key: &str, text: &str) -> String {
        let results = layers.set(key, text).into_iter();
        results
            .filter_map(|(key, result)| Some(format!("{key}: {}", result.err()?)))
            .collect::<Vec<_>>()
            .join("; ")
    }

    #[test]
    fn each_kind_of_value() {
        let mut layers = layers();
        for (key, text) in [
            ("app.gracePeriod", "30\n"),
            ("app.onExit", "poweroff"),
            ("app.arguments", "--verbose,--colour"),
            ("app.environment.RUST_LOG", "info"),
            ("app.environment.my.dots", "1"),
            ("storage.grow", "true"),
            ("storage.compress", "zstd:3"),
            ("storage.discard", "true"),
            ("storage.persistent", "serial:data"),
            ("network.hostName", "kiosk"),
            ("clock.servers", r#"["10.0.0.1", "time.example.org"]"#),
            ("control.agent", "false"),
        ] {
            assert_eq!(tried(&mut layers, key, text), "", "{key}");
        }
        let settings = layers.settings();
        assert_eq!(settings.name, "hello");
        assert_eq!(settings.app.command, ["/app/hello"]);
        assert_eq!(settings.app.arguments, ["--verbose", "--colour"]);
        assert_eq!(settings.app.grace_period, 30);
        assert_eq!(settings.app.on_exit, OnExit::PowerOff);
        let environment: Vec<_> = settings.app.environment.iter().collect();
        let pairs = [("A", "1"), ("RUST_LOG", "info"), ("my.dots", "1")];
        assert_eq!(
            environment,
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .iter()
                .map(|(name, value)| (name, value))
                .collect::<Vec<_>>()
        );
        assert!(settings.storage.grow && settings.storage.discard && !settings.control.agent);
        assert_eq!(settings.storage.compress.as_deref(), Some("zstd:3"));
        assert_eq!(settings.storage.persistent.as_deref(), Some("serial:data"));
        assert_eq!(settings.network.host_name.as_deref(), Some("kiosk"));
        assert_eq!(settings.clock.servers, ["10.0.0.1", "time.example.org"]);
    }

    #[test]
    fn what_looks_like_another_kind_is_what_is_wanted() {
        let mut layers = layers();
        assert_eq!(tried(&mut layers, "network.hostName", "42"), "");
        assert_eq!(tried(&mut layers, "clock.servers", "10.0.0.1"), "");
        assert_eq!(tried(&mut layers, "app.arguments", "5"), "");
        assert_eq!(tried(&mut layers, "app.environment.B", "null"), "");
        let settings = layers.settings();
        assert_eq!(settings.network.host_name.as_deref(), Some("42"));
        assert_eq!(settings.clock.servers, ["10.0.0.1"]);
        assert_eq!(settings.app.arguments, ["5"]);
        assert_eq!(
            settings.app.environment.get("B").map(String::as_str),
            Some("null")
        );
    }

    #[test]
    fn a_wrong_one_is_named_and_changes_nothing() {
        let mut layers = layers();
        let before = layers.settings.clone();
        for (key, text, expected) in [
            (
                "app.gracePeriod",
                "soon",
                "app.gracePeriod: invalid type: string \"soon\", expected u32",
            ),
            (
                "app.gracePeriod",
                "-1",
                "app.gracePeriod: invalid value: integer `-1`, expected u32",
            ),
            (
                "app.gracePeriod",
                "0",
                "app.gracePeriod: 0 is no number of seconds from 1 to 86400",
            ),
            (
                "network.deadline",
                "86401",
                "network.deadline: 86401 is no number of seconds from 1 to 86400",
            ),
            (
                "network.hostName",
                "a b",
                "network.hostName: \"a b\" is no host name",
            ),
            (
                "network.links.eth0",
                r#"{"addresses": ["192.0.2.10/24", "192.0.2.11"]}"#,
                "network.links.eth0: the address \"192.0.2.11\" of the link eth0 is not one that a host can have with the length of its prefix, such as 192.0.2.10/24",
            ),
            (
                "network.links",
                r#"{"eth0": {}}"#,
                "network.links: the link eth0 has settings but no address",
            ),
            (
                "storage.compress",
                "lzo",
                "storage.compress: \"lzo\" is neither zstd nor zstd:1 to zstd:15",
            ),
            (
                "storage.compress",
                "zstd:16",
                "storage.compress: \"zstd:16\" is neither zstd nor zstd:1 to zstd:15",
            ),
            (
                "storage.compress",
                "zstd,subvolid=5",
                "storage.compress: \"zstd,subvolid=5\" is neither zstd nor zstd:1 to zstd:15",
            ),
            (
                "storage.persistent",
                "/dev/vdb",
                "storage.persistent: \"/dev/vdb\" is neither uuid: and a UUID, serial: and a serial number, nor bus: and ata, mmc, nvme, scsi, usb, virtio, vmbus or xen",
            ),
            (
                "storage.discard",
                "sometimes",
                "storage.discard: invalid type: string \"sometimes\", expected a boolean",
            ),
            ("name", "other", "name: there is no such setting"),
            (
                "app",
                r#"{"command": ["/bin/sh"]}"#,
                "app: there is no such setting",
            ),
            (
                "app.command",
                "/bin/sh",
                "app.command: it is a matter of the image",
            ),
            (
                "app.sandbox",
                "null",
                "app.sandbox: it is a matter of the image",
            ),
            (
                "log.syslog",
                "example.org",
                "log.syslog: \"example.org\" is neither udp://host:port nor tcp://host:port",
            ),
            (
                "app.links./bin/sh",
                "/x",
                "app.links./bin/sh: it is a matter of the image",
            ),
            (
                "settings",
                "[]",
                "settings: it is no JSON object of JSON objects",
            ),
        ] {
            assert_eq!(tried(&mut layers, key, text), expected, "{key}={text}");
        }
        for (key, text, word) in [
            ("app.grace", "1", "unknown field `grace`"),
            ("apps.gracePeriod", "1", "unknown field `apps`"),
            ("app.onExit", "explode", "unknown variant `explode`"),
            ("app.gracePeriod.x", "1", "invalid type: map"),
            ("app.", "1", "unknown field ``"),
            (
                "settings",
                r#"{"app": {"command": ["/bin/sh"]}}"#,
                "app.command: it is a matter of the image",
            ),
        ] {
            let sentence = tried(&mut layers, key, text);
            assert!(sentence.contains(word), "{sentence}");
        }
        assert_eq!(layers.settings, before);
    }

    #[test]
    fn what_no_program_could_be_started_with_is_refused() {
        let mut layers = layers();
        let before = layers.settings.clone();
        let long = "x".repeat(128 * 1024);
        let many = ["y".repeat(100_000).as_str(); 12].join(",");
        for (key, text, expected) in [
            (
                "app.arguments",
                "--x\0",
                "app.arguments: \"--x\\0\" has a zero byte in it",
            ),
            (
                "app.arguments",
                r#"["a\u0000b"]"#,
                "app.arguments: \"a\\0b\" has a zero byte in it",
            ),
            (
                "app.environment.A",
                "1\0",
                "app.environment.A: \"1\\0\" has a zero byte in it",
            ),
            (
                "app.arguments",
                &long,
                "app.arguments: an argument or variable has 131072 bytes, and 131071 are the most",
            ),
            (
                "app.arguments",
                &many,
                "app.arguments: arguments and environment have 1200139 bytes together, and 1048576 are the most",
            ),
            (
                "app.environment.",
                "1",
                "app.environment.: \"\" is no name of a variable",
            ),
            (
                "app.environment.A=B",
                "1",
                "app.environment.A=B: \"A=B\" is no name of a variable",
            ),
            (
                "app.environment.A\0",
                "1",
                "app.environment.A\0: the name of a variable has a zero byte in it",
            ),
        ] {
            assert_eq!(tried(&mut layers, key, text), expected, "{key}");
        }
        assert_eq!(layers.settings, before);
        let fits = "x".repeat(128 * 1024 - 1);
        assert_eq!(tried(&mut layers, "app.arguments", &fits), "");
    }

    #[test]
    fn a_fault_of_the_image_is_not_held_against_the_machine() {
        let value = json!({ "log": { "syslog": "udp://h:70000" }, "app": { "gracePeriod": 0 } });
        let settings = serde_json::from_value(value.clone()).unwrap_or_default();
        let mut layers = Layers::new(value, settings);
        for (key, text, expected) in [
            ("network.hostName", "kiosk", ""),
            (
                "network.hostName",
                "a b",
                "network.hostName: \"a b\" is no host name",
            ),
            (
                "network.deadline",
                "0",
                "network.deadline: 0 is no number of seconds from 1 to 86400",
            ),
            (
                "log.syslog",
                "udp://h:70001",
                "log.syslog: \"udp://h:70001\" is neither udp://host:port nor tcp://host:port",
            ),
            ("log.syslog", "udp://h:7000", ""),
            ("app.gracePeriod", "5", ""),
        ] {
            assert_eq!(tried(&mut layers, key, text), expected, "{key}={text}");
        }
        assert_eq!(layers.settings.problems(), Vec::<String>::new());
    }

    #[test]
    fn of_a_whole_set_the_good_ones_are_taken() {
        let mut layers = layers();
        let text =
            r#"{"app": {"gracePeriod": 20, "onExit": 3}, "network": {"deadline": 4}, "clock": 1}"#;
        let sentences = tried(&mut layers, "settings", text);
        assert!(sentences.starts_with("app.onExit: "), "{sentences}");
        assert!(
            sentences.ends_with("clock: it is no JSON object of JSON objects"),
            "{sentences}"
        );
        let settings = layers.settings();
        assert_eq!(
            (settings.app.grace_period, settings.network.deadline),
            (20, 4)
        );
    }

    proptest! {
        #[test]
        fn the_image_stays_what_it_is(key in "(app|name|clock|storage|network|control|settings)?\\.?(command|floor|closure|links)?(\\..{0,5})?", text in ".{0,40}") {
            let mut layers = layers();
            let _ = layers.set(&key, &text);
            let settings = layers.settings();
            prop_assert_eq!(settings.name, "hello");
            prop_assert_eq!(settings.app.command, ["/app/hello"]);
            prop_assert!(settings.app.links.is_empty() && settings.storage.closure.is_none());
            prop_assert_eq!(settings.clock.floor, 0);
        }
    }
}
