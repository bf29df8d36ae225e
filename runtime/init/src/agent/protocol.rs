//! The QEMU guest agent's protocol (QEMU's docs/interop/qemu-ga-ref and qmp-spec): JSON objects in, a line of JSON for
//! each out. No I/O here.
//!
//! Requests need no line end: some hosts send one right behind the other. The byte 0xFF is part of no JSON text; a host
//! sends it to have whatever came before forgotten, since that may be the half of a request of an earlier host.

use serde_json::{Map, Number, Value, json};

/// The longest request: the real agent takes files, this one does not.
pub const LONGEST: usize = 16 << 10;
/// Starts the answer to `guest-sync-delimited`.
pub const SENTINEL: u8 = 0xff;

/// One command with its arguments.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Says the number again, behind a [`SENTINEL`] if so wanted.
    Sync {
        /// The number.
        id: Number,
        /// Whether it is `guest-sync-delimited`.
        delimited: bool,
    },
    /// Answers.
    Ping,
    /// Names the commands.
    Info,
    /// Kernel and image.
    OsInfo,
    /// The host name.
    HostName,
    /// The time in nanoseconds since 1970.
    Time,
    /// Sets the time, to the RTC's without a number.
    SetTime(Option<i64>),
    /// Each network interface with its addresses.
    Interfaces,
    /// Each mounted file system with its disk.
    FileSystems,
    /// Each disk.
    Disks,
    /// Each processor.
    Processors,
    /// How busy they are.
    Load,
    /// Who has logged in.
    Users,
    /// The time zone.
    Timezone,
    /// Stops the machine. Has no answer.
    Shutdown(Mode),
    /// Whether the file system is frozen.
    FreezeStatus,
    /// Freezes it, if it is among these places or none are named.
    Freeze(Option<Vec<String>>),
    /// Thaws it.
    Thaw,
}

/// How to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `halt`.
    Halt,
    /// `powerdown`, also if nothing is said.
    PowerDown,
    /// `reboot`.
    Reboot,
}

/// A command, and the `id` that its answer is to have.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Any JSON value.
    pub id: Option<Value>,
    /// What to do.
    pub command: Command,
}

/// Why there is an error in the place of an answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON object.
    #[error("The request is not understood: {0}.")]
    Malformed(String),
    /// It goes on for too long.
    #[error("The request is longer than {LONGEST} bytes.")]
    TooLong,
    /// There is no such command.
    #[error("The command \"{0}\" is not known.")]
    NotFound(String),
    /// An argument is not what the command takes.
    #[error("The argument \"{name}\" of {command} {problem}.")]
    Argument {
        /// The command.
        command: &'static str,
        /// The argument.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// It was tried.
    #[error("{0}")]
    Failed(String),
}

impl Fault {
    /// The protocol's name of it, by which hosts tell a command that is missing from one that failed.
    fn class(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "CommandNotFound",
            _ => "GenericError",
        }
    }
}

/// A request that is answered with an error.
#[derive(Clone, Debug, PartialEq)]
pub struct Refused {
    /// The request's `id`, if that much of it was understood.
    pub id: Option<Value>,
    /// Why.
    pub fault: Fault,
}

