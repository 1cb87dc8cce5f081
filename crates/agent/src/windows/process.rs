//! Processes as Windows shows them, and the one at the other end of a pipe.
#![expect(unsafe_code, reason = "std opens no process by its number")]

use std::{
    ffi::OsString,
    io,
    os::windows::{
        ffi::OsStringExt as _,
        io::{AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle},
    },
    path::PathBuf,
};

use windows_sys::Win32::{
    Foundation::{FILETIME, WAIT_TIMEOUT},
    Storage::FileSystem::SYNCHRONIZE,
    System::{
        LibraryLoader::{GetModuleHandleW, GetProcAddress},
        Pipes::GetNamedPipeClientProcessId,
        SystemInformation::GetSystemTimePreciseAsFileTime,
        Threading::{
            GetProcessTimes, OpenProcess, PROCESS_NAME_WIN32, PROCESS_QUERY_LIMITED_INFORMATION,
            QueryFullProcessImageNameW, WaitForSingleObject,
        },
    },
};

/// The longest path that Windows has, with its zero.
const LONGEST_PATH: usize = 32_768;

/// Somebody's process. While it is open its number is not given to another one.
#[derive(Debug)]
pub(crate) struct ClientProcess {
    handle: OwnedHandle,
    pid: u32,
}

/// The number of the process at the other end of a pipe, as it was when that was opened.
///
/// # Errors
/// As the system has them.
pub(crate) fn client_of(pipe: BorrowedHandle<'_>) -> io::Result<u32> {
    let mut pid = 0;
    // SAFETY: the handle is open, and there is room for a number.
    match unsafe { GetNamedPipeClientProcessId(pipe.as_raw_handle(), &raw mut pid) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(pid),
    }
}

/// Now, in the unit of [`ClientProcess::started`].
pub(crate) fn now() -> u64 {
    let mut now = FILETIME::default();
    // SAFETY: there is room for it.
    unsafe { GetSystemTimePreciseAsFileTime(&raw mut now) };
    ticks(now)
}

/// Whether this is Wine, which says that it did what it does not do.
pub(crate) fn is_wine() -> bool {
    let library = crate::windows::memory::wide("ntdll.dll");
    // SAFETY: both names end with a zero; the library is never unloaded, and nothing of it is called.
    unsafe {
        let library = GetModuleHandleW(library.as_ptr());
        !library.is_null() && GetProcAddress(library, c"wine_get_version".as_ptr().cast()).is_some()
    }
}

impl ClientProcess {
    /// Opens it, for looking only.
    ///
    /// # Errors
    /// When it is not there any more, or we may not.
    pub(crate) fn open(pid: u32) -> io::Result<Self> {
        let rights = PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE;
        // SAFETY: a new handle, which is ours to close.
        unsafe {
            let process = OpenProcess(rights, 0, pid);
            if process.is_null() {
                return Err(io::Error::last_os_error());
            }
            Ok(Self { handle: OwnedHandle::from_raw_handle(process), pid })
        }
    }

    /// Its number.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// When it was started: hundreds of nanoseconds since 1601.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn started(&self) -> io::Result<u64> {
        let (mut started, mut unread) = (FILETIME::default(), [FILETIME::default(); 3]);
        let [ended, kernel, user] = &mut unread;
        // SAFETY: the handle is open, and there is room for four times.
        let done =
            unsafe { GetProcessTimes(self.handle.as_raw_handle(), &raw mut started, ended, kernel, user) };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(ticks(started)) }
    }

    /// Its program; nothing where the system does not show it.
    pub(crate) fn program(&self) -> Option<PathBuf> {
        let mut room = vec![0_u16; LONGEST_PATH];
        let mut length = u32::try_from(room.len()).ok()?;
        // SAFETY: the handle is open, and there is as much room as is said.
        let done = unsafe {
            let process = self.handle.as_raw_handle();
            QueryFullProcessImageNameW(process, PROCESS_NAME_WIN32, room.as_mut_ptr(), &raw mut length)
        };
        let path = room.get(..usize::try_from(length).ok()?)?;
        (done != 0).then(|| OsString::from_wide(path).into())
    }

    /// Whether it is still running.
    pub(crate) fn is_running(&self) -> bool {
        // SAFETY: the handle is open; nothing is waited for.
        unsafe { WaitForSingleObject(self.handle.as_raw_handle(), 0) == WAIT_TIMEOUT }
    }
}

impl AsHandle for ClientProcess {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

fn ticks(time: FILETIME) -> u64 {
    u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_says_when_it_was_started_and_what_it_runs() {
        let ourselves = ClientProcess::open(std::process::id()).expect("ourselves");
        let started = ourselves.started().expect("a time");
        // Within the hour: a wrong unit is not.
        assert!(started < now() && now() - started < 3600 * 10_000_000, "{started}");
        assert_eq!(ourselves.program(), std::env::current_exe().ok());
        assert!(ourselves.is_running());
    }
}
