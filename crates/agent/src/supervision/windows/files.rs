//! Files: an agent's own, programs in the vault, and where programs are found.

use std::{
    fs::File,
    io,
    os::windows::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::UNIX_EPOCH,
};

use fs_err as fs;
use windows_sys::Win32::Storage::FileSystem::{FILE_FLAG_BACKUP_SEMANTICS, SECURITY_IDENTIFICATION};

use crate::folder::{Readers, lock_down};

/// What the files of keepers' programs are called, at their beginning.
pub(super) const KEEPER: &str = "winstead-agent";
/// Where programs run that are not told where.
pub(super) const WINDOWS: &str = r"C:\Windows";
/// Where programs look for others, and are looked for.
const PATH: [&str; 3] = [r"C:\Windows\System32", r"C:\Windows", r"C:\Windows\System32\Wbem"];

/// The folders in which a program without a folder is looked for.
pub(crate) const fn search_path() -> &'static [&'static str] {
    &PATH
}

/// What a program of this name may be called in its folder.
pub(crate) fn file_names(name: &str) -> Vec<String> {
    vec![name.to_owned(), format!("{name}.exe")]
}

/// Makes a folder; the rights of the one around it are its own.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Removes a process's folder. Where a file of it is open, older versions of Windows remove that when it is closed, and the
/// folder, empty by then, stays until the next agent finds it.
///
/// # Errors
/// As the system has them.
pub(crate) fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

/// Writes all of it at this place.
///
/// # Errors
/// As the system has them.
pub(crate) fn write_at(file: &File, mut data: &[u8], mut at: u64) -> io::Result<()> {
    while !data.is_empty() {
        match file.seek_write(data, at)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => {
                at += written as u64;
                data = &data[written..];
            }
        }
    }
    Ok(())
}

/// Fills `data` from this place.
///
/// # Errors
/// As the system has them.
pub(crate) fn read_at(file: &File, mut data: &mut [u8], mut at: u64) -> io::Result<()> {
    while !data.is_empty() {
        match file.seek_read(data, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                at += count as u64;
                data = &mut data[count..];
            }
        }
    }
    Ok(())
}

/// The program that keeps processes: a copy of this one in `state`, so that this one can be exchanged while they run.
/// Copies of others that nobody runs any more are removed.
///
/// # Errors
/// When there is no room for it, or it does not know itself.
pub(crate) fn keeper_program(state: &Path) -> io::Result<PathBuf> {
    let (own, folder) = (std::env::current_exe()?, state.join("keepers"));
    private_folder(&folder)?;
    let about = fs::metadata(&own)?;
    let changed = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    // No digest: it would take longer than all the rest of a start, and nobody else writes there.
    let name = format!("{KEEPER}-{}-{:x}-{changed:x}.exe", env!("CARGO_PKG_VERSION"), about.len());
    let copy = folder.join(name);
    if !copy.exists() {
        let beside = folder.join(uuid::Uuid::new_v4().simple().to_string());
        fs::copy(&own, &beside)?;
        fs::rename(&beside, &copy)?;
    }
    for other in fs::read_dir(folder)? {
        let other = other?.path();
        // One that runs stays.
        if other != copy && fs::remove_file(&other).is_ok() {
            tracing::debug!(path = %other.display(), "an old keeper's program is gone");
        }
    }
    Ok(copy)
}

/// Makes a folder whose files others may run and not change.
///
/// # Errors
/// When it cannot be made, or belongs to somebody else.
pub(crate) fn passable_folder(path: &Path) -> io::Result<()> {
    lock_down(path, Readers::Everybody).map(drop)
}

/// Opens a program to be copied. A pipe of that name learns who opens it and no more: else its owner could act as we do.
/// Folders are opened, too, to be told apart.
///
/// # Errors
/// When it cannot be opened.
pub(crate) fn open_program(path: &Path) -> io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.custom_flags(FILE_FLAG_BACKUP_SEMANTICS).security_qos_flags(SECURITY_IDENTIFICATION);
    Ok(fs::OpenOptions::from_options(options).read(true).open(path)?.into_parts().0)
}

/// A new file; the folder says who may run it.
///
/// # Errors
/// When it is there already, or the system refuses.
pub(crate) fn create_program(path: &Path) -> io::Result<File> {
    Ok(fs::OpenOptions::new().write(true).create_new(true).open(path)?.into_parts().0)
}

/// What a program with this digest is called: Windows runs no file without an ending.
pub(crate) fn program_name(digest: &str) -> String {
    format!("{digest}.exe")
}
