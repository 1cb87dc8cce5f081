//! What is in a folder, all the way down.

use std::{ffi::OsString, path::Path};

use fs_err as fs;
use tokio::sync::mpsc;
use tonic::Status;
use winstead_protocol::v1::WalkResponse;

use super::{
    error::FilesError,
    place::{failed, status},
};

/// A path cannot be longer than 4096 bytes.
const DEPTH: usize = 2048;

/// Who reads the answers; when they go away, the work ends.
pub(super) type Answers = mpsc::Sender<Result<WalkResponse, Status>>;

/// Sends what is at `path` and below it, sorted. Blocks.
pub(super) fn send(path: &Path, answers: &Answers) {
    if let Err(error) = try_send(path, answers) {
        // Nobody listens: nothing to be told.
        answers.blocking_send(Err(error.into())).unwrap_or_default();
    }
}

/// Something that is still to be told: its place, its name for the caller.
struct Next {
    name: String,
    depth: usize,
}

fn try_send(root: &Path, answers: &Answers) -> Result<(), FilesError> {
    let mut next = vec![Next { name: String::new(), depth: 0 }];
    while let Some(Next { name, depth }) = next.pop() {
        let path = if name.is_empty() { root.to_owned() } else { root.join(&name) };
        let found = if depth == 0 { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
        let metadata = match found {
            // It went away meanwhile.
            Err(error) if depth > 0 && error.kind() == std::io::ErrorKind::NotFound => continue,
            found => found.map_err(failed("look at", &path))?,
        };
        let target = if metadata.is_symlink() { target(&path) } else { String::new() };
        let file = status(name.clone(), &metadata, target);
        if answers.blocking_send(Ok(WalkResponse { file: Some(file) })).is_err() {
            return Ok(());
        }
        if metadata.is_dir() {
            next.extend(inside(&path, &name, depth)?);
        }
    }
    Ok(())
}

/// What is in a folder, last name first.
fn inside(path: &Path, name: &str, depth: usize) -> Result<Vec<Next>, FilesError> {
    if depth >= DEPTH {
        return Err(FilesError::TooDeep(path.display().to_string()));
    }
    let entries = fs::read_dir(path).map_err(failed("read the folder", path))?;
    let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<OsString> =
        names.collect::<Result<_, _>>().map_err(failed("read the folder", path))?;
    names.sort_unstable_by(|a, b| b.cmp(a));
    let next = names.into_iter().map(|file| {
        let file = file.into_string().map_err(|file| FilesError::NotText {
            folder: path.display().to_string(),
            name: file.to_string_lossy().into_owned(),
        })?;
        let name = if name.is_empty() { file } else { format!("{name}/{file}") };
        Ok(Next { name, depth: depth + 1 })
    });
    next.collect()
}

fn target(link: &Path) -> String {
    fs::read_link(link).map(|target| target.to_string_lossy().into_owned()).unwrap_or_default()
}