/// The line that answers a request.
pub fn answer(id: Option<Value>, result: Result<Value, Fault>) -> Vec<u8> {
    let mut object = Map::new();
    match result {
        Ok(value) => object.insert("return".into(), value),
        Err(fault) => object.insert(
            "error".into(),
            json!({ "class": fault.class(), "desc": fault.to_string() }),
        ),
    };
    if let Some(id) = id {
        object.insert("id".into(), id);
    }
    let mut line = Value::Object(object).to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Cuts requests out of a stream of bytes. What it keeps is never longer than [`LONGEST`].
#[derive(Debug, Default)]
pub struct Reader {
    /// A request as far as it is there.
    text: Vec<u8>,
    /// How many brackets are open.
    depth: usize,
    /// Inside of a string, and behind a backslash in it.
    string: bool,
    escaped: bool,
    /// After a fault, until the line ends.
    skipping: bool,
}

impl Reader {
    /// Takes further bytes; what they complete, in order.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Result<Request, Refused>> {
        bytes
            .iter()
            .filter_map(|byte| self.byte(*byte))
            .map(|text| parse(&text?))
            .collect()
    }

    /// Forgets what is not complete: another host speaks from now on.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// A whole request, if this byte ends one.
    fn byte(&mut self, byte: u8) -> Option<Result<Vec<u8>, Refused>> {
        if byte == SENTINEL {
            self.reset();
            return None;
        }
        if self.skipping {
            self.skipping = byte != b'\n';
            return None;
        }
        if self.text.is_empty() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => return None,
                b'{' => {}
                _ => return self.fault(byte, Fault::Malformed("it is no JSON object".into())),
            }
        }
        if self.text.len() >= LONGEST {
            return self.fault(byte, Fault::TooLong);
        }
        self.text.push(byte);
        if self.string {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.string = false,
                b'\n' => {
                    return self.fault(byte, Fault::Malformed("a string has no end".into()));
                }
                _ => {}
            }
            return None;
        }
        match byte {
            b'"' => self.string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        if self.depth > 0 {
            return None;
        }
        Some(Ok(std::mem::take(&mut self.text)))
    }

    fn fault(&mut self, byte: u8, fault: Fault) -> Option<Result<Vec<u8>, Refused>> {
        self.reset();
        self.skipping = byte != b'\n';
        Some(Err(Refused { id: None, fault }))
    }
}

/// A command as [`Command::Info`] names it.
pub struct Known {
    /// Its name.
    pub name: &'static str,
    /// The arguments it takes.
    arguments: &'static [&'static str],
    /// Whether it has an answer when all is well.
    pub answers: bool,
}

