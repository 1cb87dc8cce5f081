//! Locked folders on Unix: ours, not a link, and nobody else may write there or in any folder above.

use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use fs_err::{self as fs, os::unix::fs::OpenOptionsExt as _};
use rustix::process::geteuid;

use crate::folder::Readers;

/// All that a mode lets others do.
const OTHERS: u32 = 0o077;
/// Others' right to write, as far as a mode says it.
const OTHERS_WRITE: u32 = 0o022;
/// Whoever may write in such a folder may still not touch what is another's.
const STICKY: u32 = 0o1000;

/// Makes a folder, and those above it, or takes one that is there; returns its path without links.
///
/// # Errors
/// When it is a link, or somebody else's, or others may write in it: who could put something there before us could do
/// so again. Likewise for the folders above it.
pub fn lock_down(path: &Path, readers: Readers) -> io::Result<PathBuf> {
    let (above, name) = path
        .parent()
        .zip(path.file_name())
        .ok_or_else(|| refusal(path, "it is no folder of an agent's own"))?;
    fs::create_dir_all(above)?;
    // Links above are fine (`/var/run`) as long as nobody else can turn them: what they lead to is looked at.
    let above = fs::canonicalize(above)?;
    for folder in above.ancestors() {
        guarded(folder)?;
    }
    let path = above.join(name);
    let mode = match readers {
        Readers::Everybody => 0o755,
        Readers::Nobody => 0o700,
    };
    match std::fs::DirBuilder::new().mode(mode).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => own(&path)?,
    }
    // As the mask of the process does not want it; nothing that we found was more open than this to writers.
    fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    Ok(path)
}

/// Refuses a file that others could change, or replace in one of the folders above.
///
/// # Errors
/// When they could, or it is not there.
pub fn guard(path: &Path) -> io::Result<()> {
    let path = fs::canonicalize(path)?;
    // A file has no use for the bit that protects what is in a folder.
    if fs::metadata(&path)?.mode() & OTHERS_WRITE != 0 {
        return Err(refusal(&path, "others may write to it"));
    }
    path.ancestors().try_for_each(guarded)
}

/// Refuses a file that others could read, change, or replace in one of the folders above: one that holds a secret.
///
/// # Errors
/// When they could, or it is not there.
pub fn guard_secret(path: &Path) -> io::Result<()> {
    guard(path)?;
    let mode = fs::metadata(path)?.mode() & 0o7777;
    if mode & OTHERS != 0 {
        return Err(refusal(path, &format!("others may read it (mode {mode:o}, expected 600)")));
    }
    Ok(())
}

/// Refuses what is somebody else's, and a folder in which others could replace what is ours.
fn guarded(path: &Path) -> io::Result<()> {
    let found = fs::metadata(path)?;
    if found.uid() != 0 && found.uid() != geteuid().as_raw() {
        return Err(refusal(path, &format!("it belongs to user {}", found.uid())));
    }
    if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return Err(refusal(path, &format!("others may write in it (mode {:o})", found.mode() & 0o7777)));
    }
    Ok(())
}

fn own(path: &Path) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Err(refusal(path, "it is no folder, or a link to one"));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(refusal(path, &format!("it belongs to user {}", found.uid())));
    }
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(refusal(path, &format!("others may write in it (mode {:o})", found.mode() & 0o7777)));
    }
    Ok(())
}

fn refusal(path: &Path, why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, format!("{}: {why}", path.display()))
}

/// Opens a file to append to, which nobody else may read; in a folder that is locked down.
///
/// # Errors
/// As the system has them; a link is refused.
pub fn open_private(path: &Path) -> io::Result<fs::File> {
    let no_link = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = fs::OpenOptions::new();
    options.create(true).append(true).mode(0o600).custom_flags(no_link);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").mode() & 0o7777
    }

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }

    #[test]
    fn a_folder_is_made_once_and_found_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("lib/agent");
        assert_eq!(lock_down(&state, Readers::Nobody).expect("it is made"), state);
        assert_eq!(mode(&state), 0o700);
        lock_down(&state, Readers::Everybody).expect("it is ours");
        assert_eq!(mode(&state), 0o755);
    }

    #[test]
    fn a_folder_where_others_may_write_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("agent");
        lock_down(&state, Readers::Nobody).expect("it is made");
        set(&state, 0o777);
        let refused = lock_down(&state, Readers::Nobody).expect_err("others may write");
        assert!(refused.to_string().ends_with("others may write in it (mode 777)"), "{refused}");
        set(&state, 0o700);
        set(folder.path(), 0o777);
        lock_down(&state, Readers::Nobody).expect_err("others could move it away");
        set(folder.path(), 0o1777);
        lock_down(&state, Readers::Nobody).expect("others may write, and not touch it");
    }

    #[test]
    fn a_link_is_refused_and_so_is_a_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        lock_down(&target, Readers::Nobody).expect("it is made");
        std::os::unix::fs::symlink(&target, &link).expect("a link");
        let refused = lock_down(&link, Readers::Nobody).expect_err("a link");
        assert!(refused.to_string().ends_with("it is no folder, or a link to one"), "{refused}");
        open_private(&folder.path().join("file")).expect("it is made");
        lock_down(&folder.path().join("file"), Readers::Nobody).expect_err("a file");
        std::os::unix::fs::symlink(folder.path().join("file"), folder.path().join("other")).expect("a link");
        open_private(&folder.path().join("other")).expect_err("a link");
        assert_eq!(mode(&folder.path().join("file")), 0o600);
    }

    #[test]
    fn a_file_that_others_may_change_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("agent.yaml");
        open_private(&file).expect("it is made");
        guard(&file).expect("it is ours");
        set(&file, 0o1622);
        guard(&file).expect_err("others may write");
        set(&file, 0o644);
        set(folder.path(), 0o777);
        guard(&file).expect_err("others may replace it");
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("agent.key");
        open_private(&file).expect("it is made");
        guard_secret(&file).expect("it is ours");
        set(&file, 0o640);
        let refused = guard_secret(&file).expect_err("a group may read it");
        assert!(refused.to_string().ends_with("others may read it (mode 640, expected 600)"), "{refused}");
        set(&file, 0o400);
        set(folder.path(), 0o777);
        guard_secret(&file).expect_err("others may replace it");
    }

    #[test]
    fn somebody_elses_folder_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("agent");
        lock_down(&state, Readers::Nobody).expect("it is made");
        std::os::unix::fs::chown(&state, Some(65534), None).expect("we are root");
        let refused = lock_down(&state, Readers::Nobody).expect_err("not ours");
        assert!(refused.to_string().ends_with("it belongs to user 65534"), "{refused}");
    }
}
