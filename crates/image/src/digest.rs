//! SHA-256 of files and texts, and what a file takes where holes stay holes.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use fs_err as fs;
use sha2::Digest as _;
use tokio_util::sync::CancellationToken;
use winstead_spec::{ByteSize, Sha256};

const CHUNK: u64 = 1 << 20;
/// The store makes holes of pages that are all zeros.
const PAGE: usize = 4096;

/// What reading a whole file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) digest: Sha256,
    /// Its pages that are not all zeros: what a copy takes in RAM. A file system that compresses counts fewer blocks.
    pub(crate) stored: ByteSize,
}

/// The digest of bytes.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> Sha256 {
    <[u8; 32]>::from(sha2::Sha256::digest(bytes)).into()
}

/// The digest of a file's content, read off the async threads.
///
/// # Errors
/// When the file cannot be read; [`io::ErrorKind::Interrupted`] when `stop` was cancelled.
pub async fn of_file(path: &Path, stop: &CancellationToken) -> io::Result<Sha256> {
    Ok(of_content(path, stop).await?.digest)
}

/// Reads a file completely, off the async threads.
///
/// # Errors
/// When the file cannot be read; [`io::ErrorKind::Interrupted`] when `stop` was cancelled.
pub(crate) async fn of_content(path: &Path, stop: &CancellationToken) -> io::Result<Content> {
    let (path, stop) = (path.to_owned(), stop.clone());
    tokio::task::spawn_blocking(move || read(path, &stop)).await.map_err(io::Error::other)?
}

fn read(path: PathBuf, stop: &CancellationToken) -> io::Result<Content> {
    let mut file = fs::File::open(path)?;
    let mut hasher = sha2::Sha256::new();
    let (mut chunk, mut pages) = (Vec::new(), 0);
    loop {
        chunk.clear();
        // Filled, so that pages begin where the file's do.
        if file.by_ref().take(CHUNK).read_to_end(&mut chunk)? == 0 {
            let digest = <[u8; 32]>::from(hasher.finalize()).into();
            return Ok(Content { digest, stored: ByteSize::from_bytes((pages * PAGE) as u64) });
        }
        hasher.update(&chunk);
        pages += chunk.chunks(PAGE).filter(|page| page.iter().any(|byte| *byte != 0)).count();
        if stop.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_pages_with_something_in_them_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        // Three pages across a chunk's end, of which the middle one is empty, and the beginning of a fourth.
        let mut bytes = vec![0; usize::try_from(CHUNK).unwrap() + 2 * PAGE + 1];
        let end = bytes.len() - 1;
        (bytes[PAGE - 1], bytes[end - PAGE], bytes[end]) = (1, 1, 1);
        fs::write(&path, &bytes).unwrap();
        let content = of_content(&path, &CancellationToken::new()).await.unwrap();
        let expected = Content { digest: of_bytes(&bytes), stored: ByteSize::from_bytes(3 * PAGE as u64) };
        assert_eq!(content, expected);
    }
}
