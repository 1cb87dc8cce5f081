//! Where it is measured: looked at before the first write, and left as it was found.

use std::{
    io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;
use winstead_spec::ByteSize;

use crate::{
    barrier::Barrier,
    clock::Stop,
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

/// Where and when a load runs.
pub(crate) struct Site<'a> {
    /// Our own folder.
    pub scratch: &'a Path,
    /// The wish to stop.
    pub stop: &'a Stop,
    /// What to wait for when everything is prepared.
    pub barrier: Barrier,
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
        let computer = platform::describe(folder, room);
        let mut problems = short_of(room, parameters, folder);
        problems.extend(short_of_memory(&computer, parameters));
        if !problems.is_empty() {
            return Err(ProbeError::Refused(problems));
        }
        Ok(Self { folder: folder.to_owned(), computer })
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
                Parameters::Blocks(_) | Parameters::Seed(_) => "a smaller --working-set, or another folder",
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

/// A tmpfs says that half of the memory is free, also when there is less: filling it would end other programs.
fn short_of_memory(computer: &Computer, parameters: &Parameters) -> Option<Problem> {
    let limits = [computer.memory_available_bytes, computer.memory_limit_bytes];
    let have = limits.into_iter().flatten().min()?;
    let need = parameters.needed_bytes();
    (computer.file_system.is_memory() && need > have).then(|| Problem {
        what: format!(
            "the folder is in memory: {} would be taken, and {} are left",
            ByteSize::from_bytes(need),
            ByteSize::from_bytes(have)
        ),
        hint: "measure less of it, or another folder".to_owned(),
    })
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{cli::Cli, computer::FileSystem};

    fn parameters() -> Parameters {
        let cli = Cli::try_parse_from(["winstead-probe", "seq-read", "--working-set", "100MiB"]);
        Parameters::read(&cli.expect("arguments").workload).expect("fine")
    }

    #[test]
    fn a_folder_in_memory_must_leave_memory() {
        let computer = |kind: &str, available, limit| Computer {
            memory_available_bytes: Some(available),
            memory_limit_bytes: limit,
            file_system: FileSystem { kind: Some(kind.to_owned()), ..FileSystem::default() },
            ..Computer::default()
        };
        let refused = |computer| short_of_memory(&computer, &parameters()).map(|problem| problem.what);
        assert_eq!(refused(computer("tmpfs", 1 << 30, None)), None);
        assert_eq!(refused(computer("ext4", 1 << 20, None)), None);
        let said = "the folder is in memory: 116 MiB would be taken, and 64 MiB are left";
        assert_eq!(refused(computer("tmpfs", 1 << 30, Some(64 << 20))).as_deref(), Some(said));
    }

    #[test]
    fn room_is_counted_in_bytes_and_in_files() {
        let refused = |bytes, files| {
            short_of(Room { bytes, files }, &parameters(), Path::new("/x"))
                .into_iter()
                .map(|p| p.what)
                .collect()
        };
        let fine: Vec<String> = refused(116 << 20, None);
        assert_eq!(fine, Vec::<String>::new());
        let said: Vec<String> = refused(1 << 20, Some(2));
        let expected = [
            "116 MiB must be free in /x, and 1 MiB are",
            "3 files and folders must be free in /x, and 2 are",
        ];
        assert_eq!(said, expected);
    }
}
