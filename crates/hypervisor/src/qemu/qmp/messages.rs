//! What lines mean, without I/O.

use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, json};

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
    /// Waits for the saved state that it is to go on from.
    InMigrate,
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
            "inmigrate" => Self::InMigrate,
            "io-error" => Self::IoError,
            "guest-panicked" => Self::GuestPanicked,
            "shutdown" => Self::Shutdown,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// The commands that are used, each with what is read of its answer. Checked against QEMU's own schema.
#[cfg(test)]
const COMMANDS: [(&str, &[&str]); 15] = [
    ("qmp_capabilities", &[]),
    ("query-status", &["status"]),
    ("query-uuid", &["UUID"]),
    ("query-block", &["io-status"]),
    ("cont", &[]),
    ("stop", &[]),
    ("quit", &[]),
    ("set_link", &[]),
    ("getfd", &[]),
    ("migrate-set-capabilities", &[]),
    ("migrate", &[]),
    ("migrate-incoming", &[]),
    ("query-migrate", &["status", "error-desc"]),
    ("human-monitor-command", &[]),
    ("query-rx-filter", &["multicast-table", "multicast-overflow"]),
];

/// The longest of QEMU's own event names has 28 letters; what is longer is none, and is not kept.
const NAME_LIMIT: usize = 64;
/// Enough of a refusal to understand it.
const WORDS_LIMIT: usize = 1024;

/// Something that happened in QEMU: as much of it as is used, for many of them may wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `STOP`, `RESUME`, `SHUTDOWN`, `GUEST_PANICKED`, …
    pub name: String,
    /// Whether its details say that the guest did it, as those of `SHUTDOWN` do.
    pub guest: bool,
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

/// A line as it comes. What is not named here is passed over without being kept.
#[derive(Deserialize)]
struct Line {
    id: Option<u64>,
    #[serde(rename = "return")]
    value: Option<Value>,
    event: Option<String>,
    data: Option<Details>,
    error: Option<Refusal>,
    #[serde(rename = "QMP")]
    greeting: Option<Greeting>,
}

#[derive(Deserialize)]
struct Details {
    guest: Option<bool>,
}

#[derive(Deserialize)]
struct Refusal {
    class: Option<String>,
    desc: Option<String>,
}

#[derive(Deserialize)]
struct Greeting {}

impl Message {
    /// Reads a line.
    ///
    /// # Errors
    /// What is wrong with it, fit for people.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, String> {
        let wrong = |what| format!("this is no {what}: {}", excerpt(line));
        // Asked first: serde takes a list for an object whose keys are left out.
        if !line.starts_with(b"{") {
            let json = serde_json::from_slice::<IgnoredAny>(line).is_ok();
            return Err(wrong(if json { "object" } else { "JSON" }));
        }
        let read = serde_json::from_slice::<Line>(line);
        let line = read.map_err(|error| wrong(if error.is_data() { "QMP" } else { "JSON" }))?;
        let id = line.id;
        if let Some(value) = line.value {
            return Ok(Self::Return { id, value });
        }
        if let Some(name) = line.event {
            let guest = line.data.and_then(|data| data.guest) == Some(true);
            return Ok(Self::Event(Event { name: shortened(&name, NAME_LIMIT), guest }));
        }
        if let Some(error) = line.error {
            let text =
                |words: Option<String>| shortened(words.as_deref().unwrap_or("(not said)"), WORDS_LIMIT);
            return Ok(Self::Error { id, class: text(error.class), description: text(error.desc) });
        }
        if line.greeting.is_some() { Ok(Self::Greeting) } else { Err(wrong("QMP")) }
    }
}

/// At most so many bytes of a text, in memory of that size.
fn shortened(text: &str, limit: usize) -> String {
    text[..text.floor_char_boundary(limit)].to_owned()
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
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn real_lines_are_understood() {
        let greeting = br#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}}, "capabilities": ["oob"]}}"#;
        assert_eq!(Message::parse(greeting), Ok(Message::Greeting));
        let event = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "STOP"}"#;
        assert_eq!(
            Message::parse(event),
            Ok(Message::Event(Event { name: "STOP".to_owned(), guest: false }))
        );
        let event = br#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "SHUTDOWN", "data": {"guest": true, "reason": "guest-shutdown"}}"#;
        assert_eq!(
            Message::parse(event),
            Ok(Message::Event(Event { name: "SHUTDOWN".to_owned(), guest: true }))
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
    fn no_more_of_an_event_is_kept_than_is_used() {
        let line = json!({"event": "é".repeat(100_000), "data": {"much": vec![0; 10_000]}}).to_string();
        let Ok(Message::Event(event)) = Message::parse(line.as_bytes()) else { panic!("it is an event") };
        assert_eq!((event.name.as_str(), event.name.capacity()), ("é".repeat(32).as_str(), NAME_LIMIT));
    }

    #[test]
    fn other_shapes_are_refused() {
        for line in
            ["[1, {}]", "{\"event\": 5}", "{\"id\": -1, \"return\": {}}", "{\"QMP\": 1}", "{}", "null"]
        {
            assert!(Message::parse(line.as_bytes()).is_err(), "{line}");
        }
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
        for state in ["running", "paused", "prelaunch", "inmigrate", "io-error", "guest-panicked", "shutdown"]
        {
            assert!(holds(&schema["runStates"], state), "QEMU has no state {state}");
            assert!(!matches!(RunState::of(state), RunState::Other(_)), "{state} is not understood");
        }
    }

    /// So that the list above stays whole: the sources are searched for what they execute.
    #[test]
    fn only_what_was_checked_is_executed() {
        let source = [
            include_str!("client.rs"),
            include_str!("../adopt.rs"),
            include_str!("../usernet.rs"),
            include_str!("../saved.rs"),
        ]
        .concat();
        let calls = ["execute(\"", "execute_until(\"", "messages::command(\""];
        let calls = calls.into_iter().flat_map(|call| source.split(call).skip(1));
        let used: BTreeSet<&str> = calls.filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(used, COMMANDS.into_iter().map(|(name, _)| name).collect());
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
