//! What Windows' licensing service says. Its library is loaded when it is asked: not every Windows has it.
#![expect(unsafe_code, reason = "no crate wraps the licensing service")]

use std::{
    ffi::c_void,
    io,
    ptr::{NonNull, null, null_mut},
    slice,
};

use windows_sys::{
    Win32::Security::Authentication::Identity::SL_LICENSING_STATUS,
    core::{GUID, HRESULT, PCWSTR},
};

use crate::windows::{library::Library, memory::LocalMemory};

/// Windows itself among what has licences (`WINDOWS_SLID` of Microsoft's `slpublic.h`).
static WINDOWS: GUID = GUID::from_u128(0x55c9_2734_d682_4d71_983e_d6ec_3f16_059f);
/// `SL_LICENSING_STATUS_UNLICENSED`: a product that could be here and is not. There are dozens.
const NOT_HERE: i32 = 0;

type Open = unsafe extern "system" fn(*mut *mut c_void) -> HRESULT;
type Close = unsafe extern "system" fn(*const c_void) -> HRESULT;
type Ask = unsafe extern "system" fn(
    *const c_void,
    *const GUID,
    *const GUID,
    PCWSTR,
    *mut u32,
    *mut *mut SL_LICENSING_STATUS,
) -> HRESULT;

/// A licence that is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Licence {
    /// Minutes until it ends or must be renewed; 0 where it does not, or did.
    pub(crate) minutes: u32,
    /// Whether Windows asks for another one.
    pub(crate) over: bool,
}

/// All of Windows' licences that are in use. Blocks as long as the service takes.
///
/// # Errors
/// When the library or the service is not there, or does not answer.
pub(crate) fn licences() -> io::Result<Vec<Licence>> {
    let service = Service::open()?;
    let (mut count, mut statuses) = (0, null_mut());
    // SAFETY: the handle is open, what is null means all, there is room for a number and a pointer.
    let asked = unsafe {
        (service.ask)(service.handle, &raw const WINDOWS, null(), null(), &raw mut count, &raw mut statuses)
    };
    succeeded(asked)?;
    if statuses.is_null() {
        return Ok(Vec::new());
    }
    // SAFETY: the call allocates by LocalAlloc, hands it over, and says how many there are.
    let all = unsafe {
        let memory = LocalMemory::new(statuses.cast());
        slice::from_raw_parts(memory.pointer().cast::<SL_LICENSING_STATUS>(), count as usize).to_vec()
    };
    let used = all.iter().filter(|status| status.eStatus != NOT_HERE);
    // 1: licensed. 2: in a time of grace. 3: notification. Later ones are not Windows'.
    Ok(used.map(|status| Licence { minutes: status.dwGraceTime, over: status.eStatus > 2 }).collect())
}

struct Service {
    handle: *mut c_void,
    ask: Ask,
    close: Close,
}

impl Service {
    fn open() -> io::Result<Self> {
        let library = Library::of_system("slc.dll")?;
        let [open, ask, close] = [
            library.function(c"SLOpen")?,
            library.function(c"SLGetLicensingStatusInformation")?,
            library.function(c"SLClose")?,
        ]
        .map(NonNull::as_ptr);
        let mut handle = null_mut();
        // SAFETY: all three have these types in Microsoft's `slpublic.h`.
        unsafe {
            let (open, ask, close) = (
                std::mem::transmute::<*mut c_void, Open>(open),
                std::mem::transmute::<*mut c_void, Ask>(ask),
                std::mem::transmute::<*mut c_void, Close>(close),
            );
            succeeded(open(&raw mut handle))?;
            Ok(Self { handle, ask, close })
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // SAFETY: it is open, and this is its end. Where it stays open, the service closes it with this process.
        unsafe { (self.close)(self.handle) };
    }
}

fn succeeded(result: HRESULT) -> io::Result<()> {
    if result < 0 { Err(io::Error::from_raw_os_error(result)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_does_not_answer_is_an_error_and_no_crash() {
        // Wine's says that there are no licences; every Windows has one for itself.
        match licences() {
            Ok(licences) => assert_eq!(licences.is_empty(), crate::windows::is_wine(), "{licences:?}"),
            Err(error) => assert!(error.raw_os_error().is_some(), "{error:?}"),
        }
    }
}
