//! Processes as Windows shows them, for those that nobody looks after.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use crate::{
    supervision::{Identity, orphans::Seen, windows::files::KEEPER},
    windows::{ClientProcess, list},
};

/// Everything that runs now; what ends meanwhile may be missing. A parent that is gone is no parent, though its number may be
/// another's.
pub(crate) fn all_processes() -> Vec<Seen> {
    let listed = list().unwrap_or_else(|error| {
        tracing::warn!(%error, "the processes of this computer cannot be listed");
        Vec::new()
    });
    // Windows shows nobody when its own were started: before all others.
    let started = |pid| ClientProcess::open(pid).and_then(|process| process.started()).unwrap_or(0);
    let started: BTreeMap<u32, u64> =
        listed.iter().map(|process| (process.pid, started(process.pid))).collect();
    let seen = listed.into_iter().map(|process| {
        let own = started.get(&process.pid).copied().unwrap_or(0);
        let is_parent = started.get(&process.parent).is_some_and(|parent| *parent <= own);
        let parent = if is_parent && process.parent != process.pid { process.parent } else { 0 };
        Seen { pid: process.pid, parent, started: own, name: process.name }
    });
    seen.filter(|process| process.pid != 0).collect()
}

/// The folder that a keeper keeps; nothing for whatever is no keeper.
pub(crate) fn keeper_folder(pid: u32) -> Option<PathBuf> {
    let process = ClientProcess::open(pid).ok()?;
    let program = process.program()?;
    let ours = program.file_name()?.to_string_lossy().starts_with(KEEPER);
    ours.then(|| kept(&process.command_line().ok()?)).flatten()
}

/// Whether some keeper is known to keep this folder.
pub(crate) fn keeps(folder: &Path) -> bool {
    all_processes().iter().any(|process| keeper_folder(process.pid).is_some_and(|kept| kept == folder))
}

/// What [`Started::detached`](crate::windows::Started::detached) made of `PROGRAM keeper FOLDER`.
fn kept(line: &str) -> Option<PathBuf> {
    let (_, arguments) = line.strip_prefix('"')?.split_once('"')?;
    let folder = arguments.trim_start().strip_prefix("keeper ")?;
    Some(Path::new(folder.trim().trim_matches('"')).to_owned())
}

/// What a process is called is the name of its file.
pub(crate) const fn runs_file(_: u32, _: &str) -> bool {
    true
}

/// Kills one, unless its number is another's by now. Whoever has ended already is fine.
///
/// # Errors
/// When the system refuses.
pub(crate) fn kill(process: Identity) -> io::Result<()> {
    ClientProcess::to_end(process.pid, process.started)?.map_or(Ok(()), |process| process.end(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_keeper_is_known_by_its_line() {
        let line =
            r#""C:\Program Files\Winstead\winstead-agent.exe" keeper "C:\Program Data\agent\processes\7d""#;
        assert_eq!(kept(line), Some(r"C:\Program Data\agent\processes\7d".into()));
        assert_eq!(kept(r#""C:\winstead-agent.exe" keeper C:\state\7d"#), Some(r"C:\state\7d".into()));
        assert_eq!(kept(r#""C:\winstead-agent.exe" serve --state C:\keeper "#), None);
        assert_eq!(kept("winstead-agent serve"), None);
    }

    #[test]
    fn we_are_among_all_processes() {
        let all = all_processes();
        let us = all.iter().find(|process| process.pid == std::process::id()).expect("we run");
        let file = std::env::current_exe().expect("a path");
        assert_eq!(Some(us.name.as_str()), file.file_name().and_then(|name| name.to_str()));
        assert!(us.started > 0 && us.parent != us.pid);
    }
}
