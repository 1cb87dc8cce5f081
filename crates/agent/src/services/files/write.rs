//! Writing one file: beside its place first, and then in one step.

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use fs_err as fs;
use prost::bytes::Bytes;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use winstead_protocol::v1::{FileKind, PutFile};

use super::{
    error::FilesError,
    place::{failed, kind, shown},
};

/// What comes of a file, in order.
#[derive(Debug)]
pub(super) enum Part {
    /// More of it.
    Data(Bytes),
    /// All has come, and this is its digest.
    End(Bytes),
}

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) path: PathBuf,
    pub(super) file: PutFile,
}

impl Incoming {
    /// Makes the folder that this is. Blocks.
    pub(super) fn make_folder(&self) -> Result<(), FilesError> {
        let made =
            if self.file.make_folders { fs::create_dir_all(&self.path) } else { fs::create_dir(&self.path) };
        match made {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(failed("make the folder", &self.path)(error))
            }
            Err(_) if !self.path.is_dir() => Err(FilesError::Kind { path: self.shown(), found: "a file" }),
            // What is there keeps its mode.
            Err(_) => Ok(()),
            Ok(()) => self.set_mode(&self.path),
        }
    }

    /// Writes the parts; returns how many bytes there were. Without an end nothing is left. Blocks.
    pub(super) fn write(&self, mut parts: mpsc::Receiver<Part>) -> Result<u64, FilesError> {
        let mut file = self.beside()?;
        let (mut hash, mut bytes) = (Sha256::new(), 0);
        while let Some(part) = parts.blocking_recv() {
            match part {
                Part::Data(data) => {
                    hash.update(&data);
                    file.write_all(&data).map_err(failed("write", &self.path))?;
                    bytes += data.len() as u64;
                }
                Part::End(digest) if hash.finalize()[..] == digest[..] => {
                    self.set_mode(file.path())?;
                    file.persist(&self.path).map_err(|error| failed("write", &self.path)(error.error))?;
                    return Ok(bytes);
                }
                Part::End(_) => return Err(FilesError::Digest(self.shown())),
            }
        }
        Err(FilesError::Messages { path: self.shown(), why: "it ended before its digest" })
    }

    fn beside(&self) -> Result<NamedTempFile, FilesError> {
        if let Ok(found) = fs::metadata(&self.path)
            && kind(&found) != FileKind::File
        {
            return Err(FilesError::Kind { path: self.shown(), found: shown(kind(&found)) });
        }
        let folder = self.path.parent().ok_or_else(|| FilesError::Path(self.shown()))?;
        if self.file.make_folders {
            fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
        }
        tempfile::Builder::new().prefix(".winstead-").tempfile_in(folder).map_err(failed("write in", folder))
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }

    /// A temporary file is its owner's alone; a new file is everybody's to read, as far as the system lets.
    #[cfg(unix)]
    fn set_mode(&self, path: &Path) -> Result<(), FilesError> {
        use std::os::unix::fs::PermissionsExt;
        let mode = match (self.file.mode & 0o7777, self.file.kind()) {
            (0, FileKind::Folder) => 0o755,
            (0, _) => 0o644,
            (mode, _) => mode,
        };
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(failed("set the mode of", &self.path))
    }

    #[cfg(not(unix))]
    fn set_mode(&self, _: &Path) -> Result<(), FilesError> {
        Ok(())
    }
}
