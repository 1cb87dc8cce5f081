//! Who calls, as the operating system says it. Nothing here comes from the caller's own words.

use std::{fmt, path::PathBuf};

use winstead_spec::Sha256;

use crate::access::Door;

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
    /// `root`, `NT AUTHORITY\SYSTEM`, or a certificate's first name. Empty where there is none.
    pub name: String,
    /// A user id or a SID; of a certificate, something that is neither.
    pub id: String,
    /// Groups: each by its name, where it has one, and by its id.
    pub groups: Vec<String>,
    /// Whether it can do everything on this computer anyway: not so for root in a container.
    pub administrator: bool,
    /// What those over the network have instead of an account.
    pub certificate: Option<Certificate>,
}

/// A client's certificate. An authority that the door trusts stands behind it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its alternative names: URIs first, then DNS names. Common names are none: nothing says what they mean.
    pub names: Vec<String>,
    /// What all of it hashes to.
    pub sha256: Sha256,
}

impl From<Certificate> for Account {
    /// One for all certificates of the same first name, so that a renewed one is still the same caller; else one for each.
    fn from(certificate: Certificate) -> Self {
        let name = certificate.names.first().cloned().unwrap_or_default();
        let id = if name.is_empty() { certificate.sha256.to_string() } else { name.clone() };
        Self { name, id: format!("certificate:{id}"), certificate: Some(certificate), ..Self::default() }
    }
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
    /// What that program hashes to; only where a rule asks for it.
    pub sha256: Option<Sha256>,
}

impl Caller {
    /// The host, in its guest.
    #[must_use]
    pub fn host() -> Self {
        let account = Account { name: "host".to_owned(), administrator: true, ..Account::default() };
        Self { door: Door::Guest, account, process: None, container: None }
    }

    /// Whose a process is that this caller starts: the same text for the same account in the same container at the same door,
    /// whichever process of theirs calls.
    #[must_use]
    pub fn owner(&self) -> String {
        let name = if self.account.id.is_empty() { &self.account.name } else { &self.account.id };
        match &self.container {
            Some(container) => format!("{name} at {} in {container}", self.door),
            None => format!("{name} at {}", self.door),
        }
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
