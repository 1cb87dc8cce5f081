//! Who calls, as the operating system says it. Nothing here comes from the caller's own words.

use std::{fmt, path::PathBuf};

/// Where somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    /// The agent's own socket or pipe on its computer.
    Local,
    /// The old clients' pipe.
    Wins,
    /// The old clients' pipe for tunnels.
    WinsProxy,
    /// From the host into its guest: a virtio-serial port, a vsock.
    Guest,
    /// The network, with certificates on both sides.
    Tcp,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where they came in.
    pub door: Door,
    /// Whose rights they have.
    pub account: Account,
    /// The calling process; nothing over a network or from a host.
    pub process: Option<CallingProcess>,
    /// The container that it is in: its cgroup on Linux, its job or silo on Windows. Nothing outside of one.
    pub container: Option<String>,
}

/// Whose rights a caller has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// `root`, `NT AUTHORITY\SYSTEM`, or a certificate's name. Empty where the system knows none.
    pub name: String,
    /// A user id or a SID.
    pub id: String,
    /// Groups by name or, where there is none, by id.
    pub groups: Vec<String>,
    /// Whether it can do everything on this computer anyway.
    pub administrator: bool,
}

/// A process, so that no later one with the same number is taken for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallingProcess {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's own units.
    pub started: u64,
    /// Its program, where the system shows it to us.
    pub program: Option<PathBuf>,
}

impl fmt::Display for Door {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Local => "local",
            Self::Wins => "wins",
            Self::WinsProxy => "wins-proxy",
            Self::Guest => "guest",
            Self::Tcp => "tcp",
        })
    }
}

/// One line for logs: `root (local, pid 12)`.
impl fmt::Display for Caller {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.account.name.is_empty() { &self.account.id } else { &self.account.name };
        write!(out, "{name} ({}", self.door)?;
        if let Some(process) = &self.process {
            write!(out, ", pid {}", process.pid)?;
        }
        if let Some(container) = &self.container {
            write!(out, ", {container}")?;
        }
        out.write_str(")")
    }
}
