//! Windows' own calls, each behind a function that cannot be misused. The only place on Windows without Rust's
//! guarantees.
#![expect(
    unsafe_code,
    reason = "no crate wraps completion ports for files, nor what a volume and its disk say"
)]

use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io,
    mem::{forget, offset_of, size_of, take},
    os::windows::{
        ffi::OsStrExt,
        fs::OpenOptionsExt,
        io::{AsRawHandle, FromRawHandle, OwnedHandle},
    },
    path::Path,
    ptr::null_mut,
    time::Duration,
};

use windows_sys::{
    Wdk::System::SystemServices::RtlGetVersion,
    Win32::{
        Foundation::{ERROR_IO_PENDING, FILETIME, INVALID_HANDLE_VALUE, WAIT_TIMEOUT},
        Media::timeBeginPeriod,
        Storage::FileSystem::{
            GetDiskFreeSpaceW, GetVolumeInformationW, GetVolumeNameForVolumeMountPointW, GetVolumePathNameW,
            ReadFile, STORAGE_BUS_TYPE, WriteFile,
        },
        System::{
            IO::{
                CreateIoCompletionPort, DeviceIoControl, GetOverlappedResult, GetQueuedCompletionStatusEx,
                OVERLAPPED, OVERLAPPED_0, OVERLAPPED_0_0, OVERLAPPED_ENTRY,
            },
            Ioctl::{
                DEVICE_SEEK_PENALTY_DESCRIPTOR, IOCTL_STORAGE_QUERY_PROPERTY, STORAGE_DEVICE_DESCRIPTOR,
                STORAGE_PROPERTY_ID, STORAGE_PROPERTY_QUERY, STORAGE_WRITE_CACHE_PROPERTY,
                StorageDeviceProperty, StorageDeviceSeekPenaltyProperty, StorageDeviceWriteCacheProperty,
                WRITE_CACHE_TYPE,
            },
            Registry::{HKEY_LOCAL_MACHINE, RRF_RT_REG_SZ, RegGetValueW},
            SystemInformation::{GlobalMemoryStatusEx, MEMORYSTATUSEX, OSVERSIONINFOW},
            Threading::{GetCurrentProcess, GetProcessTimes},
        },
    },
};

use crate::{
    buffer::Buffer,
    lane::{Ended, Queue},
    samples::Operation,
};

/// A file with a completion port of its own.
pub(crate) struct Port {
    port: OwnedHandle,
    file: File,
    slots: Box<[Slot]>,
    block: u64,
    /// What was refused at once: no completion comes for it.
    refused: Vec<Ended>,
    completions: Vec<OVERLAPPED_ENTRY>,
}

/// A place in the queue. While an operation is under way Windows has all of it, so it never moves.
struct Slot {
    overlapped: OVERLAPPED,
    buffer: Buffer,
    operation: Option<Operation>,
}

// SAFETY: the pointers in these types lead to the kernel's own or to the slot itself, whose memory is owned by it, on
// the heap, and used by one thread at a time.
unsafe impl Send for Port {}

impl Port {
    /// A port with `depth` places for blocks of `block` bytes. The file was opened for overlapped I/O.
    ///
    /// # Errors
    /// When there is no port.
    pub(crate) fn new(file: File, depth: u16, block: u64) -> io::Result<Self> {
        let length = usize::try_from(block).map_err(io::Error::other)?;
        let slot =
            || Slot { overlapped: OVERLAPPED::default(), buffer: Buffer::new(length), operation: None };
        // SAFETY: a new port that is bound to our open file; both are ours to close.
        let port = unsafe {
            let port = CreateIoCompletionPort(INVALID_HANDLE_VALUE, null_mut(), 0, 1);
            if port.is_null() {
                return Err(io::Error::last_os_error());
            }
            let port = OwnedHandle::from_raw_handle(port);
            if CreateIoCompletionPort(file.as_raw_handle(), port.as_raw_handle(), 0, 0).is_null() {
                return Err(io::Error::last_os_error());
            }
            port
        };
        let completions = vec![OVERLAPPED_ENTRY::default(); depth.into()];
        Ok(Self {
            port,
            file,
            slots: (0..depth).map(|_| slot()).collect(),
            block,
            refused: Vec::new(),
            completions,
        })
    }

