//! Whose rights a process has: its token.
#![expect(unsafe_code, reason = "no crate that is kept wraps tokens")]

use std::{
    ffi::c_void,
    io,
    os::windows::io::{AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle},
    ptr::{null, null_mut},
    slice,
};

use windows_sys::Win32::{
    Foundation::ERROR_INSUFFICIENT_BUFFER,
    Security::{
        Authorization::ConvertSidToStringSidW, GetTokenInformation, LookupAccountNameW, LookupAccountSidW,
        PSID, SID_AND_ATTRIBUTES, TOKEN_GROUPS, TOKEN_INFORMATION_CLASS, TOKEN_QUERY, TOKEN_USER,
        TokenGroups, TokenUser,
    },
    System::{
        SystemServices::{SE_GROUP_ENABLED, SE_GROUP_USE_FOR_DENY_ONLY},
        Threading::OpenProcessToken,
    },
};

use crate::{
    access::Account,
    door::CONTAINER_ACCOUNTS,
    windows::memory::{LocalMemory, size, text, wide},
};

/// `NT AUTHORITY\SYSTEM`.
const SYSTEM: &str = "S-1-5-18";
/// Accounts and groups of a domain, and of this computer.
const DOMAINS: &str = "S-1-5-21-";
/// `BUILTIN\Administrators`.
const ADMINISTRATORS: &str = "S-1-5-32-544";

/// What a process may do.
#[derive(Debug)]
pub(crate) struct Token(OwnedHandle);

impl Token {
    /// The one of a process.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn of(process: BorrowedHandle<'_>) -> io::Result<Self> {
        let mut token = null_mut();
        // SAFETY: the handle is open, there is room for a token's handle, and that is ours to close.
        unsafe {
            if OpenProcessToken(process.as_raw_handle(), TOKEN_QUERY, &raw mut token) == 0 {
                return Err(io::Error::last_os_error());
            }
            Ok(Self(OwnedHandle::from_raw_handle(token)))
        }
    }

    /// Whose it is. An administrator is one whose token has the group switched on: not the half that Windows keeps back
    /// until a prompt was answered, and not a container's, which has the group's number, too.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn account(&self) -> io::Result<Account> {
        let user = self.information(TokenUser)?;
        // SAFETY: that is what this class is answered with; the SID it leads to lies in the same memory.
        let (id, name) = unsafe {
            let sid = (*user.as_ptr().cast::<TOKEN_USER>()).User.Sid;
            (sid_text(sid)?, account_name(sid))
        };
        let groups = self.groups()?;
        let of_the_host = !id.starts_with(CONTAINER_ACCOUNTS);
        let administrator =
            of_the_host && (id == SYSTEM || groups.iter().any(|group| group == ADMINISTRATORS));
        Ok(Account { name: name.unwrap_or_default(), id, groups, administrator, certificate: None })
    }

    fn groups(&self) -> io::Result<Vec<String>> {
        let answer = self.information(TokenGroups)?;
        // SAFETY: that is what this class is answered with, as many as it says, in the same memory.
        let groups: &[SID_AND_ATTRIBUTES] = unsafe {
            let groups = answer.as_ptr().cast::<TOKEN_GROUPS>();
            slice::from_raw_parts((&raw const (*groups).Groups).cast(), (*groups).GroupCount as usize)
        };
        let counts = |group: &&SID_AND_ATTRIBUTES| {
            let bits = group.Attributes.cast_signed();
            bits & SE_GROUP_ENABLED != 0 && bits & SE_GROUP_USE_FOR_DENY_ONLY == 0
        };
        // SAFETY: as above.
        let sids = groups.iter().filter(counts).map(|group| unsafe { Ok((sid_text(group.Sid)?, group.Sid)) });
        let mut all = Vec::new();
        for (id, sid) in sids.collect::<io::Result<Vec<_>>>()? {
            // Names of a domain's groups would be asked for over the network, one by one.
            let is_here = !id.starts_with(DOMAINS);
            // SAFETY: as above.
            all.extend(is_here.then(|| unsafe { account_name(sid) }).flatten());
            all.push(id);
        }
        Ok(all)
    }

    /// One of its properties, aligned as the largest of them want it.
    fn information(&self, class: TOKEN_INFORMATION_CLASS) -> io::Result<Vec<u64>> {
        let mut room: Vec<u64> = vec![0; 64];
        loop {
            let (size, mut needed) = (u32::try_from(size_of_val(&*room)).map_err(io::Error::other)?, 0);
            // SAFETY: there is room for `size` bytes.
            let done = unsafe {
                let at = room.as_mut_ptr().cast::<c_void>();
                GetTokenInformation(self.0.as_raw_handle(), class, at, size, &raw mut needed)
            };
            if done != 0 {
                return Ok(room);
            }
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_INSUFFICIENT_BUFFER.cast_signed()) || needed <= size {
                return Err(error);
            }
            room.resize((needed as usize).div_ceil(size_of::<u64>()), 0);
        }
    }
}

