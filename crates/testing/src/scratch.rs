//! Folders for tests.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

/// An empty home for one test; it goes away when dropped. As root others may pass through it, as through the product's
/// home: QEMU runs as another user.
///
/// # Panics
/// When the temporary folder cannot be made: nothing can be tested then.
#[must_use]
pub fn scratch() -> TempDir {
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    let mut builder = tempfile::Builder::new();
    // Short: a socket's path has at most 107 bytes.
    builder.prefix("wst-").permissions(std::fs::Permissions::from_mode(mode));
    builder.tempdir().expect("a temporary folder can be made")
}

/// Where things that are slow to make are kept between test runs: `target/winstead-lab` of this workspace.
#[must_use]
pub fn lab_folder() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
    crates.parent().unwrap_or(crates).join("target/winstead-lab")
}
