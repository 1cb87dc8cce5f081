//! Why a process cannot be started, or used.

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A process was not started; nothing of it is left. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There are as many as there may be.
    #[error("start another process: {0} run already")]
    TooMany(usize),
    /// The agent stops.
    #[error("start another process: the agent stops")]
    Closing,
    /// The account cannot be used.
    #[error("run as {account}: {reason}")]
    Account {
        /// Which.
        account: String,
        /// Why not.
        reason: String,
    },
    /// The keeper says why.
    #[error("run {program}")]
    Keeper {
        /// What.
        program: String,
        /// Why not.
        source: KeeperFailure,
    },
    /// Others would not reach it.
    #[error("make a firewall rule for {program} (with `firewall: false` in the Agent document none is made)")]
    Firewall {
        /// What.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// Our own folder or keeper cannot be had.
    #[error("prepare a process")]
    Io(#[from] io::Error),
}

/// What a keeper could not do. Display is a sentence's part for the caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum KeeperFailure {
    /// There is no such program, or what it needs to be loaded is missing.
    #[error("there is no such program")]
    Missing,
    /// It may not be executed.
    #[error("it may not be executed")]
    NotExecutable,
    /// The system cannot execute such a file.
    #[error("it is no program of this system")]
    BadFormat,
    /// Its folder cannot be entered.
    #[error("its folder cannot be entered: {0}")]
    Folder(String),
    /// A limit cannot be enforced here.
    #[error("a limit cannot be enforced here: {0}")]
    Limit(String),
    /// Its account cannot be taken.
    #[error("its account cannot be taken: {0}")]
    Account(String),
    /// Anything else, in the system's words.
    #[error("{0}")]
    Other(String),
}

/// A process cannot be used, or none can. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SupervisionError {
    /// No such process.
    #[error("find process {0}")]
    Unknown(String),
    /// It runs.
    #[error("remove process {0}: it runs")]
    Runs(String),
    /// The caller claims to have more than there was.
    #[error("attach from byte {asked}: only {there} were said")]
    Offset {
        /// What was asked for.
        asked: u64,
        /// What there is.
        there: u64,
    },
    /// It did not end, whatever was done.
    #[error("end process {0}: it does not go away")]
    Stays(String),
    /// A folder or file of ours.
    #[error("use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}
