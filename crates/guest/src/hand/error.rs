//! Why a machine's agent did not do what it was asked for.

use std::{io, path::PathBuf, time::Duration};

use winstead_agent_client::{ConnectError, FileError, port::SessionError};

/// A call that did not come through. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{what} by the agent in {machine}")]
pub struct HandError {
    /// Which machine.
    pub machine: String,
    /// What was to be done.
    pub what: String,
    /// What happened.
    #[source]
    pub failure: HandFailure,
}

/// What happened to a call.
#[derive(Debug, thiserror::Error)]
pub enum HandFailure {
    /// All its ports are others' now.
    #[error("get one of its {0} ports within {1:?}: other commands have them")]
    Busy(usize, Duration),
    /// A socket or lock cannot be used.
    #[error("use {}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Nobody answers, or not as an agent does.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Something answers, and does not speak our protocol.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It does not come to an end.
    #[error("get an answer within {0:?}")]
    Silent(Duration),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The guest names a file that would be written somewhere else.
    #[error("write {0:?}, which the guest names: it would be outside of the folder that was asked for")]
    Outside(String),
    /// What there is, is something else.
    #[error("copy {path}: it is {found}")]
    Kind {
        /// Which.
        path: String,
        /// What it is.
        found: &'static str,
    },
    /// A file's name that the protocol cannot carry.
    #[error("copy {}: its name is no text", .0.display())]
    NotText(PathBuf),
}

impl HandFailure {
    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
