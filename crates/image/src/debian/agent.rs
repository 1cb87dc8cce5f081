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

/// The unit of the Debian package.
const PACKAGED: &str = include_str!("../../../agent/src/service/winstead-agent.service");

/// What is another in a guest: it is started before anything that could fail, because it is what a guest without a network is
/// repaired by, begins again at once, and needs no file that says whom to serve: it is the host's hand. What it runs is to be
/// as free as after a login by SSH, `setarch` and core files too.
const IN_A_GUEST: [(&str, &str); 6] = [
    (
        "\nAfter=network.target\n",
        "\nDefaultDependencies=no\nConflicts=shutdown.target\nBefore=shutdown.target\nAfter=systemd-journald.socket\n\
         StartLimitIntervalSec=0\n",
    ),
    (" --file /etc/winstead-agent/agent.yaml\n", "\n"),
    ("\nRestartSec=5\n", "\nRestartSec=200ms\n"),
    ("\nLimitCORE=0\n", "\n"),
    ("\nLockPersonality=yes\n", "\n"),
    ("\nWantedBy=multi-user.target\n", "\nWantedBy=sysinit.target\n"),
];

/// The unit of a guest.
fn unit() -> String {
    IN_A_GUEST.iter().fold(PACKAGED.to_owned(), |unit, (from, to)| unit.replacen(from, to, 1))
}

/// What an image with an agent holds beside the others: part of the recipe's digest. The program is told by its version.
pub(crate) fn ingredients() -> String {
    format!("{} {PLACE} {}", unit(), env!("CARGO_PKG_VERSION"))
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
        file(&format!("etc/systemd/system/{UNIT}"), Contents::Written(unit())),
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
    fn a_guests_unit_is_the_packages_but_for_what_is_another_in_guests() {
        for (from, to) in IN_A_GUEST {
            assert!(PACKAGED.contains(from), "{from:?} is not in the package's unit");
            assert!(unit().contains(to), "{to:?}");
        }
        insta::assert_snapshot!(unit());
    }

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
