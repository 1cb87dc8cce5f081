//! Files and folders into a machine and out of it, as `scp` does: into a folder that is there, else under the new name;
//! what links point to, not links.

use std::{ffi::OsStr, os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;
use tempfile::NamedTempFile;
use winstead_protocol::v1::{FileKind, FileStatus, PutFile};

use super::{Hand, HandError, HandFailure, inside::inside};

/// More entries than this are not taken from a guest: their names alone would fill the host's memory.
const ENTRIES: usize = 1_000_000;

/// What was copied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// Copies `from`, here, to `to` in the machine, an absolute path; folders only when `recursive`.
///
/// # Errors
/// See [`HandFailure`]; each file is whole or as it was before.
pub async fn copy_in(hand: &Hand, from: &Path, to: &str, recursive: bool) -> Result<Copied, HandError> {
    let copied = put_all(hand, from, to, recursive).await;
    copied.map_err(|failure| hand.error(format!("copy {} to {to}", from.display()), failure))
}

/// Copies `from`, an absolute path in the machine, to `to`; folders only when `recursive`.
///
/// # Errors
/// See [`HandFailure`]; each file is whole or as it was before.
pub async fn copy_out(hand: &Hand, from: &str, to: &Path, recursive: bool) -> Result<Copied, HandError> {
    let copied = get_all(hand, from, to, recursive).await;
    copied.map_err(|failure| hand.error(format!("copy {from} to {}", to.display()), failure))
}

async fn put_all(hand: &Hand, from: &Path, to: &str, recursive: bool) -> Result<Copied, HandFailure> {
    let metadata = fs::metadata(from).map_err(HandFailure::io(from))?;
    if metadata.is_dir() && !recursive {
        return Err(HandFailure::Kind { path: from.display().to_string(), found: "a folder" });
    }
    let there = hand.agent().look(to.trim_end_matches('/').to_owned() + root(to)).await?;
    let into = to.ends_with('/') || there.is_some_and(|found| found.kind() == FileKind::Folder);
    let target =
        if into { join(to, text(from, from.file_name().unwrap_or_default())?) } else { to.to_owned() };
    let mut copied = Copied::default();
    let mut next = vec![(from.to_owned(), target)];
    while let Some((from, to)) = next.pop() {
        let metadata = fs::metadata(&from).map_err(HandFailure::io(&from))?;
        let mode = metadata.permissions().mode() & 0o777;
        if metadata.is_dir() {
            hand.agent().make_folder(to.clone(), mode).await?;
            for entry in fs::read_dir(&from).map_err(HandFailure::io(&from))? {
                let entry = entry.map_err(HandFailure::io(&from))?;
                next.push((entry.path(), join(&to, text(&entry.path(), &entry.file_name())?)));
            }
        } else if metadata.is_file() {
            copied.bytes += put(hand, &from, to, mode).await?;
            copied.files += 1;
        } else {
            copied.left_out.push(format!("{}: neither a file nor a folder", from.display()));
        }
    }
    Ok(copied)
}

/// `/` alone is the root folder; elsewhere a slash at the end means nothing more than that it is one.
fn root(path: &str) -> &'static str {
    if path.bytes().all(|byte| byte == b'/') { "/" } else { "" }
}

async fn put(hand: &Hand, from: &Path, to: String, mode: u32) -> Result<u64, HandFailure> {
    let file = tokio::fs::File::open(from).await.map_err(HandFailure::io(from))?;
    let put = PutFile { path: to, mode, ..PutFile::default() };
    Ok(hand.agent().put(put, file).await?)
}

fn join(folder: &str, name: &str) -> String {
    format!("{}/{name}", folder.trim_end_matches('/'))
}

fn text<'a>(path: &Path, name: &'a OsStr) -> Result<&'a str, HandFailure> {
    name.to_str().ok_or_else(|| HandFailure::NotText(path.to_owned()))
}

async fn get_all(hand: &Hand, from: &str, to: &Path, recursive: bool) -> Result<Copied, HandFailure> {
    let found = if recursive {
        hand.agent().walk(from.to_owned(), ENTRIES).await?
    } else {
        hand.agent().look(from.to_owned()).await?.into_iter().collect()
    };
    let kind = found.first().map_or(FileKind::Other, FileStatus::kind);
    if kind != FileKind::File && !(recursive && kind == FileKind::Folder) {
        return Err(HandFailure::Kind { path: from.to_owned(), found: shown(kind) });
    }
    let target = match from.trim_end_matches('/').rsplit('/').next() {
        // What we were asked for, and not what the guest says.
        Some(name) if to.is_dir() => inside(to, name).ok_or_else(|| HandFailure::Outside(name.to_owned()))?,
        _ => to.to_owned(),
    };
    let mut copied = Copied::default();
    for file in found {
        let place = inside(&target, &file.path).ok_or_else(|| HandFailure::Outside(file.path.clone()))?;
        let source = if file.path.is_empty() { from.to_owned() } else { join(from, &file.path) };
        take(hand, &file, &source, &place, &mut copied).await?;
    }
    Ok(copied)
}

/// One entry of what a guest has.
async fn take(
    hand: &Hand,
    file: &FileStatus,
    source: &str,
    place: &Path,
    copied: &mut Copied,
) -> Result<(), HandFailure> {
    match file.kind() {
        FileKind::Folder => make_folder(place).map_err(HandFailure::io(place))?,
        FileKind::File => {
            copied.bytes += get(hand, source, place, file.mode).await?;
            copied.files += 1;
        }
        // The guest follows it: what comes is a file like any other.
        FileKind::Link => match get(hand, source, place, 0o644).await {
            Ok(bytes) => {
                copied.bytes += bytes;
                copied.files += 1;
            }
            Err(HandFailure::File(error)) => copied.left_out.push(format!("{source}: a link: {error}")),
            Err(failure) => return Err(failure),
        },
        FileKind::Other => copied.left_out.push(format!("{source}: neither a file nor a folder")),
    }
    Ok(())
}

/// A folder of ours, or one that is there; a link of somebody's is neither.
fn make_folder(place: &Path) -> std::io::Result<()> {
    match fs::create_dir(place) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && place.is_dir() => Ok(()),
        made => made,
    }
}

/// Writes a file of the guest beside its place, and puts it there when it is whole.
async fn get(hand: &Hand, source: &str, place: &Path, mode: u32) -> Result<u64, HandFailure> {
    let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = NamedTempFile::with_prefix_in(".winstead-", folder).map_err(HandFailure::io(folder))?;
    let file = beside.reopen().map_err(HandFailure::io(beside.path()))?;
    let mut file = tokio::fs::File::from_std(file);
    hand.agent().get(source.to_owned(), &mut file).await?;
    let bytes = file.metadata().await.map_err(HandFailure::io(place))?.len();
    // Ours to read and write, and nobody's to run as somebody else.
    let mode = std::fs::Permissions::from_mode(mode & 0o777 | 0o600);
    fs::set_permissions(beside.path(), mode).map_err(HandFailure::io(place))?;
    beside.persist(place).map_err(|error| HandFailure::io(place)(error.error))?;
    Ok(bytes)
}

const fn shown(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Folder => "a folder",
        FileKind::Link => "a link",
        FileKind::Other => "neither a file nor a folder",
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
mod tests;
