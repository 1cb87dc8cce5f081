//! What can go wrong with a guest agent.

use std::{io, path::PathBuf, time::Duration};

/// A call that did not come through.
#[derive(Debug, thiserror::Error)]
#[error("call {command} of the guest agent at {}", socket.display())]
pub struct AgentError {
    /// The agent's socket.
    pub socket: PathBuf,
    /// The command, `connect` for the connection itself.
    pub command: String,
    /// What happened.
    #[source]
    pub failure: AgentFailure,
}

/// What happened to a call.
#[derive(Debug, thiserror::Error)]
pub enum AgentFailure {
    /// The socket could not be opened, written or read.
    #[error("use the socket")]
    Io(#[from] io::Error),
    /// QEMU has closed the connection.
    #[error("keep the connection: it was closed")]
    Closed,
    /// No answer in time: the agent is not installed, not started yet, or hangs.
    #[error("get an answer within {0:?}")]
    Silent(Duration),
    /// Whoever asked was told to stop.
    #[error("finish: interrupted")]
    Cancelled,
    /// The agent answered with an error.
    #[error("be accepted: {class}: {description:?}")]
    Refused {
        /// QEMU's error class, `CommandNotFound` or `GenericError`.
        class: String,
        /// The guest's words.
        description: String,
    },
    /// The guest's configuration does not allow the command.
    #[error("be accepted: the guest's configuration disables it")]
    Disabled,
    /// An answer that is none.
    #[error("understand the answer: {0}")]
    Malformed(String),
    /// An answer or a file larger than the caller takes.
    #[error("take an answer of more than {limit} bytes")]
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
}
