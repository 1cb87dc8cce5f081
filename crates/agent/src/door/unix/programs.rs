//! What calling programs hash to, computed once for each.

use std::{
    collections::HashMap,
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    sync::{Mutex, PoisonError},
};

use fs_err as fs;
use sha2::{Digest as _, Sha256 as Hasher};
use winstead_spec::Sha256;

/// A larger program is not hashed: reading it would take longer than a caller waits.
const LARGEST: u64 = 256 << 20;
/// So many are remembered; then all are forgotten, because a caller may make new ones as fast as it likes.
const REMEMBERED: usize = 256;

/// The digests of programs that were asked for, by what the system says of their files.
#[derive(Debug, Default)]
pub(super) struct Programs {
    known: Mutex<HashMap<Identity, Sha256>>,
}

/// A file as it is now. Whoever changes its content changes the last of these, which nobody can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Programs {
    /// What the program of a process hashes to: of the file that it was really started from, also when that is gone.
    /// Blocks.
    ///
    /// # Errors
    /// When it cannot be read, or is too large.
    pub(super) fn digest(&self, pid: u32) -> io::Result<Sha256> {
        let mut file = fs::File::open(format!("/proc/{pid}/exe"))?;
        let found = file.metadata()?;
        if found.len() > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let changed = (found.ctime(), found.ctime_nsec());
        let identity = Identity { device: found.dev(), inode: found.ino(), size: found.size(), changed };
        if let Some(known) = self.locked().get(&identity) {
            return Ok(known.clone());
        }
        let digest = hash(&mut file)?;
        let mut known = self.locked();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(identity, digest.clone());
        Ok(digest)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<Identity, Sha256>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hash(file: &mut impl io::Read) -> io::Result<Sha256> {
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 17];
    let mut file = file.take(LARGEST);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Sha256::from(<[u8; 32]>::from(hasher.finalize()))),
            read => hasher.update(&buffer[..read]),
        }
    }
}
