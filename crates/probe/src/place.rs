//! Where it is measured: looked at before the first write, and left as it was found.

use std::{
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use winstead_spec::ByteSize;

use crate::{
    computer::Computer,
    error::ProbeError,
    parameters::{Parameters, Problem},
    platform,
};

/// What our folders' names begin with, so that one knows whose they are.
const PREFIX: &str = "winstead-probe-";

/// A folder in which the load fits.
pub(crate) struct Place {
    /// The user's folder.
    pub folder: PathBuf,
    /// The computer it is on.
    pub computer: Computer,
}

/// What is free where a folder is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// For us, in bytes.
    pub bytes: u64,
    /// Files that can still be made; nothing where the file system has no such limit.
    pub files: Option<u64>,
}

impl Place {
    /// Looks at `folder`. Writes nothing.
    ///
    /// # Errors
    /// When it is no folder, cannot be written to, or has no room.
    pub(crate) fn check(folder: &Path, parameters: &Parameters) -> Result<Self, ProbeError> {
        let refuse =
            |what: String, hint: &str| ProbeError::Refused(vec![Problem { what, hint: hint.to_owned() }]);
        let shown = folder.display();
        let metadata = folder.metadata().map_err(|error| {
            refuse(format!("{shown}: {error}"), "name a folder that exists on the disk to be measured")
        })?;
        if !metadata.is_dir() {
            return Err(refuse(format!("{shown} is no folder"), "name the folder that it is in"));
        }
        platform::check_writable(folder).map_err(|error| {
            refuse(format!("{shown} cannot be written to: {error}"), "name another folder")
        })?;
        let room = platform::room(folder).map_err(|source| ProbeError::System {
            what: format!("ask how much is free in {shown}"),
            source,
        })?;
        let problems = short_of(room, parameters, folder);
        if !problems.is_empty() {
            return Err(ProbeError::Refused(problems));
        }
        Ok(Self { folder: folder.to_owned(), computer: platform::describe(folder, room) })
    }

    /// A new folder of our own in it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn scratch(&self) -> Result<TempDir, ProbeError> {
        tempfile::Builder::new().prefix(PREFIX).tempdir_in(&self.folder).map_err(|error| {
            let what = format!("no folder can be made in {}: {error}", self.folder.display());
            ProbeError::Refused(vec![Problem { what, hint: "name another folder".to_owned() }])
        })
    }
}

fn short_of(room: Room, parameters: &Parameters, folder: &Path) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (bytes, files) = (parameters.needed_bytes(), parameters.needed_files());
    if bytes > room.bytes {
        let (need, have) = (ByteSize::from_bytes(bytes), ByteSize::from_bytes(room.bytes));
        problems.push(Problem {
            what: format!("{need} must be free in {}, and {have} are", folder.display()),
            hint: match parameters {
                Parameters::Blocks(_) => "a smaller --working-set, or another folder",
                Parameters::Files(_) => "smaller --files, --threads or --largest, or another folder",
            }
            .to_owned(),
        });
    }
    if let Some(have) = room.files.filter(|have| files > *have) {
        problems.push(Problem {
            what: format!("{files} files and folders must be free in {}, and {have} are", folder.display()),
            hint: "fewer --files or --threads, or another folder".to_owned(),
        });
    }
    problems
}

/// Removes what was made.
///
/// # Errors
/// When something is left behind; says where.
pub(crate) fn remove(scratch: TempDir) -> Result<(), ProbeError> {
    let path = scratch.path().to_owned();
    match scratch.close() {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(ProbeError::Left { path, source }),
        _ => Ok(()),
    }
}
