//! `agent: true`: puts winstead-agent into the tree, with the unit that starts it.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::files::{Contents, TreeFile};
use crate::{build::Building, error::Fault};

/// The program's name, among the artefacts and beside our own.
const PROGRAM: &str = "winstead-agent";
/// Where it is in the guest.
const PLACE: &str = "usr/bin/winstead-agent";
const UNIT: &str = "winstead-agent.service";

/// Started before anything that could fail, because it is what a guest without a network is repaired by. What it runs for
/// others outlives it (`KillMode=process`): it finds its processes again. No sandbox: it is the host's hand.
const SERVICE: &str = "\
[Unit]
Description=Winstead's agent
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target
After=systemd-journald.socket
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/usr/bin/winstead-agent serve
KillMode=process
Restart=always
RestartSec=200ms
RuntimeDirectory=winstead-agent
StateDirectory=winstead-agent

[Install]
WantedBy=sysinit.target
";

/// What an image with an agent holds beside the others: part of the recipe's digest. The program is told by its version.
pub(crate) fn ingredients() -> String {
    format!("{SERVICE} {PLACE} {}", env!("CARGO_PKG_VERSION"))
}

/// The files; none for an image without.
///
/// # Errors
/// [`Fault::NoAgent`] when the program is not found.
pub(super) fn files(building: &Building<'_>) -> Result<Vec<TreeFile>, Fault> {
    if !building.image.agent {
        return Ok(Vec::new());
    }
    let program = find([building.artifacts, building.programs])?;
    let file = |path: &str, contents| TreeFile { path: path.to_owned(), contents };
    Ok(vec![
        file(PLACE, Contents::Program(fs::read(program)?)),
        file(&format!("etc/systemd/system/{UNIT}"), Contents::Text(SERVICE)),
        file(
            &format!("etc/systemd/system/sysinit.target.wants/{UNIT}"),
            Contents::Link(format!("/etc/systemd/system/{UNIT}")),
        ),
    ])
}

fn find(folders: [Option<&Path>; 2]) -> Result<PathBuf, Fault> {
    let looked: Vec<PathBuf> = folders.into_iter().flatten().map(Path::to_owned).collect();
    let found = looked.iter().map(|folder| folder.join(PROGRAM)).find(|path| path.is_file());
    found.ok_or(Fault::NoAgent { looked })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_comes_before_what_lies_beside_us_and_without_both_the_places_are_told() {
        let (ours, artifacts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folders = [Some(artifacts.path()), Some(ours.path())];
        let error = find(folders).unwrap_err().to_string();
        assert!(error.contains(&ours.path().display().to_string()), "{error}");
        fs::write(ours.path().join(PROGRAM), "ours").unwrap();
        assert_eq!(find(folders).unwrap(), ours.path().join(PROGRAM));
        fs::write(artifacts.path().join(PROGRAM), "theirs").unwrap();
        assert_eq!(find(folders).unwrap(), artifacts.path().join(PROGRAM));
    }
}