    fn take_completions(&mut self, millis: u32) -> io::Result<usize> {
        let (mut count, most) = (0, u32::try_from(self.completions.len()).map_err(io::Error::other)?);
        // SAFETY: there is room for `most` entries.
        let done = unsafe {
            let entries = self.completions.as_mut_ptr();
            GetQueuedCompletionStatusEx(self.port.as_raw_handle(), entries, most, &raw mut count, millis, 0)
        };
        if done != 0 {
            return usize::try_from(count).map_err(io::Error::other);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == i32::try_from(WAIT_TIMEOUT).ok() => Ok(0),
            error => Err(error),
        }
    }

    /// The end of what a completion belongs to; nothing for one that is not ours.
    fn end(&mut self, completion: OVERLAPPED_ENTRY) -> Option<Ended> {
        let first = self.slots.as_ptr().addr();
        let place = completion.lpOverlapped.addr().checked_sub(first)? / size_of::<Slot>();
        let slot = self.slots.get_mut(place)?;
        let mut bytes = 0;
        // SAFETY: the operation of this slot on this file has ended.
        let done = unsafe {
            GetOverlappedResult(self.file.as_raw_handle(), &raw const slot.overlapped, &raw mut bytes, 0)
        };
        let error = (done == 0).then(io::Error::last_os_error);
        let operation = slot.operation.take()?;
        let outcome = match error {
            Some(error) => Err(error),
            None if u64::from(bytes) != self.block => Err(io::ErrorKind::UnexpectedEof.into()),
            // Nothing else is under way: `parameters` sees to it.
            None if operation == Operation::DurableWrite => self.file.sync_data().map(|()| self.block),
            None => Ok(self.block),
        };
        Some(Ended { place, outcome })
    }
}

impl Queue for Port {
    fn depth(&self) -> usize {
        self.slots.len()
    }

    fn data(&mut self, place: usize) -> &mut [u8] {
        let slot = &mut self.slots[place];
        // Nobody but the kernel may touch memory that it has.
        assert!(slot.operation.is_none(), "an operation is under way there");
        slot.buffer.bytes()
    }

    fn begin(&mut self, place: usize, operation: Operation, offset: u64) -> io::Result<()> {
        let (file, slot) = (self.file.as_raw_handle(), &mut self.slots[place]);
        assert!(slot.operation.is_none(), "an operation is under way there");
        slot.overlapped = overlapped(offset);
        let buffer = slot.buffer.bytes();
        let length = u32::try_from(buffer.len()).map_err(io::Error::other)?;
        let overlapped = &raw mut slot.overlapped;
        // SAFETY: file, memory and `overlapped` live until the operation has ended: `data` and `begin` refuse a place
        // with one, slots never move, and `Drop` keeps them for ever where one is under way.
        let begun = unsafe {
            if operation == Operation::Read {
                ReadFile(file, buffer.as_mut_ptr(), length, null_mut(), overlapped)
            } else {
                WriteFile(file, buffer.as_ptr(), length, null_mut(), overlapped)
            }
        };
        let error = (begun == 0).then(io::Error::last_os_error);
        match error.filter(|error| error.raw_os_error() != i32::try_from(ERROR_IO_PENDING).ok()) {
            Some(error) => self.refused.push(Ended { place, outcome: Err(error) }),
            None => slot.operation = Some(operation),
        }
        Ok(())
    }

    /// Windows waits in milliseconds and may be one late: what is left of the time is spent asking.
    fn wait(&mut self, most: Duration, ended: &mut Vec<Ended>) -> io::Result<()> {
        ended.append(&mut self.refused);
        let millis = if ended.is_empty() { most.as_millis().saturating_sub(1) } else { 0 };
        let count = self.take_completions(u32::try_from(millis).unwrap_or(u32::MAX))?;
        for at in 0..count {
            let completion = self.completions[at];
            ended.extend(self.end(completion));
        }
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if self.slots.iter().any(|slot| slot.operation.is_some()) {
            // The kernel may still write into them.
            forget(take(&mut self.slots));
        }
    }
}

fn overlapped(offset: u64) -> OVERLAPPED {
    #[expect(clippy::cast_possible_truncation, reason = "the two halves of it")]
    let (low, high) = (offset as u32, (offset >> 32) as u32);
    let halves = OVERLAPPED_0_0 { Offset: low, OffsetHigh: high };
    OVERLAPPED { Anonymous: OVERLAPPED_0 { Anonymous: halves }, ..OVERLAPPED::default() }
}

