//! Which process is meant: a pid alone is reused by the kernel, with its start time it is not.

use std::{io, path::PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;

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
        let found = Stat::of(pid)?;
        (!found.is_dead()).then_some(Self { pid, started: found.started })
    }

    /// Whether this very process still runs.
    #[must_use]
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Whether the last thread of this very process has ended, and not only its first, with which a process counts as dead:
    /// only then are its memory, files and ports free.
    #[must_use]
    pub fn has_ended(self) -> bool {
        Stat::of(self.pid).is_none_or(|found| found.started != self.started || found.has_no_thread_left())
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

    /// Confirms that this very process is at the other end of a connection: that it opened the socket for listening.
    ///
    /// # Errors
    /// When somebody else did, and `ConnectionReset` when it is ending: its threads do not end all at once, so its socket
    /// may still be open.
    pub fn confirm_peer(self, stream: &UnixStream) -> io::Result<()> {
        let peer = stream.peer_cred()?.pid().and_then(|pid| u32::try_from(pid).ok());
        if peer == Some(self.pid) {
            let ended =
                || io::Error::new(io::ErrorKind::ConnectionReset, format!("process {} ended", self.pid));
            return if self.is_alive() { Ok(()) } else { Err(ended()) };
        }
        let who = peer.map_or("nobody known".to_owned(), |pid| format!("process {pid}"));
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{who} is at the other end, not process {}", self.pid),
        ))
    }

    fn signal(self, signal: Signal) -> io::Result<()> {
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        // Held by its descriptor first and looked at then: in between, a pid may become another's.
        let sent = pidfd_open(pid, PidfdFlags::empty()).and_then(|held| match self.is_alive() {
            true => pidfd_send_signal(held, signal),
            false => Ok(()),
        });
        match sent {
            Err(error) if error != rustix::io::Errno::SRCH => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// What `/proc/PID/stat` says (proc(5)).
struct Stat {
    state: u8,
    threads: u64,
    started: u64,
}

impl Stat {
    fn of(pid: u32) -> Option<Self> {
        let path = PathBuf::from(format!("/proc/{pid}/stat"));
        #[expect(
            clippy::disallowed_methods,
            reason = "a missing file is an answer here, its name is not needed"
        )]
        let text = std::fs::read_to_string(path).ok()?;
        Self::read(&text)
    }

    /// The command name, field 2, may hold spaces and brackets: cut after the last.
    fn read(text: &str) -> Option<Self> {
        let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        // Field 3 was the state; 20 is 16 fields after field 4, 22 two more.
        let threads = fields.nth(16)?.parse().ok()?;
        let started = fields.nth(1)?.parse().ok()?;
        Some(Self { state, threads, started })
    }

    /// Whether its first thread is.
    const fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// A dead first thread still counts as one.
    const fn has_no_thread_left(&self) -> bool {
        self.is_dead() && self.threads <= 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_line_is_read_whatever_the_command_is_called() {
        let line =
            "77 (a) b (c) Z 1 77 77 0 -1 4228108 190 0 0 0 3 2 0 0 20 0 5 0 4242 0 0 18446744073709551615 0";
        let found = Stat::read(line).unwrap();
        assert_eq!((found.state, found.threads, found.started), (b'Z', 5, 4242));
        assert!(found.is_dead() && !found.has_no_thread_left(), "four of its threads still run");
        let last = Stat::read(&line.replace(" 5 0 4242", " 1 0 4242")).unwrap();
        assert!(last.has_no_thread_left());
        assert!(Stat::read("77 (a").is_none());
    }

    #[test]
    fn this_process_is_alive_and_another_start_time_is_not() {
        assert!(!ProcessId::of(std::process::id()).unwrap().has_ended());
        let me = ProcessId::of(std::process::id()).unwrap();
        assert!(me.is_alive());
        assert!(!ProcessId { started: me.started + 1, ..me }.is_alive());
    }

    #[test]
    fn a_signal_reaches_the_process_that_is_meant_and_no_later_one_of_its_pid() {
        #[expect(
            clippy::disallowed_methods,
            reason = "a process that is signalled, not a command that is run"
        )]
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = ProcessId::of(child.id()).unwrap();
        ProcessId { started: process.started + 1, ..process }.kill().unwrap();
        assert!(process.is_alive());
        process.terminate().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
        process.kill().unwrap();
    }

    #[tokio::test]
    async fn only_who_listens_is_the_peer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = tokio::net::UnixListener::bind(&path).unwrap();
        let stream = UnixStream::connect(&path).await.unwrap();
        let me = ProcessId::of(std::process::id()).unwrap();
        me.confirm_peer(&stream).unwrap();
        let ended = ProcessId { started: me.started + 1, ..me }.confirm_peer(&stream).unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::ConnectionReset);
        let other = ProcessId::of(1).unwrap();
        let refused = other.confirm_peer(&stream).unwrap_err().to_string();
        assert_eq!(refused, format!("process {} is at the other end, not process 1", me.pid));
    }
}
