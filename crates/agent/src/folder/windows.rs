//! Locked folders on Windows: lists of rights of their own, which nothing from above adds to.

use std::{
    io,
    os::windows::io::AsHandle as _,
    path::{Path, PathBuf},
};

use fs_err as fs;

use crate::{
    folder::{
        Readers,
        rights::{untrusted_readers, untrusted_writers},
    },
    windows::{ClientProcess, Descriptor, Token},
};

/// The system and administrators, for all that will be in it, too.
const LOCKED: &str = "D:PAI(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)";
/// Everybody on this computer may look.
const LOOKING: &str = "(A;OICI;0x1200a9;;;BU)";
/// What begins like this is a pipe's name and no folder.
const PIPES: &str = r"\\.\pipe\";

/// Makes a folder, and those above it, that only the system, administrators and this account change. One that is there gets
/// these rights, if nobody else owns it: who made it before us may have left a handle open.
///
/// # Errors
/// When somebody else owns it or one above it, or the system refuses.
pub fn lock_down(path: &Path, readers: Readers) -> io::Result<PathBuf> {
    if path.to_string_lossy().starts_with(PIPES) {
        return Ok(path.to_owned());
    }
    let path = std::path::absolute(path)?;
    let own = own_sid()?;
    let looking = if readers == Readers::Everybody { LOOKING } else { "" };
    let rights = Descriptor::from_sddl(&format!("{LOCKED}(A;OICI;FA;;;{own}){looking}"))?;
    let above: Vec<&Path> = path.ancestors().skip(1).collect();
    for folder in above.into_iter().rev().filter(|folder| folder.parent().is_some()) {
        match folder.exists() {
            true => owned_by_us(folder, &own)?,
            false => rights.make_folder(folder)?,
        }
    }
    rights.make_folder(&path)?;
    owned_by_us(&path, &own)?;
    Ok(path)
}

/// Opens a file to append to; the folder's own list says who may read it.
///
/// # Errors
/// As the system has them.
pub fn open_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().create(true).append(true).open(path)
}

/// Refuses a file that others could change.
///
/// # Errors
/// When it is not there, or others can.
pub fn guard(path: &Path) -> io::Result<()> {
    fs::metadata(path)?;
    refuse(path, &untrusted_writers(&Descriptor::of_path(path)?.sddl()?, &own_sid()?))
}

/// Refuses a file that others could read or change: one that holds a secret.
///
/// # Errors
/// When they could, or it is not there.
pub fn guard_secret(path: &Path) -> io::Result<()> {
    guard(path)?;
    let others = untrusted_readers(&Descriptor::of_path(path)?.sddl()?, &own_sid()?);
    if others.is_empty() {
        return Ok(());
    }
    let why = format!("{} can be read by {}", path.display(), others.join(", "));
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn owned_by_us(path: &Path, own: &str) -> io::Result<()> {
    let mut others = untrusted_writers(&Descriptor::of_path(path)?.sddl()?, own);
    others.retain(|other| other.starts_with("the owner"));
    refuse(path, &others)
}

fn refuse(path: &Path, others: &[String]) -> io::Result<()> {
    if others.is_empty() {
        return Ok(());
    }
    let why = format!("{} can be changed by {}", path.display(), others.join(", "));
    Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
}

fn own_sid() -> io::Result<String> {
    let ourselves = ClientProcess::open(std::process::id())?;
    Ok(Token::of(ourselves.as_handle())?.account()?.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_with_those_above_it_and_again_without_harm() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a").join("b");
        for _ in 0..2 {
            assert_eq!(lock_down(&path, Readers::Nobody).expect("it is ours"), path);
        }
        assert!(path.is_dir());
        let pipe = Path::new(r"\\.\pipe\winstead");
        assert_eq!(lock_down(pipe, Readers::Everybody).expect("no folder"), pipe);
    }
}
