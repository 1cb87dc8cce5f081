//! What Windows does for us. Compiled and linted; what it measures has not been checked on a real Windows yet.

use std::{
    fs::{File, OpenOptions},
    io,
    os::windows::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use crate::{
    blocks::Lane,
    cli::Caching,
    computer::{Computer, FileSystem, Processor, Traffic},
    crew::Job,
    place::Room,
};

const FILE_FLAG_NO_BUFFERING: u32 = 0x2000_0000;

/// `ERROR_INVALID_PARAMETER` and `ERROR_NOT_SUPPORTED`.
pub(crate) const NO_DIRECT_IO: [i32; 2] = [87, 50];

/// Opens a file for reading and writing, makes it if need be. For direct I/O offset, length and memory must be
/// multiples of 4 KiB.
///
/// # Errors
/// As the system has them; see [`is_no_direct_io`].
pub(crate) fn open(path: &Path, caching: Caching) -> io::Result<File> {
    let flags = match caching {
        Caching::Direct => FILE_FLAG_NO_BUFFERING,
        Caching::Cached => 0,
    };
    OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)
}

/// Whether an error says that this file system has no direct I/O.
pub(crate) fn is_no_direct_io(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_DIRECT_IO.contains(&code))
}

/// Reads all of `buffer` from `offset`.
///
/// # Errors
/// As the system has them, and when the file ends before.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.seek_read(&mut buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// Writes all of `buffer` to `offset`.
///
/// # Errors
/// As the system has them.
pub(crate) fn write_all_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.seek_write(&buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// Windows says so only when a file is made; nothing is known before.
///
/// # Errors
/// When the folder is marked read-only.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    fs_err::metadata(folder).map(|_| ())
}

/// What is free in `folder`.
///
/// # Errors
/// As the system has them.
pub(crate) fn room(folder: &Path) -> io::Result<Room> {
    Ok(Room { bytes: fs4::available_space(folder)?, files: None })
}

/// Whether there is an io_uring.
///
/// # Errors
/// There is none.
pub(crate) fn check_ring() -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has it"))
}

/// A thread with a queue of its own.
///
/// # Errors
/// There is none.
pub(crate) fn ring_job(_lane: Lane) -> io::Result<Job> {
    check_ring().and(Err(io::ErrorKind::Unsupported.into()))
}

/// The standard library waits as exactly as Windows can.
pub(crate) const fn wake_exactly() {}

/// Not asked for yet.
pub(crate) const fn storage_traffic() -> Option<Traffic> {
    None
}

/// This computer, as far as it is known without system calls of Windows' own.
pub(crate) fn describe(_folder: &Path, room: Room) -> Computer {
    let model = std::env::var_os("PROCESSOR_IDENTIFIER").map(|name| name.to_string_lossy().into_owned());
    Computer {
        system: "Windows".to_owned(),
        cpu: Processor { model, ..Processor::default() },
        file_system: FileSystem { free_bytes: room.bytes, ..FileSystem::default() },
        ..Computer::of_this_program()
    }
}