/// Asks Windows to end waits within a millisecond instead of sixteen.
pub(crate) fn wake_within_a_millisecond() {
    // SAFETY: no memory is involved. Where it is refused, `lateness` shows it.
    unsafe { timeBeginPeriod(1) };
}

/// Major, minor and build number.
pub(crate) fn version() -> Option<[u32; 3]> {
    let mut version = OSVERSIONINFOW { dwOSVersionInfoSize: size::<OSVERSIONINFOW>()?, ..Default::default() };
    // SAFETY: the structure says how large it is.
    let status = unsafe { RtlGetVersion(&raw mut version) };
    (status == 0).then_some([version.dwMajorVersion, version.dwMinorVersion, version.dwBuildNumber])
}

/// Processor time of this process so far, of the program and of the system for it.
pub(crate) fn cpu_time() -> Option<Duration> {
    let [mut created, mut ended, mut system, mut user] = [FILETIME::default(); 4];
    let ends = [&raw mut created, &raw mut ended, &raw mut system, &raw mut user];
    // SAFETY: the handle of this process needs no closing, and all four places are ours.
    let done = unsafe { GetProcessTimes(GetCurrentProcess(), ends[0], ends[1], ends[2], ends[3]) };
    // In units of 100 ns.
    let ticks = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    (done != 0).then(|| Duration::from_nanos((ticks(system) + ticks(user)).saturating_mul(100)))
}

/// All memory and what is left of it, in bytes.
pub(crate) fn memory() -> Option<(u64, u64)> {
    let mut memory = MEMORYSTATUSEX { dwLength: size::<MEMORYSTATUSEX>()?, ..Default::default() };
    // SAFETY: the structure says how large it is.
    let done = unsafe { GlobalMemoryStatusEx(&raw mut memory) };
    (done != 0).then_some((memory.ullTotalPhys, memory.ullAvailPhys))
}

/// A text of the registry below `HKEY_LOCAL_MACHINE`; nothing for one that is empty.
pub(crate) fn registry_text(key: &str, name: &str) -> Option<String> {
    let (key, name, mut text) = (wide(key), wide(name), [0u16; 256]);
    let mut bytes = size::<[u16; 256]>()?;
    // SAFETY: both names end with a zero; `bytes` is the size of `text`.
    let error = unsafe {
        let (key, name, text) = (key.as_ptr(), name.as_ptr(), text.as_mut_ptr().cast::<c_void>());
        RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_SZ, null_mut(), text, &raw mut bytes)
    };
    (error == 0).then(|| narrow(&text)).filter(|text| !text.is_empty())
}

/// Where the volume of `folder` is mounted: `C:\`.
pub(crate) fn mount_point(folder: &Path) -> Option<String> {
    let (folder, mut mount) = (wide(folder.as_os_str()), [0u16; 512]);
    // SAFETY: the path ends with a zero; there is room for 512 characters.
    let done = unsafe { GetVolumePathNameW(folder.as_ptr(), mount.as_mut_ptr(), 512) };
    (done != 0).then(|| narrow(&mount))
}

/// The volume's own name, which no other has: `\\?\Volume{…}\`.
pub(crate) fn volume_name(mount: &str) -> Option<String> {
    let (mount, mut name) = (wide(mount), [0u16; 64]);
    // SAFETY: the path ends with a zero; there is room for 64 characters, and a name has 50.
    let done = unsafe { GetVolumeNameForVolumeMountPointW(mount.as_ptr(), name.as_mut_ptr(), 64) };
    (done != 0).then(|| narrow(&name))
}

/// The file system's name, and its flags.
pub(crate) fn file_system(mount: &str) -> Option<(String, u32)> {
    let (mount, mut name, mut flags) = (wide(mount), [0u16; 64], 0);
    // SAFETY: the path ends with a zero; there is room for 64 characters; what is null is not asked for.
    let done = unsafe {
        let (none, flags) = (null_mut(), &raw mut flags);
        GetVolumeInformationW(mount.as_ptr(), null_mut(), 0, none, none, flags, name.as_mut_ptr(), 64)
    };
    (done != 0).then(|| (narrow(&name), flags))
}

/// Bytes of a sector and of a cluster.
pub(crate) fn sector_and_cluster(mount: &str) -> Option<(u32, u32)> {
    let (mount, mut sectors, mut sector, mut free, mut all) = (wide(mount), 0, 0, 0, 0);
    // SAFETY: the path ends with a zero; the others are numbers of ours.
    let done = unsafe {
        let numbers = (&raw mut sectors, &raw mut sector, &raw mut free, &raw mut all);
        GetDiskFreeSpaceW(mount.as_ptr(), numbers.0, numbers.1, numbers.2, numbers.3)
    };
    (done != 0).then(|| (sector, sector.saturating_mul(sectors)))
}

