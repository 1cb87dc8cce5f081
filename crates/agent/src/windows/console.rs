//! Pseudo-consoles (ConPTY): a terminal for a program, whose other end is two pipes of ours.
//!
//! A process of Windows' own, `conhost.exe`, stands between: it is started by whoever opens one, and ends when that is closed
//! or that process ends. Windows has them since Windows 10 1809 and Server 2019; a program that was linked with their
//! functions would not start where they are missing, so they are looked for.
#![expect(unsafe_code, reason = "no crate wraps pseudo-consoles beside ways of their own to start programs")]

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsRawHandle as _, BorrowedHandle},
};

use windows_sys::{
    Win32::{
        Foundation::HANDLE,
        System::Console::{COORD, HPCON, SetConsoleCtrlHandler},
    },
    core::HRESULT,
};

use crate::{supervision::Terminal, windows::library::Library};

type Create = unsafe extern "system" fn(COORD, HANDLE, HANDLE, u32, *mut HPCON) -> HRESULT;
type Resize = unsafe extern "system" fn(HPCON, COORD) -> HRESULT;
type Close = unsafe extern "system" fn(HPCON);

/// A terminal. Dropped, it is closed: programs at it hear that, as when somebody closes their window, and have five seconds
/// then. Before Windows 11 24H2 that blocks until all that it has shown was read.
#[derive(Debug)]
pub struct PseudoConsole {
    console: HPCON,
    resize: Resize,
    close: Close,
}

impl PseudoConsole {
    /// One of this size. It reads keys from `keys` and writes what is shown into `shown`, by handles of its own, which do one
    /// thing at a time.
    ///
    /// # Errors
    /// When this Windows has none, or refuses.
    pub(crate) fn open(
        size: Terminal,
        keys: BorrowedHandle<'_>,
        shown: BorrowedHandle<'_>,
    ) -> io::Result<Self> {
        let library = Library::of_system("kernel32.dll")?;
        let missing =
            |_| io::Error::new(io::ErrorKind::Unsupported, "this Windows has no terminals for programs");
        let function = |name| library.function(name).map(std::ptr::NonNull::as_ptr).map_err(missing);
        let (create, resize) = (function(c"CreatePseudoConsole")?, function(c"ResizePseudoConsole")?);
        let close = function(c"ClosePseudoConsole")?;
        // SAFETY: these are the functions' types as Microsoft declares them (consoleapi.h).
        let (create, resize, close) = unsafe {
            (
                std::mem::transmute::<*mut c_void, Create>(create),
                std::mem::transmute::<*mut c_void, Resize>(resize),
                std::mem::transmute::<*mut c_void, Close>(close),
            )
        };
        let mut console = 0;
        // SAFETY: both handles are open, and there is room for the new one, which is ours to close.
        succeeded(unsafe {
            create(coordinates(size), keys.as_raw_handle(), shown.as_raw_handle(), 0, &raw mut console)
        })?;
        Ok(Self { console, resize, close })
    }

    /// Gives it another size; programs at it hear of that.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn resize(&self, size: Terminal) -> io::Result<()> {
        // SAFETY: it is open.
        succeeded(unsafe { (self.resize)(self.console, coordinates(size)) })
    }

    pub(super) const fn handle(&self) -> HPCON {
        self.console
    }
}

impl Drop for PseudoConsole {
    fn drop(&mut self) {
        // SAFETY: it is open, and this is its end.
        unsafe { (self.close)(self.console) };
    }
}

/// Whoever is the first of a group of processes hears no Ctrl-C, and what it starts inherits that. From here on, what we
/// start hears it.
///
/// # Errors
/// As the system has them.
pub(super) fn let_ctrl_c_through() -> io::Result<()> {
    // SAFETY: nothing is handed over but numbers.
    let done = unsafe { SetConsoleCtrlHandler(None, 0) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// It refuses a size of nothing, and has signs for its numbers.
fn coordinates(size: Terminal) -> COORD {
    let number = |number: u16| i16::try_from(number.max(1)).unwrap_or(i16::MAX);
    COORD { X: number(size.columns), Y: number(size.rows) }
}

fn succeeded(outcome: HRESULT) -> io::Result<()> {
    if outcome >= 0 { Ok(()) } else { Err(io::Error::other(format!("{outcome:#010x}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_one_that_windows_takes() {
        let both = |columns, rows| {
            let COORD { X, Y } = coordinates(Terminal { columns, rows });
            (X, Y)
        };
        assert_eq!((both(80, 24), both(0, 0), both(u16::MAX, 1)), ((80, 24), (1, 1), (i16::MAX, 1)));
    }
}
