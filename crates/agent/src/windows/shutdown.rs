//! Restarting the computer.
#![expect(unsafe_code, reason = "std restarts no computer")]

use std::{
    io,
    os::windows::io::{AsRawHandle as _, FromRawHandle as _, OwnedHandle},
    ptr::{null, null_mut},
};

use windows_sys::Win32::{
    Foundation::{ERROR_SUCCESS, GetLastError, LUID},
    Security::{
        AdjustTokenPrivileges, LUID_AND_ATTRIBUTES, LookupPrivilegeValueW, SE_PRIVILEGE_ENABLED,
        SE_SHUTDOWN_NAME, TOKEN_ADJUST_PRIVILEGES, TOKEN_PRIVILEGES, TOKEN_QUERY,
    },
    System::{
        Shutdown::{
            InitiateSystemShutdownExW, SHTDN_REASON_FLAG_PLANNED, SHTDN_REASON_MAJOR_APPLICATION,
            SHTDN_REASON_MINOR_MAINTENANCE,
        },
        Threading::{GetCurrentProcess, OpenProcessToken},
    },
};

use crate::windows::memory::wide;

/// Restarts the computer at once: services end as they should, programs of people who are logged in are not asked, since
/// nobody may be there who answers. `why` stands in the event log. Returns when that has begun.
///
/// # Errors
/// When we may not, or Windows refuses.
pub(crate) fn restart(why: &str) -> io::Result<()> {
    may_shut_down()?;
    let (why, reason) = (
        wide(why),
        SHTDN_REASON_MAJOR_APPLICATION | SHTDN_REASON_MINOR_MAINTENANCE | SHTDN_REASON_FLAG_PLANNED,
    );
    // SAFETY: the text ends with a zero; no computer named is this one.
    match unsafe { InitiateSystemShutdownExW(null(), why.as_ptr(), 0, 1, 1, reason) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Switches the right on that administrators and the system have, and which is off until it is asked for.
fn may_shut_down() -> io::Result<()> {
    let (mut token, mut which) = (null_mut(), LUID::default());
    // SAFETY: the process is this one, the name ends with a zero, the new handle is ours to close.
    let token = unsafe {
        let rights = TOKEN_ADJUST_PRIVILEGES | TOKEN_QUERY;
        if OpenProcessToken(GetCurrentProcess(), rights, &raw mut token) == 0 {
            return Err(io::Error::last_os_error());
        }
        let token = OwnedHandle::from_raw_handle(token);
        if LookupPrivilegeValueW(null(), SE_SHUTDOWN_NAME, &raw mut which) == 0 {
            return Err(io::Error::last_os_error());
        }
        token
    };
    let one = [LUID_AND_ATTRIBUTES { Luid: which, Attributes: SE_PRIVILEGE_ENABLED }];
    let wanted = TOKEN_PRIVILEGES { PrivilegeCount: 1, Privileges: one };
    // SAFETY: the token is open, and there is one privilege as is said. It succeeds where nothing was switched on, too,
    // and says so only in the last error.
    unsafe {
        let token = token.as_raw_handle();
        if AdjustTokenPrivileges(token, 0, &raw const wanted, 0, null_mut(), null_mut()) == 0
            || GetLastError() != ERROR_SUCCESS
        {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_administrator_may_restart_the_computer() {
        may_shut_down().expect("tests under Wine, and services, run as one");
    }
}
