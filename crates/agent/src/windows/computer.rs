//! What Windows says of the computer as a whole.
#![expect(unsafe_code, reason = "std says none of it")]

use std::{
    io,
    ptr::{null_mut, with_exposed_provenance},
};

use windows_sys::{
    Wdk::System::SystemServices::KUSER_SHARED_DATA,
    Win32::{
        Storage::FileSystem::{GetDiskFreeSpaceExW, GetVolumeInformationW},
        System::SystemInformation::{
            ComputerNameDnsHostname, GetComputerNameExW, GetSystemWindowsDirectoryW, GetTickCount64,
            GlobalMemoryStatusEx, MEMORYSTATUSEX,
        },
    },
};

use crate::windows::memory::{size, until_zero, wide};

/// Where Windows shows every process what it says of itself (`MM_SHARED_USER_DATA_VA` of Microsoft's `wdm.h`).
const SHARED_DATA: usize = 0x7ffe_0000;
/// A wrong layout would be read without an error. The place is the same in all versions since Windows 10.
const _: () = assert!(std::mem::offset_of!(KUSER_SHARED_DATA, BootId) == 0x2c4);
/// Longer than all that is asked for: a host's name has 63 letters, Windows' folder and a file system a few.
const ROOM: usize = 320;

/// The volume that Windows is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Volume {
    /// `C:`.
    pub(crate) drive: String,
    /// `NTFS`.
    pub(crate) file_system: String,
    pub(crate) bytes: u64,
    pub(crate) free: u64,
}

/// What it calls itself in DNS, without its domain.
///
/// # Errors
/// As the system has them.
pub(crate) fn host_name() -> io::Result<String> {
    let (mut room, mut length) = ([0; ROOM], room());
    // SAFETY: there is as much room as is said.
    let done = unsafe { GetComputerNameExW(ComputerNameDnsHostname, room.as_mut_ptr(), &raw mut length) };
    if done == 0 { Err(io::Error::last_os_error()) } else { Ok(until_zero(&room)) }
}

/// Milliseconds since its start.
pub(crate) fn uptime_ms() -> u64 {
    // SAFETY: nothing is handed over.
    unsafe { GetTickCount64() }
}

/// How many bytes of memory it has for programs.
///
/// # Errors
/// As the system has them.
pub(crate) fn memory_bytes() -> io::Result<u64> {
    let mut status = MEMORYSTATUSEX { dwLength: size::<MEMORYSTATUSEX>(), ..Default::default() };
    // SAFETY: it says its own size.
    match unsafe { GlobalMemoryStatusEx(&raw mut status) } {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(status.ullTotalPhys),
    }
}

/// How many times this Windows was started; nothing where it does not count, as Wine.
pub(crate) fn boots() -> Option<u32> {
    let shared = with_exposed_provenance::<KUSER_SHARED_DATA>(SHARED_DATA);
    // SAFETY: Windows has this page there in every process, for reading, as long as that lives.
    let boots = unsafe { (&raw const (*shared).BootId).read_volatile() };
    (boots != 0).then_some(boots)
}

/// The volume with Windows' folder.
///
/// # Errors
/// As the system has them.
pub(crate) fn system_volume() -> io::Result<Volume> {
    let mut folder = [0; ROOM];
    // SAFETY: there is as much room as is said.
    if unsafe { GetSystemWindowsDirectoryW(folder.as_mut_ptr(), room()) } == 0 {
        return Err(io::Error::last_os_error());
    }
    let drive = until_zero(&folder).chars().take(2).collect::<String>();
    let root = wide(format!("{drive}\\"));
    let (mut name, mut free, mut bytes) = ([0; ROOM], 0, 0);
    // SAFETY: the path ends with a zero, there is as much room as is said, and what is null is not wanted.
    let done = unsafe {
        let (root, none) = (root.as_ptr(), null_mut());
        GetVolumeInformationW(root, none, 0, null_mut(), null_mut(), null_mut(), name.as_mut_ptr(), room())
            != 0
            && GetDiskFreeSpaceExW(root, null_mut(), &raw mut bytes, &raw mut free) != 0
    };
    if done {
        Ok(Volume { drive, file_system: until_zero(&name), bytes, free })
    } else {
        Err(io::Error::last_os_error())
    }
}

const fn room() -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "a small constant")]
    {
        ROOM as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::is_wine;

    #[test]
    fn a_computer_says_what_it_has() {
        assert!(!host_name().expect("a name").is_empty());
        assert!(memory_bytes().expect("memory") > 1 << 27 && uptime_ms() > 0);
        let volume = system_volume().expect("a volume");
        assert!(volume.drive == "C:" && !volume.file_system.is_empty(), "{volume:?}");
        assert!(volume.bytes >= volume.free && volume.free > 0, "{volume:?}");
        assert_eq!(boots().is_none(), is_wine());
    }
}
