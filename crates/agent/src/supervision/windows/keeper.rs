//! `winstead-agent keeper FOLDER`.

use std::{io, path::Path, process::ExitCode};

/// Not yet.
///
/// # Errors
/// Always.
pub fn keep(_: &Path) -> io::Result<ExitCode> {
    Err(io::ErrorKind::Unsupported.into())
}
