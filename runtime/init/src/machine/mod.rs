//! What this one machine is told, without another image: settings that replace the image's, and credentials for the app.
//!
//! | source | who writes it | settings | credentials |
//! |---|---|---|---|
//! | the image | who builds it | all | none |
//! | fw_cfg | who starts QEMU | `tinyboot.…` | all others |
//! | SMBIOS, type 11 | who defines the machine | `tinyboot.…` | all others |
//! | the kernel's command line | who starts this boot | `tinyboot.…` | none: every process can read it |
//!
//! The later one in this list wins, since it is the nearer one to this boot. What is wrong is told in one sentence and
//! left out, and what was there before it stays.

pub mod cmdline;
pub(crate) mod credential;
mod fw_cfg;
pub(crate) mod layers;
pub(crate) mod smbios;
mod store;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

use crate::settings::Settings;
use credential::Credential;
use layers::Layers;

/// Where the app finds its credentials.
pub const CREDENTIALS: &str = "/run/credentials";
/// All structures of SMBIOS, as the firmware has them in memory.
const SMBIOS: &str = "/sys/firmware/dmi/tables/DMI";
const COMMAND_LINE: &str = "/proc/cmdline";
/// What credentials begin with that are settings.
const PREFIX: &str = "tinyboot.";
/// How much is read from one source at most, and how large all credentials together may be.
pub(crate) const LONGEST: usize = 1 << 20;

/// Settings of the image and what is laid over them.
pub fn customise(settings: Settings, value: Value) -> Settings {
    if !settings.control.machine_settings {
        return settings;
    }
    let mut machine = Machine::new(value, settings);
    for (source, found) in [("fw_cfg", fw_cfg::read()), ("SMBIOS", from_smbios())] {
        let found = found.into_iter().filter_map(|credential| {
            credential
                .inspect_err(|error| log::warn!("settings: {source}: {error}; it is ignored"))
                .ok()
        });
        machine.take(source, found.collect());
    }
    let line = read(Path::new(COMMAND_LINE)).unwrap_or_default();
    for (key, text) in cmdline::settings(&String::from_utf8_lossy(&line)) {
        machine.set("the command line", key, text);
    }
    machine.finish(Path::new(CREDENTIALS))
}

fn from_smbios() -> Vec<Result<Credential, credential::Error>> {
    let table = match read(Path::new(SMBIOS)) {
        Ok(table) => table,
        // Not every machine has it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            log::warn!("settings: SMBIOS cannot be read: {error}");
            return Vec::new();
        }
    };
    let strings = smbios::strings(&table).into_iter();
    strings.filter_map(Credential::parse).collect()
}

/// A file up to [`LONGEST`]. The beginning of a longer one is not taken for the whole.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(LONGEST as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() > LONGEST {
        return Err(io::Error::other(format!(
            "it has more than {LONGEST} bytes"
        )));
    }
    Ok(bytes)
}

/// What the sources have said so far.
pub(crate) struct Machine {
    pub(crate) layers: Layers,
    pub(crate) credentials: BTreeMap<String, Vec<u8>>,
    /// How many bytes of credentials there may still be.
    room: usize,
}

impl Machine {
    /// What the image says. `value` is what `settings` were read from.
    pub(crate) fn new(value: Value, settings: Settings) -> Self {
        Self {
            layers: Layers::new(value, settings),
            credentials: BTreeMap::new(),
            room: LONGEST,
        }
    }

    /// Takes what a source has: whole sets of settings before single ones, which say it more exactly.
    pub(crate) fn take(&mut self, source: &str, mut found: Vec<Credential>) {
        found.sort_by_key(|credential| credential.name != "tinyboot.settings");
        for Credential { name, value } in found {
            if let Some(key) = name.strip_prefix(PREFIX) {
                match std::str::from_utf8(&value) {
                    Ok(text) => self.set(source, key, text),
                    Err(_) => {
                        log::warn!("settings: {key}, which {source} has, is ignored: it is no text")
                    }
                }
                continue;
            }
            let before = self.credentials.get(&name).map_or(0, Vec::len);
            let room = self.room + before;
            let Some(left) = room.checked_sub(value.len()) else {
                log::warn!(
                    "settings: the credential \"{name}\" of {source} is ignored: it has {} bytes, and there is room for {room}",
                    value.len()
                );
                continue;
            };
            self.room = left;
            log::info!("settings: the credential \"{name}\" comes from {source}");
            self.credentials.insert(name, value);
        }
    }

    pub(crate) fn set(&mut self, source: &str, key: &str, text: &str) {
        for (key, result) in self.layers.set(key, text) {
            match result {
                Ok(()) => log::info!("settings: {key} comes from {source}"),
                Err(error) => {
                    log::warn!("settings: {key}, which {source} has, is ignored: {error}");
                }
            }
        }
    }

    /// Writes the credentials to `directory`, and tells the app where they are.
    fn finish(self, directory: &Path) -> Settings {
        let mut settings = self.layers.settings();
        if self.credentials.is_empty() {
            return settings;
        }
        match store::mount(directory).and_then(|()| {
            let user = settings.app.user();
            store::write(directory, &self.credentials, user, user)?;
            store::close(directory)
        }) {
            Ok(()) => {
                settings
                    .app
                    .environment
                    .entry("CREDENTIALS_DIRECTORY".into())
                    .or_insert_with(|| directory.display().to_string());
            }
            Err(error) => log::error!(
                "settings: the credentials cannot be put into {}: {error}",
                directory.display()
            ),
        }
        settings
    }
}

#[cfg(test)]
mod tests;