const fn known(name: &'static str, arguments: &'static [&'static str]) -> Known {
    Known {
        name,
        arguments,
        answers: true,
    }
}

/// All commands.
pub const COMMANDS: &[Known] = &[
    known("guest-sync-delimited", &["id"]),
    known("guest-sync", &["id"]),
    known("guest-ping", &[]),
    known("guest-info", &[]),
    known("guest-get-osinfo", &[]),
    known("guest-get-host-name", &[]),
    known("guest-get-time", &[]),
    known("guest-set-time", &["time"]),
    known("guest-network-get-interfaces", &[]),
    known("guest-get-fsinfo", &[]),
    known("guest-get-disks", &[]),
    known("guest-get-vcpus", &[]),
    known("guest-get-load", &[]),
    known("guest-get-users", &[]),
    known("guest-get-timezone", &[]),
    Known {
        name: "guest-shutdown",
        arguments: &["mode"],
        answers: false,
    },
    known("guest-fsfreeze-status", &[]),
    known("guest-fsfreeze-freeze", &[]),
    known("guest-fsfreeze-freeze-list", &["mountpoints"]),
    known("guest-fsfreeze-thaw", &[]),
];

fn parse(text: &[u8]) -> Result<Request, Refused> {
    let malformed = |why: String| Refused {
        id: None,
        fault: Fault::Malformed(why),
    };
    let mut object: Map<String, Value> =
        serde_json::from_slice(text).map_err(|error| malformed(error.to_string()))?;
    let id = object.remove("id");
    let with_id = |fault| Refused {
        id: id.clone(),
        fault,
    };
    let command = command(object).map_err(with_id)?;
    Ok(Request { id, command })
}

fn command(mut object: Map<String, Value>) -> Result<Command, Fault> {
    let malformed = |why: &str| Fault::Malformed(why.into());
    let name = match object.remove("execute") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(malformed("its \"execute\" is no string")),
        None => return Err(malformed("it has no \"execute\"")),
    };
    let arguments = match object.remove("arguments") {
        Some(Value::Object(arguments)) => arguments,
        Some(_) => return Err(malformed("its \"arguments\" are no object")),
        None => Map::new(),
    };
    if let Some(key) = object.keys().next() {
        return Err(Fault::Malformed(format!("it has an unknown \"{key}\"")));
    }
    let Some(known) = COMMANDS.iter().find(|known| known.name == name) else {
        return Err(Fault::NotFound(name));
    };
    let arguments = Arguments {
        command: known.name,
        values: arguments,
    };
    if let Some(other) = arguments
        .values
        .keys()
        .find(|key| !known.arguments.contains(&key.as_str()))
    {
        return Err(arguments.fault(other, "is not known"));
    }
    Ok(match known.name {
        "guest-sync-delimited" | "guest-sync" => Command::Sync {
            id: arguments
                .integer("id")?
                .ok_or_else(|| arguments.fault("id", "is missing"))?
                .clone(),
            delimited: known.name == "guest-sync-delimited",
        },
        "guest-ping" => Command::Ping,
        "guest-info" => Command::Info,
        "guest-get-osinfo" => Command::OsInfo,
        "guest-get-host-name" => Command::HostName,
        "guest-get-time" => Command::Time,
        "guest-set-time" => Command::SetTime(match arguments.integer("time")? {
            None => None,
            Some(number) => Some(
                number
                    .as_i64()
                    .filter(|time| *time >= 0)
                    .ok_or_else(|| arguments.fault("time", "is no time since 1970"))?,
            ),
        }),
        "guest-network-get-interfaces" => Command::Interfaces,
        "guest-get-fsinfo" => Command::FileSystems,
        "guest-get-disks" => Command::Disks,
        "guest-get-vcpus" => Command::Processors,
        "guest-get-load" => Command::Load,
        "guest-get-users" => Command::Users,
        "guest-get-timezone" => Command::Timezone,
        "guest-shutdown" => Command::Shutdown(match arguments.values.get("mode") {
            None => Mode::PowerDown,
            Some(Value::String(mode)) if mode == "powerdown" => Mode::PowerDown,
            Some(Value::String(mode)) if mode == "reboot" => Mode::Reboot,
            Some(Value::String(mode)) if mode == "halt" => Mode::Halt,
            Some(mode) => {
                let problem = format!("is {mode} and neither halt nor powerdown nor reboot");
                return Err(arguments.fault("mode", &problem));
            }
        }),
        "guest-fsfreeze-status" => Command::FreezeStatus,
        "guest-fsfreeze-freeze" => Command::Freeze(None),
        "guest-fsfreeze-freeze-list" => Command::Freeze(arguments.strings("mountpoints")?),
        "guest-fsfreeze-thaw" => Command::Thaw,
        _ => return Err(Fault::NotFound(name)),
    })
}

struct Arguments {
    command: &'static str,
    values: Map<String, Value>,
}

impl Arguments {
    fn fault(&self, name: &str, problem: &str) -> Fault {
        Fault::Argument {
            command: self.command,
            name: name.into(),
            problem: problem.into(),
        }
    }

    fn integer(&self, name: &str) -> Result<Option<&Number>, Fault> {
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::Number(number)) if !number.is_f64() => Ok(Some(number)),
            Some(_) => Err(self.fault(name, "is no integer")),
        }
    }

    fn strings(&self, name: &str) -> Result<Option<Vec<String>>, Fault> {
        let fault = || self.fault(name, "is no list of strings");
        match self.values.get(name) {
            None => Ok(None),
            Some(Value::Array(values)) => values
                .iter()
                .map(|value| Ok(value.as_str().ok_or_else(fault)?.to_owned()))
                .collect::<Result<_, _>>()
                .map(Some),
            Some(_) => Err(fault()),
        }
    }
}

#[cfg(test)]
#[path = "protocol_tests.rs"]
mod tests;
