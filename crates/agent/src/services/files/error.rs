//! Why a file was not read or written.

use std::io;

use tonic::{Code, Status};

/// A file that was not read or written. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub(super) enum FilesError {
    /// Not a path that this service takes.
    #[error("use the path {0:?}: it must be absolute, without `.` and `..`")]
    Path(String),
    /// What is there is something else.
    #[error("use {path}: it is {found}")]
    Kind {
        /// Which.
        path: String,
        /// What is there.
        found: &'static str,
    },
    /// The system's words.
    #[error("{what} {path}: {source}")]
    Io {
        /// `read`, `write`, ...
        what: &'static str,
        /// Which.
        path: String,
        /// Why not. In the text too: only that reaches the caller.
        source: io::Error,
    },
    /// A name that the protocol cannot carry.
    #[error("name a file in {folder}: {name:?} is no text")]
    NotText {
        /// Where it is.
        folder: String,
        /// As far as it can be shown.
        name: String,
    },
    /// Folders in folders without end.
    #[error("walk through {0}: it is too deep")]
    TooDeep(String),
    /// The caller's digest is another one.
    #[error("take what came for {0}: its digest is not the one that was sent")]
    Digest(String),
    /// The caller went away, or its messages make no sense.
    #[error("take what came for {path}: {why}")]
    Messages {
        /// Which.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
}

impl From<FilesError> for Status {
    fn from(error: FilesError) -> Self {
        let code = match &error {
            FilesError::Path(_) | FilesError::Messages { .. } => Code::InvalidArgument,
            FilesError::Kind { .. } | FilesError::NotText { .. } | FilesError::TooDeep(_) => {
                Code::FailedPrecondition
            }
            FilesError::Digest(_) => Code::DataLoss,
            FilesError::Io { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Code::NotFound,
                io::ErrorKind::PermissionDenied => Code::PermissionDenied,
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Code::ResourceExhausted,
                io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => Code::FailedPrecondition,
                _ => Code::Internal,
            },
        };
        Self::new(code, error.to_string())
    }
}
