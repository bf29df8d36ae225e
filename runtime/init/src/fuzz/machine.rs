//! What an image, a host and whoever boots say about the machine.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::Input;
use super::kernel::check_line;
use crate::console::syslog::target::Target;
use crate::machine::cmdline;
use crate::machine::credential::Credential;
use crate::machine::smbios::strings;
use crate::machine::{LONGEST, Machine};
use crate::net::fixed::command_line::{self as ip, Way};
use crate::net::fixed::{Fixed, Plan};
use crate::settings::parse;

/// Settings of each kind.
const KEYS: [&str; 20] = [
    "name",
    "app.command",
    "app.arguments",
    "app.environment",
    "app.gracePeriod",
    "app.onExit",
    "app.readyTimeout",
    "app.watchdog",
    "app.sandbox",
    "network.hostName",
    "network.deadline",
    "network.longestRetry",
    "network.links",
    "storage.deadline",
    "storage.closure",
    "storage.grow",
    "clock.floor",
    "clock.servers",
    "control.agent",
    "log.syslog",
];

/// A value of any kind, most of them at some limit.
fn any_value(input: &mut Input<'_>) -> Value {
    let texts = [
        "kiosk",
        "poweroff",
        "udp://a:1",
        "",
        "192.0.2.1/24",
        "CAP_KILL",
    ];
    match input.byte() % 8 {
        0 => input.pick(0, &[1, 86400, 86401, i64::MAX, -1]).into(),
        1 => input.u32().into(),
        2 => Value::Bool(input.seldom(2)),
        3 => Value::Null,
        4 => String::from_utf8_lossy(input.piece()).into(),
        5 => Value::from_iter([input.pick("a", &texts), input.pick("b", &texts)]),
        6 => {
            let list = Value::from_iter([input.pick("::1/64", &texts)]);
            let link = input.pick("addresses", &["gateways", "dns", "search", "NOFILE"]);
            let first = input.pick("eth0", &["*", "limits", "capabilities"]);
            json!({ first: { link: list } })
        }
        _ => input.pick("reboot", &texts).into(),
    }
}

/// A file that has a few of the settings.
fn file(input: &mut Input<'_>) -> String {
    let mut all = Map::new();
    for _ in 0..input.byte() % 8 {
        let (key, value) = (input.pick("volumeId", &KEYS), any_value(input));
        match key.split_once('.') {
            Some((section, name)) => {
                let section = all.entry(section).or_insert_with(|| json!({}));
                if let Value::Object(section) = section {
                    section.insert(name.into(), value);
                }
            }
            None => drop(all.insert(key.into(), value)),
        }
    }
    Value::Object(all).to_string()
}

/// The image's settings as a file, and the links' addresses in them. What does not begin as a file does chooses one.
pub fn settings(data: &[u8]) {
    let parsed = if data.first().is_none_or(|first| b"{[ ".contains(first)) {
        parse(data)
    } else {
        parse(file(&mut Input::new(data)).as_bytes())
    };
    let Ok((settings, value)) = parsed else {
        return;
    };
    assert!(value.is_object());
    let fine = settings.problems().is_empty();
    if let Some(text) = &settings.log.syslog {
        assert!(!fine || Target::parse(text).is_some(), "{text:?}");
    }
    assert!(!fine || (1..=86400).contains(&settings.app.grace_period));
    if let Some(sandbox) = &settings.app.sandbox {
        let _ = sandbox.kept();
    }
    let mut plan = Plan::new("", &settings.network.links);
    for link in settings
        .network
        .links
        .keys()
        .map(String::as_str)
        .chain(["eth0"])
    {
        if let Some(fixed) = plan.of(link, [2, 0, 0, 0, 0, 1]) {
            check_fixed(&fixed);
            assert!(!fixed.addresses.is_empty());
        }
    }
}

