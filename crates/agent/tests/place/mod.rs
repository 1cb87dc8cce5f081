//! Where an agent of a test's own is.

use std::path::{Path, PathBuf};

use winstead_agent_client::Address;

/// Its own door, in this folder, and who calls there.
#[cfg(unix)]
pub(crate) fn agent(folder: &Path, name: &str) -> (PathBuf, Address) {
    let runtime = folder.join(name);
    let address = Address::Unix(runtime.join("agent.sock"));
    (runtime, address)
}

/// Its own door, named after this folder, and who calls there.
#[cfg(windows)]
pub(crate) fn agent(folder: &Path, name: &str) -> (PathBuf, Address) {
    let folder = folder.file_name().expect("a name").to_string_lossy();
    let pipe = format!(r"\\.\pipe\winstead-test-{name}{folder}");
    (PathBuf::from(&pipe), Address::Pipe(pipe))
}
