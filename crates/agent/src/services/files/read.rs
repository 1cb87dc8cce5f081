//! Reading one file.

use std::{fs::File, io::Read, path::Path};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tonic::Status;
use winstead_protocol::v1::{FileKind, GetResponse, get_response::Message};

use super::{
    error::FilesError,
    place::{failed, kind, shown, status},
};
use crate::services::CHUNK;

/// Who reads the answers; when they go away, the work ends.
pub(super) type Answers = mpsc::Sender<Result<GetResponse, Status>>;

/// Sends a file: what it is, its content, its digest. Blocks.
pub(super) fn send(path: &Path, answers: &Answers) {
    if let Err(error) = try_send(path, answers) {
        // Nobody listens: nothing to be told.
        answers.blocking_send(Err(error.into())).unwrap_or_default();
    }
}

fn try_send(path: &Path, answers: &Answers) -> Result<(), FilesError> {
    let mut file = open(path).map_err(failed("read", path))?;
    let metadata = file.metadata().map_err(failed("read", path))?;
    if kind(&metadata) != FileKind::File {
        return Err(FilesError::Kind { path: path.display().to_string(), found: shown(kind(&metadata)) });
    }
    let answer = |message| answers.blocking_send(Ok(GetResponse { message: Some(message) })).is_ok();
    let mut wanted = answer(Message::File(status(String::new(), &metadata, String::new())));
    let mut hash = Sha256::new();
    while wanted {
        let mut data = Vec::with_capacity(CHUNK);
        let length = file.by_ref().take(CHUNK as u64).read_to_end(&mut data).map_err(failed("read", path))?;
        if length == 0 {
            answer(Message::Sha256(hash.finalize().to_vec().into()));
            break;
        }
        hash.update(&data);
        wanted = answer(Message::Data(data.into()));
    }
    Ok(())
}

/// A pipe would keep us waiting until somebody writes, a terminal could become ours: neither may happen before it is
/// known what is there.
#[cfg(unix)]
fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(not(unix))]
fn open(path: &Path) -> std::io::Result<File> {
    File::options().read(true).open(path)
}
