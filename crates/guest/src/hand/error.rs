//! Why a machine's agent did not do what it was asked for.

use std::{io, path::PathBuf, time::Duration};

use tonic::Code;
use winstead_agent_client::{
    CallError, ConnectError, FileError, port::SessionError, terminal::TerminalError,
};

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
    /// A call that the agent refuses, or that was cut.
    #[error("have the agent do it: {:?}: {:?}", .0.code(), .0.message().chars().take(500).collect::<String>())]
    Refused(tonic::Status),
    /// The terminal of this side cannot be lent.
    #[error("lend the terminal to the program")]
    Terminal(#[source] io::Error),
    /// A standard stream of this side cannot be read.
    #[error("read the standard input")]
    Input(#[source] io::Error),
    /// A standard stream of this side cannot be written.
    #[error("write what the program says")]
    Output(#[source] io::Error),
    /// Bytes that the agent had no room for.
    #[error("have all that the program said: bytes {at} to {next} are lost")]
    Gap {
        /// Where.
        at: u64,
        /// What comes instead.
        next: u64,
    },
    /// The agent has ended, and the program with it, or not.
    #[error("hear how the program ended")]
    NoEnd,
    /// A word or a file's name that the protocol cannot carry.
    #[error("pass {} on: it is no text", .0.display())]
    NotText(PathBuf),
}

// Not as a cause: its text is in ours, made harmless.
impl From<tonic::Status> for HandFailure {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(status)
    }
}

impl From<CallError> for HandFailure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Refused { status, .. } => Self::Refused(*status),
            CallError::Nonsense { .. } => Self::NoEnd,
        }
    }
}

impl From<TerminalError> for HandFailure {
    fn from(error: TerminalError) -> Self {
        match error {
            TerminalError::Lend(source) => Self::Terminal(source),
            TerminalError::Show(source) => Self::Output(source),
            TerminalError::Call(error) => error.into(),
        }
    }
}

impl HandFailure {
    /// Whether the agent has not got this service: it is older than we are.
    #[must_use]
    pub fn is_unknown_there(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::Unimplemented)
    }

    /// The exit code that a shell has for a program that was not started; `None` for every other failure.
    #[must_use]
    pub fn not_started(&self) -> Option<u8> {
        match self {
            Self::Refused(status) if status.code() == Code::NotFound => Some(127),
            Self::Refused(status) if status.code() == Code::PermissionDenied => Some(126),
            _ => None,
        }
    }

    pub(super) fn io(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}
