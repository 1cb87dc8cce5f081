//! What can go wrong when talking to QEMU.

use std::{fmt, io, path::PathBuf, time::Duration};

/// A conversation with QEMU that failed.
#[derive(Debug)]
pub struct QmpError {
    /// The socket.
    pub socket: PathBuf,
    /// What was asked, or waited for.
    pub asked: String,
    /// What happened.
    pub kind: QmpErrorKind,
}

/// What happened.
#[derive(Debug)]
pub enum QmpErrorKind {
    /// Nobody listens, or the connection broke.
    Io(io::Error),
    /// QEMU closed the connection: it has ended, or is ending.
    Closed,
    /// No answer in time.
    TimedOut {
        /// The limit.
        limit: Duration,
        /// What was heard last, if anything.
        last: Option<String>,
    },
    /// QEMU refused the command.
    Refused {
        /// `GenericError`, `CommandNotFound`, …
        class: String,
        /// In its own words.
        description: String,
    },
    /// The peer broke the protocol.
    Protocol(String),
}

impl QmpError {
    /// Whether QEMU is not there (any more): nobody listens, or it hung up.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        match &self.kind {
            QmpErrorKind::Closed => true,
            QmpErrorKind::Io(error) => matches!(
                error.kind(),
                io::ErrorKind::NotFound
                    | io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
            ),
            _ => false,
        }
    }
}

impl fmt::Display for QmpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ask QEMU at {} for {}: ", self.socket.display(), self.asked)?;
        match &self.kind {
            QmpErrorKind::Io(_) => f.write_str("the connection failed"),
            QmpErrorKind::Closed => f.write_str("it closed the connection"),
            QmpErrorKind::TimedOut { limit, last: None } => write!(f, "nothing was heard for {limit:?}"),
            QmpErrorKind::TimedOut { limit, last: Some(last) } => {
                write!(f, "no answer after {limit:?}, last heard: {last}")
            }
            QmpErrorKind::Refused { class, description } => write!(f, "{description} ({class})"),
            QmpErrorKind::Protocol(what) => write!(f, "it broke the protocol: {what}"),
        }
    }
}

impl std::error::Error for QmpError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            QmpErrorKind::Io(error) => Some(error),
            _ => None,
        }
    }
}
