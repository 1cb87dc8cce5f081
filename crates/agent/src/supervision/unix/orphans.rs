//! Programs that nobody looks after: those that an old wins server has left, and keepers whose record is gone.
//!
//! The old server renamed what it ran to `rancher-wins-NAME` and forgot it when it was restarted; such a program then held its
//! own file, and the next start failed for ever. Only what these two rules find is touched.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
};

use fs_err as fs;
use winstead_process::ProcessId;

use crate::supervision::{store, unix::tree};

const OLD: &str = "rancher-wins-";
/// The kernel cuts names of threads there (TASK_COMM_LEN).
const NAME_BYTES: usize = 15;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the kernel's units.
    pub started: u64,
    /// What it is called.
    pub name: String,
    /// Why it is one.
    pub reason: &'static str,
    /// What it has started, with all that those have.
    pub tree: Vec<u32>,
}

/// All that there are.
#[must_use]
pub fn find() -> Vec<Orphan> {
    let all = tree::all();
    let kept: BTreeSet<u32> = all
        .iter()
        .filter(|process| keeper_folder(process.pid).is_some_and(|folder| has_record(&folder)))
        .flat_map(|keeper| tree::below(keeper.pid, &all).into_iter().chain([keeper.pid]))
        .collect();
    let mut found: Vec<Orphan> = Vec::new();
    for process in all.iter().filter(|process| !kept.contains(&process.pid)) {
        let reason = if is_old(process.pid, &process.name) {
            "left by an old wins server"
        } else if keeper_folder(process.pid).is_some_and(|folder| !has_record(&folder)) {
            "a keeper whose record is gone"
        } else {
            continue;
        };
        let tree = tree::below(process.pid, &all);
        let (pid, started, name) = (process.pid, process.started, process.name.clone());
        found.push(Orphan { pid, started, name, reason, tree });
    }
    // One in another's tree goes with that.
    let inner: BTreeSet<u32> = found.iter().flat_map(|orphan| orphan.tree.clone()).collect();
    found.retain(|orphan| !inner.contains(&orphan.pid));
    found
}

/// Kills one with its tree; its root first, so that it starts nothing anew.
///
/// # Errors
/// When the kernel refuses. Whoever has ended already is fine.
pub fn end(orphan: &Orphan) -> io::Result<()> {
    let root = ProcessId { pid: orphan.pid, started: orphan.started };
    let below: Vec<ProcessId> = orphan.tree.iter().filter_map(|pid| ProcessId::of(*pid)).collect();
    root.kill()?;
    below.into_iter().try_for_each(ProcessId::kill)
}

fn is_old(pid: u32, name: &str) -> bool {
    debug_assert!(OLD.len() <= NAME_BYTES, "the kernel shows all of it");
    let named = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(OLD));
    name.starts_with(OLD) && fs::read_link(format!("/proc/{pid}/exe")).map_or(true, |path| named(&path))
}

/// The folder that a keeper keeps; nothing for whatever is no keeper.
fn keeper_folder(pid: u32) -> Option<PathBuf> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    let [program, b"keeper", folder, ..] = words[..] else { return None };
    let program = PathBuf::from(String::from_utf8_lossy(program).into_owned());
    let ours = program.file_name().is_some_and(|name| name.to_string_lossy().starts_with("winstead-agent"));
    ours.then(|| PathBuf::from(String::from_utf8_lossy(folder).into_owned()))
}

fn has_record(folder: &Path) -> bool {
    folder.join(store::RECORD).exists()
}
