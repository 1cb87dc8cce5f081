//! Which process is meant: a pid alone is reused by the kernel, with its start time it is not.

use std::{io, path::PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

/// A process of this boot: its id and when it started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The process id.
    pub pid: u32,
    /// Start time in clock ticks since boot: field 22 of `/proc/PID/stat` (proc(5)).
    pub started: u64,
}

impl ProcessId {
    /// The process that has this pid now; `None` when there is none, or only a zombie.
    #[must_use]
    pub fn of(pid: u32) -> Option<Self> {
        let (state, started) = state_and_start(pid)?;
        (state != b'Z' && state != b'X').then_some(Self { pid, started })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Kills this very process with SIGKILL. A process that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses, as for another user's process.
    pub fn kill(self) -> io::Result<()> {
        self.signal(Signal::KILL)
    }

    /// Asks this very process to end with SIGTERM. A process that is gone already is fine.
    ///
    /// # Errors
    /// When the kernel refuses, as for another user's process.
    pub fn terminate(self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        if !self.is_alive() {
            return Ok(());
        }
        match kill_process(pid, signal) {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// The state letter and the start time. The command name, field 2, may hold spaces and brackets: cut after the last.
fn state_and_start(pid: u32) -> Option<(u8, u64)> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    #[expect(clippy::disallowed_methods, reason = "a missing file is an answer here, its name is not needed")]
    let text = std::fs::read_to_string(path).ok()?;
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    // Field 3 was the state; 22 is 18 fields after field 4.
    let started = fields.nth(18)?.parse().ok()?;
    Some((state, started))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { started: me.started + 1, ..me }.is_alive());
    }
}
