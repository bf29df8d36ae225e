//! Nix and Rust know the same settings, defaults, capabilities and limits: nix/settings.nix writes `table.json`, and these
//! tests compare it with the types.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::sandbox::RESOURCES;
use super::{Capabilities, Settings};

const TABLE: &str = include_str!("table.json");

/// The builder adds these to each image; no user can set them.
const FROM_THE_BUILDER: [&str; 5] = [
    "name",
    "volumeId",
    "app.command",
    "storage.closure",
    "clock.floor",
];

fn table(key: &str) -> Value {
    let table: Value = serde_json::from_str(TABLE).unwrap();
    table.get(key).unwrap().clone()
}

fn parsed(value: &Value) -> Settings {
    serde_json::from_value(value.clone()).unwrap()
}

/// The fields that Rust knows below a path: serde lists them when it refuses one that it does not know.
fn fields(path: &[&str]) -> BTreeSet<String> {
    let unknown = json!({ "?": 0 });
    let wrapped = path.iter().rev().fold(unknown, |inner, name| {
        Value::Object(Map::from_iter([((*name).to_string(), inner)]))
    });
    let error = serde_json::from_value::<Settings>(wrapped)
        .unwrap_err()
        .to_string();
    let (_, list) = error.split_once("expected ").unwrap();
    let names = list.split('`').skip(1).step_by(2);
    names
        .map(|name| [path, &[name]].concat().join("."))
        .filter(|name| !FROM_THE_BUILDER.contains(&name.as_str()))
        .collect()
}

/// The fields of the table's defaults below a path.
fn listed(path: &[&str]) -> BTreeSet<String> {
    let defaults = table("defaults");
    let group = path
        .iter()
        .fold(&defaults, |value, name| value.get(name).unwrap());
    let names = group.as_object().unwrap().keys();
    names
        .map(|name| [path, &[name]].concat().join("."))
        .collect()
}

#[test]
fn nix_and_rust_have_the_same_settings() {
    assert_eq!(listed(&[]), fields(&[]));
    let defaults = table("defaults");
    for group in defaults.as_object().unwrap().keys() {
        assert_eq!(listed(&[group]), fields(&[group]));
    }
    assert_eq!(listed(&["app", "sandbox"]), fields(&["app", "sandbox"]));
}

#[test]
fn nix_and_rust_have_the_same_defaults() {
    assert_eq!(parsed(&table("defaults")), Settings::default());
}

#[test]
fn rust_takes_an_example_of_every_setting() {
    assert_eq!(parsed(&table("examples")).problems(), Vec::<String>::new());
    assert_eq!(parsed(&json!({"app": {"sandbox": null}})).app.sandbox, None);
}

#[test]
fn nix_and_rust_have_the_same_capabilities_and_limits() {
    let all: Capabilities = serde_json::from_value(table("capabilities")).unwrap();
    assert_eq!(all, Capabilities::ALL);
    let limits: Vec<String> = serde_json::from_value(table("limits")).unwrap();
    assert_eq!(limits, RESOURCES.map(|(name, _)| name));
}
