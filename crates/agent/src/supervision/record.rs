//! What is known of a process: in memory, and as JSON in its folder.

use serde::{Deserialize, Serialize};
use winstead_spec::PortRange;

use crate::{
    access::Limits,
    supervision::{KeeperFailure, platform::Account},
};

/// Raised when a field changes its meaning; a newer one is refused, older ones are read.
pub(crate) const VERSION: u32 = 1;

/// What to run. Decided already: the supervisor asks nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// What is executed: an absolute path, in the vault or in place.
    pub file: String,
    /// What it is called: its argument zero, and what lists show.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its environment, beside a small fixed one. The agent's own is never inherited.
    pub environment: Vec<(String, String)>,
    /// Where it runs; nothing: the root folder, or the system's on Windows.
    pub folder: Option<String>,
    /// As whom; nothing: as the agent itself.
    pub account: Option<String>,
    /// The most that it and all it starts may have.
    pub limits: Limits,
    /// Whether it stays when the one who ran it goes away.
    pub keep: bool,
    /// Whether there is a standard input.
    pub stdin: bool,
    /// A pseudo-terminal of this size.
    pub terminal: Option<Terminal>,
    /// Ports that others are to reach.
    pub ports: Vec<PortRange>,
    /// For people.
    pub label: String,
    /// Who started it: [`crate::access::Caller`]'s line.
    pub caller: String,
}

/// The size of a terminal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// `record.json`: written before a keeper is started. No environment: it may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// [`VERSION`] of whoever wrote it.
    pub(crate) version: u32,
    /// The process's name, of this computer alone.
    pub id: String,
    /// As the caller named it.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// As whom it runs; empty: as the agent.
    #[serde(default)]
    pub account: String,
    /// For people.
    #[serde(default)]
    pub label: String,
    /// Who started it.
    pub caller: String,
    /// For people; nothing is computed with it.
    pub started_unix_ms: i64,
    /// Whether it stays when the one who ran it goes away.
    #[serde(default)]
    pub keep: bool,
    /// Whether there is a standard input.
    #[serde(default)]
    pub stdin: bool,
    /// Whether it has a terminal.
    #[serde(default)]
    pub terminal: bool,
    /// Ports that others are to reach: in a firewall, there may be a rule for them.
    #[serde(default)]
    pub ports: Vec<PortRange>,
}

/// `running.json`: written by the keeper before the program can do anything.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The keeper.
    pub keeper: Identity,
    /// The program.
    pub program: Identity,
    /// Groups of the system's own that it is in, to be removed after it (cgroups).
    #[serde(default)]
    pub groups: Vec<String>,
}

/// A process that no later one with the same number is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's own units.
    pub started: u64,
}

/// `exit.json`: how it ended. Written when nothing of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Nobody knows: its keeper was killed.
    Lost,
}

impl End {
    /// As a shell says it: 128 + signal; 255 when nobody knows.
    #[must_use]
    pub const fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Lost => 255,
        }
    }

    /// The signal that ended it; 0 when none did.
    #[must_use]
    pub const fn signal(self) -> i32 {
        match self {
            Self::Signal(signal) => signal,
            Self::Code(_) | Self::Lost => 0,
        }
    }
}

/// What a keeper is handed over, on its standard input: it never touches a disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Launch {
    pub(crate) file: String,
    pub(crate) program: String,
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) folder: Option<String>,
    pub(crate) account: Option<Account>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) processes: Option<u32>,
    pub(crate) cpu_milli: Option<u32>,
    pub(crate) stdin: bool,
    pub(crate) terminal: Option<Terminal>,
}

/// What a keeper answers: one line on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// The program runs.
    Started(Running),
    /// It does not.
    Failed(KeeperFailure),
}

/// What a keeper can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Command {
    /// This signal, to the program's group.
    Signal(i32),
    /// Please end: to all of it.
    Terminate,
    /// All of it, by force.
    Kill,
    /// No more standard input comes.
    EndInput,
    /// The terminal has another size.
    Resize(Terminal),
    /// All output was read: go.
    Release,
}

impl Launch {
    pub(crate) fn new(order: &Order, account: Option<Account>) -> Self {
        Self {
            file: order.file.clone(),
            program: order.program.clone(),
            arguments: order.arguments.clone(),
            environment: order.environment.clone(),
            folder: order.folder.clone(),
            account,
            memory_bytes: order.limits.memory.map(winstead_spec::ByteSize::bytes),
            processes: order.limits.processes,
            cpu_milli: order.limits.cpu_milli,
            stdin: order.stdin,
            terminal: order.terminal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_first_version_wrote_is_still_read() {
        let record = r#"{"version":1,"id":"7d9f","program":"/bin/sleep","arguments":["9"],"caller":"root (local)",
            "startedUnixMs":1764198000000}"#;
        let record: Record = serde_json::from_str(record).expect("the oldest record");
        assert_eq!((record.id.as_str(), record.keep, record.account.as_str()), ("7d9f", false, ""));
        let running = r#"{"keeper":{"pid":7,"started":12},"program":{"pid":8,"started":13}}"#;
        let running: Running = serde_json::from_str(running).expect("the oldest keeper's");
        assert_eq!((running.program.pid, running.groups.len()), (8, 0));
        for (text, end) in [(r#"{"code":3}"#, End::Code(3)), (r#"{"signal":9}"#, End::Signal(9))] {
            assert_eq!(serde_json::from_str::<End>(text).expect("the oldest end"), end);
        }
    }

    #[test]
    fn a_signal_is_told_as_a_shell_tells_it() {
        assert_eq!((End::Signal(9).code(), End::Signal(9).signal()), (137, 9));
        assert_eq!((End::Code(3).code(), End::Code(3).signal()), (3, 0));
    }
}
