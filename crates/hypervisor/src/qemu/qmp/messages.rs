//! What lines mean, without I/O.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// A machine's state, as QEMU calls it (`RunState` in its schema).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum RunState {
    /// The guest runs.
    Running,
    /// Stopped by us.
    Paused,
    /// Started with `-S`, never continued.
    Prelaunch,
    /// Stopped by a failed disk operation: full, or broken.
    IoError,
    /// The guest's kernel said that it panicked.
    GuestPanicked,
    /// The guest switched itself off.
    Shutdown,
    /// Any other.
    Other(String),
}

impl RunState {
    /// From QEMU's word.
    #[must_use]
    pub fn of(word: &str) -> Self {
        match word {
            "running" => Self::Running,
            "paused" => Self::Paused,
            "prelaunch" => Self::Prelaunch,
            "io-error" => Self::IoError,
            "guest-panicked" => Self::GuestPanicked,
            "shutdown" => Self::Shutdown,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The commands that are used, each with what is read of its answer. Checked against QEMU's own schema.
#[cfg(test)]
const COMMANDS: [(&str, &[&str]); 8] = [
    ("qmp_capabilities", &[]),
    ("query-status", &["status"]),
    ("query-uuid", &["UUID"]),
    ("query-block", &["io-status"]),
    ("cont", &[]),
    ("stop", &[]),
    ("quit", &[]),
    ("system_powerdown", &[]),
];

/// Something that happened in QEMU.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// `STOP`, `RESUME`, `SHUTDOWN`, `GUEST_PANICKED`, …
    pub name: String,
    /// Its details; an empty object when it has none.
    pub data: Value,
}

/// A line from QEMU.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    /// The first line of a connection.
    Greeting,
    /// A command's result.
    Return { id: Option<u64>, value: Value },
    /// A command's refusal.
    Error { id: Option<u64>, class: String, description: String },
    /// Something happened.
    Event(Event),
}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, fit for people.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let shown = || excerpt(line);
        let value: Value =
            serde_json::from_slice(line).map_err(|_| format!("this is no JSON: {}", shown()))?;
        let Value::Object(mut object) = value else { return Err(format!("this is no object: {}", shown())) };
        let id = object.get("id").and_then(Value::as_u64);
        if let Some(value) = object.remove("return") {
            return Ok(Self::Return { id, value });
        }
        if let Some(Value::String(name)) = object.remove("event") {
            let data = object.remove("data").unwrap_or_else(|| Value::Object(Map::new()));
            return Ok(Self::Event(Event { name, data }));
        }
        if let Some(error) = object.get("error") {
            let text = |key| error.get(key).and_then(Value::as_str).unwrap_or("(not said)").to_owned();
            return Ok(Self::Error { id, class: text("class"), description: text("desc") });
        }
        if object.get("QMP").is_some_and(Value::is_object) {
            return Ok(Self::Greeting);
        }
        Err(format!("this is no QMP: {}", shown()))
    }
}

/// The line of a command.
pub(crate) fn command(name: &str, arguments: Option<&Value>, id: u64) -> Vec<u8> {
    let mut message = json!({"execute": name, "id": id});
    if let Some(arguments) = arguments {
        message["arguments"] = arguments.clone();
    }
    let mut line = message.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// Enough of a line to know what it was.
pub(crate) fn excerpt(line: &[u8]) -> String {
    const SHOWN: usize = 120;
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
    let more = if line.len() > SHOWN { "…" } else { "" };
    format!("{text:?}{more}")
}

/// Whether a `query-block` answer says that a disk stopped because its store is full.
pub(crate) fn is_out_of_space(answer: &Value) -> bool {
    let disks = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    disks.iter().any(|disk| disk.get("io-status").and_then(Value::as_str) == Some("nospace"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_lines_are_understood() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#;
        assert_eq!(Message::parse(greeting), Ok(Message::Greeting));
        let event = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#;
        assert_eq!(
            Message::parse(event),
            Ok(Message::Event(Event { name: "STOP".to_owned(), data: json!({}) }))
        );
        let answer = br#"{"return": {"status": "io-error"}, "id": 4}"#;
        let expected = Message::Return { id: Some(4), value: json!({"status": "io-error"}) };
        assert_eq!(Message::parse(answer), Ok(expected));
        let error = br#"{"id": 5, "error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#;
        let (class, description) =
            ("CommandNotFound".to_owned(), "The command x has not been found".to_owned());
        assert_eq!(Message::parse(error), Ok(Message::Error { id: Some(5), class, description }));
    }

    #[test]
    fn everything_that_is_used_stands_in_qemus_schema() {
        let schema: Value =
            serde_json::from_str(include_str!("../../../tests/fixtures/qmp-schema-excerpt.json")).unwrap();
        let holds = |list: &Value, name: &str| list.as_array().unwrap().iter().any(|entry| entry == name);
        for (command, read) in COMMANDS {
            let known = &schema["commands"][command];
            assert!(known.is_object(), "QEMU has no command {command}");
            assert!(
                read.iter().all(|key| holds(&known["returns"], key)),
                "{command} does not return {read:?}"
            );
        }
        for event in ["STOP", "RESUME", "SHUTDOWN", "GUEST_PANICKED", "BLOCK_IO_ERROR"] {
            assert!(schema["events"][event].is_array(), "QEMU has no event {event}");
        }
        for state in ["running", "paused", "prelaunch", "io-error", "guest-panicked", "shutdown"] {
            assert!(holds(&schema["runStates"], state), "QEMU has no state {state}");
            assert!(!matches!(RunState::of(state), RunState::Other(_)), "{state} is not understood");
        }
    }

    /// So that the list above stays whole: the client's source is searched for what it executes.
    #[test]
    fn the_client_executes_only_what_was_checked() {
        let source = include_str!("client.rs");
        let used: Vec<&str> =
            source.split("execute(\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert!(used.len() >= 7, "{used:?}");
        assert!(used.iter().all(|name| COMMANDS.iter().any(|(known, _)| known == name)), "{used:?}");
    }

    #[test]
    fn only_a_full_store_is_out_of_space() {
        let block = |status: &str| json!([{"device": "", "qdev": "disk0", "io-status": status}]);
        assert!(is_out_of_space(&block("nospace")));
        assert!(!is_out_of_space(&block("failed")));
        assert!(!is_out_of_space(&block("ok")));
        assert!(!is_out_of_space(&json!({"io-status": "nospace"})));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(line in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(Message::parse(&line));
        }

        #[test]
        fn no_json_makes_it_panic(key in "(QMP|return|error|event|id|data)", inner in "[0-9a-z\\[\\]{}:,\" -]{0,40}") {
            let line = format!("{{\"{key}\": {inner}}}");
            drop(Message::parse(line.as_bytes()));
        }
    }
}