/// The SID of an account or a group, by its name or as it is.
///
/// # Errors
/// When this computer knows none. May ask a domain's controller.
pub(crate) fn account_sid(name: &str) -> io::Result<String> {
    if name.starts_with("S-1-") {
        return Ok(name.to_owned());
    }
    let wide_name = wide(name);
    // A SID has at most 68 bytes, a domain's name 256 characters.
    let (mut sid, mut domain) = ([0_u32; 17], [0_u16; 257]);
    let (mut sid_size, mut domain_size, mut kind) = (size::<[u32; 17]>(), 257, 0);
    // SAFETY: the name ends with a zero, and there is as much room as is said.
    unsafe {
        let found = LookupAccountNameW(
            null(),
            wide_name.as_ptr(),
            sid.as_mut_ptr().cast(),
            &raw mut sid_size,
            domain.as_mut_ptr(),
            &raw mut domain_size,
            &raw mut kind,
        );
        if found == 0 {
            return Err(io::Error::last_os_error());
        }
        sid_text(sid.as_mut_ptr().cast())
    }
}

/// `S-1-5-18`.
///
/// # Safety
/// `sid` leads to a SID.
unsafe fn sid_text(sid: PSID) -> io::Result<String> {
    let mut words = null_mut();
    // SAFETY: it is a SID, and there is room for a pointer, to memory that is then ours.
    unsafe {
        if ConvertSidToStringSidW(sid, &raw mut words) == 0 {
            return Err(io::Error::last_os_error());
        }
        let memory = LocalMemory::new(words.cast());
        Ok(text(memory.pointer().cast()))
    }
}

/// `NT AUTHORITY\SYSTEM`; nothing where this computer knows no name. May ask a domain's controller.
///
/// # Safety
/// `sid` leads to a SID.
unsafe fn account_name(sid: PSID) -> Option<String> {
    // A name has at most 256 characters, a domain too.
    let (mut name, mut domain) = ([0_u16; 257], [0_u16; 257]);
    let (mut name_size, mut domain_size, mut kind) = (257, 257, 0);
    // SAFETY: it is a SID, and there is as much room as is said.
    let done = unsafe {
        LookupAccountSidW(
            null(),
            sid,
            name.as_mut_ptr(),
            &raw mut name_size,
            domain.as_mut_ptr(),
            &raw mut domain_size,
            &raw mut kind,
        )
    };
    let words =
        |text: &[u16], size: u32| String::from_utf16_lossy(text.get(..size as usize).unwrap_or_default());
    (done != 0).then(|| match words(&domain, domain_size) {
        domain if domain.is_empty() => words(&name, name_size),
        domain => format!(r"{domain}\{}", words(&name, name_size)),
    })
}

#[cfg(test)]
mod tests {
    use std::os::windows::io::AsHandle as _;

    use super::*;
    use crate::windows::ClientProcess;

    #[test]
    fn a_token_says_whose_it_is() {
        let process = ClientProcess::open(std::process::id()).expect("ourselves");
        let account = Token::of(process.as_handle()).expect("a token").account().expect("an account");
        assert!(account.id.starts_with("S-1-5-"), "{account:?}");
        assert!(!account.name.is_empty() && !account.groups.is_empty(), "{account:?}");
    }
}
