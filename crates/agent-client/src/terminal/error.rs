//! Why a terminal was not lent to the end.

use std::io;

use crate::CallError;

/// A program is not at our terminal. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum TerminalError {
    /// There is none, or it cannot be set.
    #[error("lend the terminal to the program")]
    Lend(#[source] io::Error),
    /// It shows nothing any more.
    #[error("show what the program says")]
    Show(#[source] io::Error),
    /// The connection broke before the program's end.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl TerminalError {
    /// There is none.
    pub(super) fn none() -> Self {
        let why = "standard input and output are no terminal";
        Self::Lend(io::Error::new(io::ErrorKind::Unsupported, why))
    }
}
