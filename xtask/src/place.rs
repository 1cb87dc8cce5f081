//! Where things are: the workspace, and the folder for what xtask writes.

use std::path::{Path, PathBuf};

/// The workspace's root: xtask's own folder is one below it.
#[must_use]
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo's output folder, where everything goes that may be deleted at any time.
#[must_use]
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// Whether this runs as root.
#[must_use]
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
