//! Processes as Windows shows them, for those that nobody looks after.

use std::{io, path::PathBuf};

use crate::supervision::{Identity, orphans::Seen};

/// Not yet.
pub(crate) fn all_processes() -> Vec<Seen> {
    Vec::new()
}

/// Not yet.
pub(crate) fn keeper_folder(_: u32) -> Option<PathBuf> {
    None
}

/// Not yet.
pub(crate) fn runs_file(_: u32, _: &str) -> bool {
    true
}

/// Not yet.
pub(crate) fn kill(_: Identity) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
