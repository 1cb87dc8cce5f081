//! Processes as Windows shows them, and the one at the other end of a pipe.
#![expect(unsafe_code, reason = "std opens no process by its number")]

use std::{
    ffi::OsString,
    io,
    mem::offset_of,
    os::windows::{
        ffi::OsStringExt as _,
        io::{AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle},
    },
    path::PathBuf,
    ptr::null_mut,
};

use crate::windows::memory::size;

use windows_sys::{
    Wdk::System::Threading::{NtQueryInformationProcess, ProcessBasicInformation},
    Win32::{
        Foundation::{
            DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_INVALID_PARAMETER, FILETIME, HANDLE,
            UNICODE_STRING, WAIT_TIMEOUT,
        },
        Storage::FileSystem::SYNCHRONIZE,
        System::{
            Diagnostics::Debug::ReadProcessMemory,
            LibraryLoader::{GetModuleHandleW, GetProcAddress},
            Pipes::GetNamedPipeClientProcessId,
            SystemInformation::GetSystemTimePreciseAsFileTime,
            Threading::{
                GetCurrentProcess, GetProcessTimes, OpenProcess, PEB, PROCESS_ACCESS_RIGHTS,
                PROCESS_BASIC_INFORMATION, PROCESS_DUP_HANDLE, PROCESS_NAME_WIN32,
                PROCESS_QUERY_LIMITED_INFORMATION, PROCESS_TERMINATE, PROCESS_VM_READ,
                QueryFullProcessImageNameW, RTL_USER_PROCESS_PARAMETERS, TerminateProcess,
                WaitForSingleObject,
            },
        },
    },
};

/// No process has this number.
const NO_SUCH_PROCESS: i32 = ERROR_INVALID_PARAMETER.cast_signed();
/// The longest path that Windows has, with its zero.
const LONGEST_PATH: usize = 32_768;

/// What any bytes are.
trait Number: Copy {}
impl Number for u16 {}
impl Number for usize {}

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
        Self::open_to(pid, 0)
    }

    /// Opens the one that was started at this time, to duplicate its handles; nothing when there is none any more.
    ///
    /// # Errors
    /// When we may not.
    pub(crate) fn of_ours(pid: u32, started: u64) -> io::Result<Option<Self>> {
        Self::exactly(pid, started, PROCESS_DUP_HANDLE)
    }

    /// Opens the one that was started at this time, to end it; nothing when there is none any more.
    ///
    /// # Errors
    /// When we may not.
    pub(crate) fn to_end(pid: u32, started: u64) -> io::Result<Option<Self>> {
        Self::exactly(pid, started, PROCESS_TERMINATE)
    }

    fn exactly(pid: u32, started: u64, rights: PROCESS_ACCESS_RIGHTS) -> io::Result<Option<Self>> {
        let process = match Self::open_to(pid, rights) {
            Err(error) if error.raw_os_error() == Some(NO_SUCH_PROCESS) => return Ok(None),
            process => process?,
        };
        Ok((process.started()? == started && process.is_running()).then_some(process))
    }

    fn open_to(pid: u32, rights: PROCESS_ACCESS_RIGHTS) -> io::Result<Self> {
        let rights = PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE | rights;
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

    /// A handle of ours to what a handle of its leads to. For one that was opened for that.
    ///
    /// # Errors
    /// When it has none of this number, or is gone.
    pub(crate) fn duplicate(&self, handle: u64) -> io::Result<OwnedHandle> {
        let mut ours = null_mut();
        let theirs = usize::try_from(handle).map_err(io::Error::other)? as HANDLE;
        // SAFETY: both processes are open; a number that leads nowhere is refused. The new handle is ours to close.
        unsafe {
            let (from, to) = (self.handle.as_raw_handle(), GetCurrentProcess());
            if DuplicateHandle(from, theirs, to, &raw mut ours, 0, 0, DUPLICATE_SAME_ACCESS) == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(OwnedHandle::from_raw_handle(ours))
        }
    }

    /// Ends it with this code. For one that was opened for that.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn end(&self, code: u32) -> io::Result<()> {
        // SAFETY: the handle is open.
        let done = unsafe { TerminateProcess(self.handle.as_raw_handle(), code) };
        if done == 0 && self.is_running() { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The line that it was started with.
    ///
    /// # Errors
    /// When we may not read its memory, or it is gone.
    pub(crate) fn command_line(&self) -> io::Result<String> {
        // One call would tell it (`ProcessCommandLineInformation`); Wine 8 has none, and what cannot be tried is not used.
        let process = Self::open_to(self.pid, PROCESS_VM_READ)?;
        let mut about = PROCESS_BASIC_INFORMATION::default();
        // SAFETY: the handle is open, and there is as much room as is said.
        let status = unsafe {
            NtQueryInformationProcess(
                process.handle.as_raw_handle(),
                ProcessBasicInformation,
                (&raw mut about).cast(),
                size::<PROCESS_BASIC_INFORMATION>(),
                null_mut(),
            )
        };
        if status != 0 {
            return Err(io::Error::other(format!("status {status:#x}")));
        }
        // What it may have written there itself is read as numbers and text only.
        let block = about.PebBaseAddress.expose_provenance();
        let parameters = process.word(block + offset_of!(PEB, ProcessParameters))?;
        let line = parameters + offset_of!(RTL_USER_PROCESS_PARAMETERS, CommandLine);
        let (length, text) = (process.word(line)?, process.word(line + offset_of!(UNICODE_STRING, Buffer))?);
        let mut units = vec![0_u16; (length & 0xffff) / 2];
        process.read(text, &mut units)?;
        Ok(String::from_utf16_lossy(&units))
    }

    fn word(&self, at: usize) -> io::Result<usize> {
        let mut word = [0_usize];
        self.read(at, &mut word)?;
        Ok(word[0])
    }

    /// Copies numbers from this place of its memory.
    fn read<T: Number>(&self, at: usize, into: &mut [T]) -> io::Result<()> {
        // SAFETY: the handle is open, there is as much room as is said, and any bytes are numbers.
        let done = unsafe {
            ReadProcessMemory(
                self.handle.as_raw_handle(),
                std::ptr::with_exposed_provenance(at),
                into.as_mut_ptr().cast(),
                size_of_val(into),
                null_mut(),
            )
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
        let line = ourselves.command_line().expect("it is shown");
        let first = std::env::args().next().expect("a name");
        assert!(line.contains(&first), "{line} has no {first}");
    }

    #[test]
    fn a_process_of_another_time_is_another_one() {
        let ourselves = ClientProcess::open(std::process::id()).expect("ourselves");
        let (pid, started) = (ourselves.pid(), ourselves.started().expect("a time"));
        assert!(ClientProcess::of_ours(pid, started).expect("we may").is_some());
        assert!(ClientProcess::of_ours(pid, started - 1).expect("we may").is_none());
        assert!(ClientProcess::of_ours(u32::MAX - 3, started).expect("there is none").is_none());
    }
}
