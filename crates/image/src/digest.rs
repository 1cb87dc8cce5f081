//! SHA-256 of files and texts.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use fs_err as fs;
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;
use winstead_spec::Sha256;

const CHUNK: usize = 1 << 20;

pub(crate) fn of_bytes(bytes: &[u8]) -> Sha256 {
    <[u8; 32]>::from(sha2::Sha256::digest(bytes)).into()
}

/// The digest of a file's content, off the async threads; `progress` hears how many bytes are done.
///
/// # Errors
/// When the file cannot be read; [`io::ErrorKind::Interrupted`] when `stop` was cancelled.
pub(crate) async fn of_file(path: &Path, stop: &CancellationToken) -> io::Result<Sha256> {
    let (path, stop) = (path.to_owned(), stop.clone());
    tokio::task::spawn_blocking(move || hash(path, &stop)).await.map_err(io::Error::other)?
}

fn hash(path: PathBuf, stop: &CancellationToken) -> io::Result<Sha256> {
    let mut file = fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(<[u8; 32]>::from(hasher.finalize()).into()),
            read => hasher.update(&chunk[..read]),
        }
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}