/// The sources of a machine's own settings one after the other, in any form: what results has no problem, is the same image, and
/// the credentials have bounds.
pub fn machine(data: &[u8]) {
    let mut input = Input::new(data);
    let value = json!({ "name": "hello", "app": { "command": ["/app/hello"], "gracePeriod": 7 }, "clock": { "floor": 5 } });
    let settings = serde_json::from_value(value.clone()).unwrap_or_default();
    let mut machine = Machine::new(value, settings);
    for _ in 0..12 {
        if input.is_empty() {
            break;
        }
        match input.byte() % 5 {
            0 => {
                let line = String::from_utf8_lossy(input.piece());
                for (key, text) in cmdline::settings(&line) {
                    machine.set("the command line", key, text);
                }
            }
            1 => {
                let found = strings(input.piece());
                let found = found.into_iter().filter_map(Credential::parse).flatten();
                machine.take("SMBIOS", found.collect());
            }
            2 => {
                let (name, value) = (input.piece(), input.piece());
                let found = Credential::new(name, value.to_vec()).into_iter();
                machine.take("fw_cfg", found.collect());
            }
            3 => {
                let (key, value) = (input.pick("settings", &KEYS), any_value(&mut input));
                let text = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                machine.set("a source", key, &text);
            }
            _ => {
                let texts = [input.piece(), input.piece()].map(String::from_utf8_lossy);
                let [key, text] = &texts;
                machine.set("a source", key, text);
            }
        }
    }
    let total: usize = machine.credentials.values().map(Vec::len).sum();
    assert!(total <= LONGEST);
    for name in machine.credentials.keys() {
        assert!(
            !name.is_empty() && !name.starts_with('.') && !name.contains('/'),
            "{name:?}"
        );
    }
    let settings = machine.layers.settings();
    assert_eq!(settings.problems(), Vec::<String>::new());
    assert_eq!(settings.name, "hello");
    assert_eq!(settings.app.command, ["/app/hello"]);
    assert_eq!(settings.clock.floor, 5);
}

/// The table of SMBIOS, and its strings as credentials.
pub fn smbios(data: &[u8]) {
    let mut input = Input::new(data);
    let table = if input.seldom(3) {
        input.rest().to_vec()
    } else {
        let mut table = Vec::new();
        for _ in 0..8 {
            if input.is_empty() {
                break;
            }
            let kind = input.pick(11, &[1, 0, 127]);
            let formatted = input.byte() % 8;
            table.extend([kind, 4 + formatted, 0, 1]);
            table.extend(input.take(formatted.into()));
            let prefix: &[u8] = input.pick(
                b"io.systemd.credential:",
                &[b"io.systemd.credential.binary:", b""],
            );
            table.extend(prefix);
            table.extend(input.piece());
            table.extend([0, 0]);
        }
        table
    };
    let found = strings(&table);
    let length: usize = found.iter().map(|text| text.len() + 1).sum();
    assert!(length <= table.len());
    for text in found {
        match Credential::parse(text) {
            Some(Ok(credential)) => {
                assert!(credential.value.len() <= text.len());
                assert!((1..=255).contains(&credential.name.len()));
                assert!(!credential.name.contains(['/', '\0']));
            }
            Some(Err(error)) => check_line(&error.to_string()),
            None => {}
        }
    }
}

/// The kernel's command line: parameters for init, and `ip=`.
pub fn command_line(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    for (key, value) in cmdline::settings(&line) {
        // A parameter without a value says "true".
        assert!(line.contains(key) && (line.contains(value) || value == "true"));
    }
    for parameter in ip::parse(&line) {
        match parameter {
            Ok(parameter) => {
                let device = parameter.device.as_deref().unwrap_or("eth0");
                assert!(
                    (1..=15).contains(&device.len()) && !device.contains(['/', ' ']),
                    "{device:?}"
                );
                if let Way::Fixed(fixed) = &parameter.way {
                    check_fixed(fixed);
                }
            }
            Err(error) => assert!(error.to_string().len() <= 3 * line.len() + 300),
        }
    }
    let mut plan = Plan::new(&line, &BTreeMap::new());
    for link in ["eth0", "eth1"] {
        if let Some(fixed) = plan.of(link, [2, 0, 0, 0, 0, 1]) {
            check_fixed(&fixed);
        }
    }
    assert!(
        plan.host_name()
            .is_none_or(|name| (1..=253).contains(&name.len()))
    );
}

fn check_fixed(fixed: &Fixed) {
    for (address, prefix) in &fixed.addresses {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        assert!((1..=longest).contains(prefix), "{address}/{prefix}");
    }
    let addresses = fixed.addresses.iter().map(|(address, _)| address);
    for address in addresses.chain(&fixed.gateways).chain(&fixed.dns) {
        assert!(
            !address.is_unspecified() && !address.is_multicast() && !address.is_loopback(),
            "{address}"
        );
    }
}

/// The receiver of syslog messages: what is read is shown as it is read.
pub fn syslog(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    if let Some(target) = Target::parse(&text) {
        assert!(!target.host.is_empty() && target.port != 0, "{target:?}");
        assert_eq!(Target::parse(&target.to_string()).as_ref(), Some(&target));
    }
}
