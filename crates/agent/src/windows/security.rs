//! Security descriptors: who may do what with a pipe or a folder, written in SDDL.
#![expect(unsafe_code, reason = "no crate that is kept wraps security descriptors")]

use std::{
    io,
    os::windows::io::{AsRawHandle as _, BorrowedHandle},
    path::Path,
    ptr::{null, null_mut},
};

use tokio::net::windows::named_pipe::{NamedPipeServer, ServerOptions};
use windows_sys::Win32::{
    Foundation::ERROR_SUCCESS,
    Security::{
        Authorization::{
            ConvertSecurityDescriptorToStringSecurityDescriptorW,
            ConvertStringSecurityDescriptorToSecurityDescriptorW, GetNamedSecurityInfoW, GetSecurityInfo,
            SDDL_REVISION_1, SE_FILE_OBJECT, SE_KERNEL_OBJECT,
        },
        DACL_SECURITY_INFORMATION, OWNER_SECURITY_INFORMATION, PROTECTED_DACL_SECURITY_INFORMATION,
        SECURITY_ATTRIBUTES, SetFileSecurityW,
    },
    Storage::FileSystem::CreateDirectoryW,
    System::Pipes::{PIPE_READMODE_BYTE, SetNamedPipeHandleState},
};

use crate::windows::memory::{LocalMemory, size, text, wide};

/// Who may do what with an object.
#[derive(Debug)]
pub(crate) struct Descriptor(LocalMemory);

impl Descriptor {
    /// What `sddl` says.
    ///
    /// # Errors
    /// When it is no SDDL, or names an account that this computer does not know.
    pub(crate) fn from_sddl(sddl: &str) -> io::Result<Self> {
        let (sddl, mut descriptor) = (wide(sddl), null_mut());
        // SAFETY: the text ends with a zero, and there is room for a pointer.
        let done = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                sddl.as_ptr(),
                SDDL_REVISION_1,
                &raw mut descriptor,
                null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call allocates by LocalAlloc and hands it over.
        Ok(Self(unsafe { LocalMemory::new(descriptor) }))
    }

    /// The one that an open pipe really has.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn of_pipe(pipe: BorrowedHandle<'_>) -> io::Result<Self> {
        let mut descriptor = null_mut();
        // SAFETY: the handle is open, and there is room for a pointer.
        let error = unsafe {
            GetSecurityInfo(
                pipe.as_raw_handle(),
                SE_KERNEL_OBJECT,
                DACL_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &raw mut descriptor,
            )
        };
        Self::handed_over(error, descriptor)
    }

    /// The one that a file or folder really has, with its owner.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn of_path(path: &Path) -> io::Result<Self> {
        let (path, mut descriptor) = (wide(path), null_mut());
        // SAFETY: the path ends with a zero, and there is room for a pointer.
        let error = unsafe {
            GetNamedSecurityInfoW(
                path.as_ptr(),
                SE_FILE_OBJECT,
                DACL_SECURITY_INFORMATION | OWNER_SECURITY_INFORMATION,
                null_mut(),
                null_mut(),
                null_mut(),
                null_mut(),
                &raw mut descriptor,
            )
        };
        Self::handed_over(error, descriptor)
    }

    fn handed_over(error: u32, descriptor: *mut std::ffi::c_void) -> io::Result<Self> {
        if error != ERROR_SUCCESS {
            return Err(io::Error::from_raw_os_error(error.cast_signed()));
        }
        // SAFETY: both calls allocate by LocalAlloc and hand it over.
        Ok(Self(unsafe { LocalMemory::new(descriptor) }))
    }

    /// It as SDDL; Windows may put rights in another order.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn sddl(&self) -> io::Result<String> {
        let mut sddl = null_mut();
        // SAFETY: the descriptor is whole, and there is room for a pointer.
        let done = unsafe {
            ConvertSecurityDescriptorToStringSecurityDescriptorW(
                self.0.pointer(),
                SDDL_REVISION_1,
                DACL_SECURITY_INFORMATION | OWNER_SECURITY_INFORMATION,
                &raw mut sddl,
                null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call allocates by LocalAlloc, hands it over, and ends the text with a zero.
        unsafe {
            let memory = LocalMemory::new(sddl.cast());
            Ok(text(memory.pointer().cast()))
        }
    }

    /// A pipe's instance with these rights.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn pipe(&self, options: &ServerOptions, name: &str) -> io::Result<NamedPipeServer> {
        let mut attributes = self.attributes();
        // SAFETY: the descriptor lives as long as `self`, the attributes until the call has returned.
        unsafe { options.create_with_security_attributes_raw(name, (&raw mut attributes).cast()) }
    }

    /// Makes a folder that has these rights from its beginning; one that is there gets them.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn make_folder(&self, path: &Path) -> io::Result<()> {
        let (wide, attributes) = (wide(path), self.attributes());
        // SAFETY: the path ends with a zero, the descriptor lives as long as `self`.
        if unsafe { CreateDirectoryW(wide.as_ptr(), &raw const attributes) } != 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if !path.is_dir() {
            return Err(error);
        }
        let what = DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION;
        // SAFETY: as above.
        if unsafe { SetFileSecurityW(wide.as_ptr(), what, self.0.pointer()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// As the calls that create an object want it; it leads to this one's memory.
    fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size::<SECURITY_ATTRIBUTES>(),
            lpSecurityDescriptor: self.0.pointer(),
            bInheritHandle: 0,
        }
    }
}

/// Lets what comes be read as bytes, whatever bounds it was written with.
///
/// # Errors
/// As the system has them.
pub(crate) fn read_as_bytes(pipe: BorrowedHandle<'_>) -> io::Result<()> {
    let mode = PIPE_READMODE_BYTE;
    // SAFETY: the handle is open, and what is not given is not changed.
    let done = unsafe { SetNamedPipeHandleState(pipe.as_raw_handle(), &raw const mode, null(), null()) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
