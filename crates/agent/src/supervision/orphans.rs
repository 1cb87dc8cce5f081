//! Programs that nobody looks after: those that an old wins server has left, and keepers whose record is gone.
//!
//! The old server renamed what it ran to `rancher-wins-NAME` and forgot it when it was restarted; such a program then held its
//! own file, and the next start failed for ever. Only what these two rules find is touched.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
};

use crate::supervision::{Identity, platform, store};

const OLD: &str = "rancher-wins-";

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Orphan {
    /// Its number.
    pub pid: u32,
    /// When it was started, in the system's units.
    pub started: u64,
    /// What it is called.
    pub name: String,
    /// Why it is one.
    pub reason: &'static str,
    /// What it has started, with all that those have.
    pub tree: Vec<Identity>,
}

/// One process, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) started: u64,
    pub(crate) name: String,
}

impl Seen {
    const fn identity(&self) -> Identity {
        Identity { pid: self.pid, started: self.started }
    }
}

/// All that there are.
#[must_use]
pub fn find() -> Vec<Orphan> {
    let all = platform::all_processes();
    let folder = |process: &Seen| Some((process.pid, platform::keeper_folder(process.pid)?));
    let (keepers, without): (Vec<_>, Vec<_>) =
        all.iter().filter_map(folder).partition(|(_, folder)| folder.join(store::RECORD).exists());
    let kept: BTreeSet<u32> =
        keepers.iter().flat_map(|(keeper, _)| below(*keeper, &all).into_iter().chain([*keeper])).collect();
    let mut found: Vec<Orphan> = Vec::new();
    for process in all.iter().filter(|process| !kept.contains(&process.pid)) {
        let reason = if process.name.starts_with(OLD) && platform::runs_file(process.pid, OLD) {
            "left by an old wins server"
        } else if without.iter().any(|(keeper, _)| *keeper == process.pid) {
            "a keeper whose record is gone"
        } else {
            continue;
        };
        let tree: BTreeSet<u32> = below(process.pid, &all).into_iter().collect();
        let tree = all.iter().filter(|process| tree.contains(&process.pid)).map(Seen::identity).collect();
        let (pid, started, name) = (process.pid, process.started, process.name.clone());
        found.push(Orphan { pid, started, name, reason, tree });
    }
    // One in another's tree goes with that.
    let inner: BTreeSet<u32> = found.iter().flat_map(|orphan| &orphan.tree).map(|below| below.pid).collect();
    found.retain(|orphan| !inner.contains(&orphan.pid));
    found
}

/// Kills one with its tree; its root first, so that it starts nothing anew.
///
/// # Errors
/// When the system refuses. Whoever has ended already is fine.
pub fn end(orphan: &Orphan) -> io::Result<()> {
    platform::kill(Identity { pid: orphan.pid, started: orphan.started })?;
    orphan.tree.iter().try_for_each(|below| platform::kill(*below))
}

/// All in `processes` below `root`, without it.
pub(crate) fn below(root: u32, processes: &[Seen]) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = BTreeSet::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if found.insert(*child) {
                open.push(*child);
            }
        }
    }
    found.remove(&root);
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_found_through_all_its_generations_and_nothing_beside_it() {
        let process = |pid, parent| Seen { pid, parent, started: 0, name: String::new() };
        let all = [process(2, 1), process(3, 2), process(9, 3), process(4, 1), process(5, 4)];
        assert_eq!(below(2, &all), [3, 9]);
        assert_eq!(below(9, &all), [0_u32; 0]);
    }
}
