//! Programs whose digest decides: copied to where only the agent can write, hashed there, and run from there. Whoever
//! exchanges the file between the decision and the start exchanges nothing.

use std::{
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use fs_err as fs;
use sha1::Sha1;
use sha2::{Digest as _, Sha256 as Hasher};
use winstead_spec::Sha256;

use crate::{access::Signer, signature, supervision::platform};

const CHUNK: usize = 256 * 1024;
/// No program is larger; else a caller could fill the disk with one.
const LARGEST: u64 = 2 * 1024 * 1024 * 1024;

/// A program was not taken in; nothing is left. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is a folder, a device or a pipe.
    #[error("take {} in: it is no file", .0.display())]
    NoFile(PathBuf),
    /// It is too large.
    #[error("take {} in: it is larger than 2 GiB", .0.display())]
    TooLarge(PathBuf),
    /// The system.
    #[error("take {} in", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A folder of copies, named by their digests.
#[derive(Clone, Debug)]
pub struct Vault {
    folder: PathBuf,
}

/// A copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is: to be run instead of the original.
    pub path: PathBuf,
    /// Of the copy.
    pub sha256: Sha256,
    /// Of the copy, in hexadecimal digits: what the old protocol compares.
    pub sha1: String,
    /// Of the copy, if it was asked for and counts.
    pub signer: Option<Signer>,
}

impl Vault {
    /// In this folder, which others may pass through, to run what is in it, but neither list nor write.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(folder: &Path) -> io::Result<Self> {
        platform::passable_folder(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// As [`Vault::take`], and finds out who signed the copy, if that is wanted. Off the threads of async code.
    ///
    /// # Errors
    /// As [`Vault::take`].
    pub(crate) async fn look_at(&self, program: &Path, signer: bool) -> Result<Kept, VaultError> {
        let (vault, program) = (self.clone(), program.to_owned());
        let failed = |source| VaultError::Io { path: program.clone(), source: io::Error::other(source) };
        let taken = tokio::task::spawn_blocking({
            let program = program.clone();
            move || {
                let kept = vault.take(&program)?;
                let signer = signer.then(|| signature::signer(&kept.path)).flatten();
                Ok(Kept { signer, ..kept })
            }
        });
        taken.await.map_err(failed)?
    }

    /// Copies a program, unless the same bytes are there already. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be read, is no file, or there is no room.
    pub fn take(&self, program: &Path) -> Result<Kept, VaultError> {
        let failed = |source| VaultError::Io { path: program.to_owned(), source };
        // Opened once: what is copied is what was opened, whatever the name leads to by then.
        let mut original = platform::open_program(program).map_err(failed)?;
        let about = original.metadata().map_err(failed)?;
        if !about.is_file() {
            return Err(VaultError::NoFile(program.to_owned()));
        }
        let beside = self.folder.join(format!(".{}", uuid::Uuid::new_v4().simple()));
        let copied = self.copy(&mut original, &beside).map_err(failed);
        let outcome = match copied {
            Ok(Some(kept)) => self.settle(&beside, &kept).map(|()| kept).map_err(failed),
            Ok(None) => Err(VaultError::TooLarge(program.to_owned())),
            Err(error) => Err(error),
        };
        if outcome.is_err()
            && let Err(error) = fs::remove_file(&beside)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "half a copy stays");
        }
        outcome
    }

    /// Nothing when it is too large.
    fn copy(&self, original: &mut std::fs::File, to: &Path) -> io::Result<Option<Kept>> {
        let mut copy = platform::create_program(to)?;
        let (mut sha256, mut sha1) = (Hasher::new(), Sha1::new());
        let mut buffer = vec![0; CHUNK];
        let mut length = 0;
        loop {
            let count = original.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            length += count as u64;
            if length > LARGEST {
                return Ok(None);
            }
            sha256.update(&buffer[..count]);
            sha1.update(&buffer[..count]);
            copy.write_all(&buffer[..count])?;
        }
        let sha256 = Sha256::from(<[u8; 32]>::from(sha256.finalize()));
        let sha1 = sha1.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        let path = self.folder.join(platform::program_name(sha256.hex()));
        Ok(Some(Kept { path, sha256, sha1, signer: None }))
    }

    /// The first copy stays: it may be running.
    fn settle(&self, beside: &Path, kept: &Kept) -> io::Result<()> {
        if kept.path.exists() {
            return fs::remove_file(beside);
        }
        fs::rename(beside, &kept.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_named_by_its_digest_and_taken_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("program");
        fs::write(&program, "abc").expect("it is written");
        let vault = Vault::open(&folder.path().join("vault")).expect("a vault");
        let kept = vault.take(&program).expect("it is taken");
        assert_eq!(kept.sha1, "a9993e364706816aba3e25717850c26c9cd0d89d");
        assert_eq!(kept.sha256.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(vault.take(&program).expect("again"), kept);
        let there = fs::read_dir(folder.path().join("vault")).expect("it is there").count();
        assert_eq!(there, 1, "one copy, and no half ones");
    }

    #[test]
    fn what_is_no_file_is_not_taken_and_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let vault = Vault::open(&folder.path().join("vault")).expect("a vault");
        assert!(matches!(vault.take(folder.path()), Err(VaultError::NoFile(_))));
        assert!(matches!(vault.take(&folder.path().join("nothing")), Err(VaultError::Io { .. })));
    }
}
