//! Libraries of Windows' own that are not in every Windows, taken in when they are needed.
#![expect(unsafe_code, reason = "a library that may be missing cannot be linked with")]

use std::{
    ffi::{CStr, c_void},
    io,
    ptr::{NonNull, null_mut},
};

use windows_sys::Win32::{
    Foundation::HMODULE,
    System::LibraryLoader::{GetProcAddress, LOAD_LIBRARY_SEARCH_SYSTEM32, LoadLibraryExW},
};

use crate::windows::memory::wide;

/// A library that stays until the process ends.
#[derive(Debug)]
pub(crate) struct Library(HMODULE);

impl Library {
    /// Takes it from Windows' own folder, and from nowhere else.
    ///
    /// # Errors
    /// When this Windows has none.
    pub(crate) fn of_system(name: &str) -> io::Result<Self> {
        let name = wide(name);
        // SAFETY: the name ends with a zero. What the library does when it is taken in is Windows' own affair.
        let library = unsafe { LoadLibraryExW(name.as_ptr(), null_mut(), LOAD_LIBRARY_SEARCH_SYSTEM32) };
        if library.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(library)) }
    }

    /// One of its functions, to be made what it is by whoever knows that.
    ///
    /// # Errors
    /// When it has none of this name.
    pub(crate) fn function(&self, name: &CStr) -> io::Result<NonNull<c_void>> {
        // SAFETY: the library was taken in and stays; the name ends with a zero.
        let function = unsafe { GetProcAddress(self.0, name.as_ptr().cast()) };
        let function = function.and_then(|function| NonNull::new(function as *mut c_void));
        function.ok_or_else(io::Error::last_os_error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_has_what_it_has_and_one_that_is_not_there_is_told() {
        let library = Library::of_system("kernel32.dll").expect("every Windows has it");
        library.function(c"GetTickCount").expect("it is there");
        assert!(library.function(c"NoSuchFunction").is_err());
        assert!(Library::of_system("no-such-library.dll").is_err());
    }
}
