//! Processes as `/proc` shows them, for those that nobody looks after.

use std::{
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use winstead_process::ProcessId;

use crate::supervision::Identity;

/// Whether its program's file is called like this, at its beginning: the kernel cuts names of threads after 15 bytes
/// (TASK_COMM_LEN), and every program can change its own.
pub(crate) fn runs_file(pid: u32, begin: &str) -> bool {
    let named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(begin));
    fs::read_link(format!("/proc/{pid}/exe")).map_or(true, |path| named(&path))
}

/// Kills one, unless its number is another's by now. Whoever has ended already is fine.
///
/// # Errors
/// When the kernel refuses.
pub(crate) fn kill(process: Identity) -> io::Result<()> {
    ProcessId { pid: process.pid, started: process.started }.kill()
}

/// The folder that a keeper keeps; nothing for whatever is no keeper.
pub(crate) fn keeper_folder(pid: u32) -> Option<PathBuf> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let [program, b"keeper", folder, ..] = words[..] else { return None };
    let program = PathBuf::from(String::from_utf8_lossy(program).into_owned());
    let ours = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("winstead-agent"));
    ours.then(|| PathBuf::from(String::from_utf8_lossy(folder).into_owned()))
}
