//! Files of programs in the vault.

use std::{
    fs::File,
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fs_err::{self as fs, os::unix::fs::OpenOptionsExt};
use rustix::fs::OFlags;

/// The program that keeps processes: the agent's `own`.
///
/// # Errors
/// None.
pub(crate) fn keeper_program(own: &Path, _: &Path) -> io::Result<PathBuf> {
    Ok(own.to_owned())
}

/// Makes a folder that others may pass through and not list.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub(crate) fn passable_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o711).create(path)?;
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o711))
}

/// Opens a program to be copied. Does not wait for whoever writes into a pipe of that name.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_program(path: &Path) -> io::Result<File> {
    let flags = i32::try_from((OFlags::NONBLOCK | OFlags::NOCTTY).bits()).unwrap_or_default();
    Ok(fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?.into_parts().0)
}

/// A new file that everybody may run and nobody may change.
///
/// # Errors
/// When it is there already, or the system refuses.
pub(crate) fn create_program(path: &Path) -> io::Result<File> {
    let (file, _) = fs::OpenOptions::new().write(true).create_new(true).mode(0o555).open(path)?.into_parts();
    // Whatever the umask says.
    file.set_permissions(std::fs::Permissions::from_mode(0o555))?;
    Ok(file)
}

/// What a program with this digest is called.
pub(crate) fn program_name(digest: &str) -> String {
    digest.to_owned()
}

/// What a program of this name may be called in its folder.
pub(crate) fn file_names(name: &str) -> Vec<String> {
    vec![name.to_owned()]
}