/// A disk, or a volume that lies on one.
pub(crate) struct Device(File);

impl Device {
    /// The device with that name, to be asked only: that takes no rights.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn open(name: &str) -> io::Result<Self> {
        OpenOptions::new().access_mode(0).open(name).map(Self)
    }

    /// How it is connected, and its product name.
    pub(crate) fn bus_and_product(&self) -> Option<(STORAGE_BUS_TYPE, String)> {
        let answer = self.ask(StorageDeviceProperty)?;
        let bus = number(&answer, offset_of!(STORAGE_DEVICE_DESCRIPTOR, BusType))?;
        let product = number(&answer, offset_of!(STORAGE_DEVICE_DESCRIPTOR, ProductIdOffset))?;
        Some((bus, usize::try_from(product).map_or_else(|_| String::new(), |at| text_at(&answer, at))))
    }

    /// Whether its heads must move.
    pub(crate) fn rotates(&self) -> Option<bool> {
        let answer = self.ask(StorageDeviceSeekPenaltyProperty)?;
        answer.get(offset_of!(DEVICE_SEEK_PENALTY_DESCRIPTOR, IncursSeekPenalty)).map(|byte| *byte != 0)
    }

    /// What kind of cache for writes it has.
    pub(crate) fn write_cache(&self) -> Option<WRITE_CACHE_TYPE> {
        let answer = self.ask(StorageDeviceWriteCacheProperty)?;
        number(&answer, offset_of!(STORAGE_WRITE_CACHE_PROPERTY, WriteCacheType))
    }

    fn ask(&self, property: STORAGE_PROPERTY_ID) -> Option<Vec<u8>> {
        let query = STORAGE_PROPERTY_QUERY { PropertyId: property, ..Default::default() };
        let (mut answer, mut count) = (vec![0u8; 1024], 0);
        let (asked, room) = (size::<STORAGE_PROPERTY_QUERY>()?, u32::try_from(answer.len()).ok()?);
        // SAFETY: both sizes are those of the memory beside them; the device was not opened for overlapped I/O.
        let done = unsafe {
            let (query, answer) = ((&raw const query).cast(), answer.as_mut_ptr().cast());
            let (device, code) = (self.0.as_raw_handle(), IOCTL_STORAGE_QUERY_PROPERTY);
            DeviceIoControl(device, code, query, asked, answer, room, &raw mut count, null_mut())
        };
        answer.truncate(usize::try_from(count).ok()?);
        (done != 0).then_some(answer)
    }
}

/// A number of four bytes in what a device says.
fn number(answer: &[u8], at: usize) -> Option<i32> {
    answer.get(at..)?.first_chunk().map(|bytes| i32::from_le_bytes(*bytes))
}

/// The text that begins there and ends with a zero; a device without one says 0.
fn text_at(answer: &[u8], at: usize) -> String {
    let text = if at == 0 { &[] } else { answer.get(at..).unwrap_or_default() };
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).trim().to_owned()
}

fn size<T>() -> Option<u32> {
    u32::try_from(size_of::<T>()).ok()
}

/// UTF-16 with a zero at its end.
fn wide(text: impl AsRef<std::ffi::OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

fn narrow(text: &[u16]) -> String {
    let end = text.iter().position(|unit| *unit == 0).unwrap_or(text.len());
    String::from_utf16_lossy(&text[..end]).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_says_is_read_as_far_as_it_goes() {
        let answer = [1, 0, 0, 0, 7, 0, 0, 0, b' ', b'D', b'1', 0, b'x'];
        assert_eq!((number(&answer, 4), number(&answer, 10)), (Some(7), None));
        assert_eq!([text_at(&answer, 8), text_at(&answer, 12), text_at(&answer, 99)], ["D1", "x", ""]);
        assert_eq!(text_at(&answer, 0), "");
    }

    #[test]
    fn offsets_are_given_in_two_halves() {
        let two = overlapped(0x0000_0012_3456_7890);
        // SAFETY: it was made with halves.
        let halves = unsafe { two.Anonymous.Anonymous };
        assert_eq!((halves.Offset, halves.OffsetHigh), (0x3456_7890, 0x12));
    }
}
