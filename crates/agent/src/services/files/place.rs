//! Which path is really meant, and what is there.

use std::{
    fs::Metadata,
    io,
    path::{Component, Path, PathBuf},
    time::UNIX_EPOCH,
};

use fs_err as fs;
use winstead_protocol::v1::{FileKind, FileStatus};

use super::error::FilesError;

/// The path that a caller names.
pub(super) fn named(text: &str) -> Result<PathBuf, FilesError> {
    let path = Path::new(text);
    let plain = path.components().all(|part| !matches!(part, Component::ParentDir | Component::CurDir));
    // `components` leaves `.` in the middle out.
    let dotted = text.split(['/', '\\']).any(|part| part == "." || part == "..");
    let good = path.is_absolute() && plain && !dotted && !text.contains('\0');
    good.then(|| path.to_owned()).ok_or_else(|| FilesError::Path(text.to_owned()))
}

/// Where a path leads to, links followed as far as there is something: what a policy must allow too, or a link would
/// lead around it.
pub(super) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = fs::canonicalize(path) {
        return real;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => real(parent).join(name),
        _ => path.to_owned(),
    }
}

/// What is there, as the protocol has it; `path` is the name that the caller gets.
pub(super) fn status(path: String, metadata: &Metadata, target: String) -> FileStatus {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    FileStatus {
        path,
        kind: kind(metadata).into(),
        bytes: metadata.len(),
        mode: mode(metadata),
        modified_unix_ms: modified.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        target,
    }
}

pub(super) fn kind(metadata: &Metadata) -> FileKind {
    let kind = metadata.file_type();
    match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
        (true, ..) => FileKind::File,
        (_, true, _) => FileKind::Folder,
        (.., true) => FileKind::Link,
        _ => FileKind::Other,
    }
}

/// What a caller is told who wanted a file.
pub(super) const fn shown(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "a file",
        FileKind::Folder => "a folder",
        FileKind::Link => "a link",
        FileKind::Other => "neither a file nor a folder",
    }
}

#[cfg(unix)]
fn mode(metadata: &Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o7777
}

#[cfg(not(unix))]
fn mode(_: &Metadata) -> u32 {
    0
}

pub(super) fn failed(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FilesError {
    let path = path.display().to_string();
    // fs-err puts the path into its words; ours has it already.
    move |source| FilesError::Io { what, path, source: bare(source) }
}

fn bare(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_absolute_paths_without_detours_are_taken() {
        for text in ["", "a", "./a", "/a/../b", "/a/./b", "/..", "../a", "/a\0b"] {
            assert!(named(text).is_err(), "{text:?}");
        }
        let plain = if cfg!(windows) { r"C:\a\..b\c d" } else { "/a/..b/c d" };
        assert_eq!(named(plain).expect("a path"), Path::new(plain));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_followed_also_before_what_is_not_there_yet() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs::canonicalize(folder.path()).expect("its path");
        fs::create_dir(root.join("secret")).expect("a folder");
        std::os::unix::fs::symlink("secret", root.join("open")).expect("a link");
        assert_eq!(real(&root.join("open/new/file")), root.join("secret/new/file"));
    }
}
