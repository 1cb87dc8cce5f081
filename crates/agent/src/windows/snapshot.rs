//! All processes of this computer.
#![expect(unsafe_code, reason = "std lists no processes")]

use std::{
    io,
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
};

use windows_sys::Win32::{
    Foundation::INVALID_HANDLE_VALUE,
    System::Diagnostics::ToolHelp::{
        CreateToolhelp32Snapshot, PROCESSENTRY32W, Process32FirstW, Process32NextW, TH32CS_SNAPPROCESS,
    },
};

use crate::windows::memory::{size, until_zero};

/// One that ran a moment ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its number.
    pub(crate) pid: u32,
    /// Who started it; that one may be gone, and its number another's.
    pub(crate) parent: u32,
    /// The name of its program's file.
    pub(crate) name: String,
}

/// All that run now.
///
/// # Errors
/// As the system has them.
pub(crate) fn list() -> io::Result<Vec<Listed>> {
    // SAFETY: a new handle, which is ours to close.
    let snapshot = unsafe {
        let snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPPROCESS, 0);
        if snapshot == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(snapshot)
    };
    let mut entry = PROCESSENTRY32W { dwSize: size::<PROCESSENTRY32W>(), ..Default::default() };
    let mut all = Vec::new();
    // SAFETY: the handle is open, and the entry says how large it is.
    let mut more = unsafe { Process32FirstW(snapshot.as_raw_handle(), &raw mut entry) };
    while more != 0 {
        let name = until_zero(&entry.szExeFile);
        all.push(Listed { pid: entry.th32ProcessID, parent: entry.th32ParentProcessID, name });
        // SAFETY: as above.
        more = unsafe { Process32NextW(snapshot.as_raw_handle(), &raw mut entry) };
    }
    Ok(all)
}
