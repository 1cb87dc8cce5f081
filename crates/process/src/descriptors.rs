//! Open files that whoever started us left open: not for the processes that outlive us.

use std::{io, os::fd::BorrowedFd};

use rustix::io::{FdFlags, fcntl_setfd};

/// Keeps every descriptor that this process was started with, but the three standard ones, from its children. Else a
/// lock file or a pipe of the caller's would stay open for as long as a machine lives. Call it first of all, before
/// anything else opens or closes files.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn keep_inherited_descriptors() -> io::Result<()> {
    for entry in fs_err::read_dir("/proc/self/fd")? {
        let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if number <= 2 {
            continue;
        }
        #[expect(unsafe_code, reason = "a number from /proc becomes a descriptor no other way")]
        // SAFETY: it was open when it was listed, this process has no other thread yet, and it is borrowed for this call
        // only; one that was closed since is an error of the call.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        match fcntl_setfd(descriptor, FdFlags::CLOEXEC) {
            Err(error) if error != rustix::io::Errno::BADF => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}
