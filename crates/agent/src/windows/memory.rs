//! Memory and text as Windows hands them over.
#![expect(unsafe_code, reason = "what LocalAlloc gave must be given back to it")]

use std::{ffi::c_void, slice};

use windows_sys::Win32::Foundation::LocalFree;

/// Memory that Windows allocated for us.
#[derive(Debug)]
pub(crate) struct LocalMemory(*mut c_void);

// SAFETY: it is memory of this process, owned by this value alone, and read only.
unsafe impl Send for LocalMemory {}
// SAFETY: as above.
unsafe impl Sync for LocalMemory {}

impl LocalMemory {
    /// Takes over what a call that uses `LocalAlloc` handed out.
    ///
    /// # Safety
    /// `memory` comes from such a call, and nobody else frees it.
    pub(crate) unsafe fn new(memory: *mut c_void) -> Self {
        Self(memory)
    }

    /// Where it is.
    pub(crate) fn pointer(&self) -> *mut c_void {
        self.0
    }
}

impl Drop for LocalMemory {
    fn drop(&mut self) {
        // SAFETY: it was allocated for us, and this is its end.
        unsafe { LocalFree(self.0) };
    }
}

/// Text for Windows: UTF-16 with a zero at its end. A zero in its middle ends it there, which callers refuse before.
pub(crate) fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt as _;
    text.as_ref().encode_wide().chain([0]).collect()
}

/// Text that ends with a zero.
///
/// # Safety
/// `text` leads to UTF-16 with a zero at its end.
pub(crate) unsafe fn text(text: *const u16) -> String {
    let mut length = 0;
    // SAFETY: the zero has not been reached, so there is one more.
    while unsafe { *text.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: so many were read just now.
    String::from_utf16_lossy(unsafe { slice::from_raw_parts(text, length) })
}

/// The text in `room` up to its first zero, or all of it.
pub(crate) fn until_zero(room: &[u16]) -> String {
    let end = room.iter().position(|unit| *unit == 0).unwrap_or(room.len());
    String::from_utf16_lossy(&room[..end])
}

/// How large a structure is, as those calls want it that tell their versions apart by it.
pub(crate) const fn size<T>() -> u32 {
    assert!(size_of::<T>() < 65_536);
    #[expect(clippy::cast_possible_truncation, reason = "it was just compared")]
    {
        size_of::<T>() as u32
    }
}
