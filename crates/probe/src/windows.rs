//! What Windows does for us. Its code paths are tested under Wine; what it measures has not been checked on a real
//! Windows yet.

#[path = "windows/system.rs"]
mod system;

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io,
    os::windows::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::Duration,
};

use windows_sys::Win32::{
    Foundation::{ERROR_INVALID_PARAMETER, ERROR_NOT_SUPPORTED},
    Storage::FileSystem::{
        BusTypeAta, BusTypeFileBackedVirtual, BusTypeNvme, BusTypeRAID, BusTypeSas, BusTypeSata, BusTypeScsi,
        BusTypeSpaces, BusTypeVirtual, BusTypeiScsi, FILE_FLAG_NO_BUFFERING, FILE_FLAG_OVERLAPPED,
    },
    System::{
        Ioctl::{WriteCacheTypeNone, WriteCacheTypeWriteBack, WriteCacheTypeWriteThrough},
        SystemServices::{FILE_DAX_VOLUME, FILE_READ_ONLY_VOLUME, FILE_VOLUME_IS_COMPRESSED},
    },
};

pub(crate) use system::Port as Queue;

use crate::{
    cli::{Caching, Engine},
    computer::{Computer, FileSystem, Processor, Traffic},
    place::Room,
};

/// What file systems say that have no direct I/O.
#[expect(clippy::cast_possible_wrap, reason = "two small numbers")]
pub(crate) const NO_DIRECT_IO: [i32; 2] = [ERROR_INVALID_PARAMETER as i32, ERROR_NOT_SUPPORTED as i32];

/// Opens a file for reading and writing, makes it if need be. For direct I/O offset, length and memory must be
/// multiples of 4 KiB.
///
/// # Errors
/// As the system has them; see [`is_no_direct_io`].
pub(crate) fn open(path: &Path, caching: Caching) -> io::Result<File> {
    open_with(path, caching, 0)
}

/// As [`open`], for overlapped I/O.
///
/// # Errors
/// As [`open`].
pub(crate) fn open_for_queue(path: &Path, caching: Caching) -> io::Result<File> {
    open_with(path, caching, FILE_FLAG_OVERLAPPED)
}

fn open_with(path: &Path, caching: Caching, flags: u32) -> io::Result<File> {
    let flags = match caching {
        Caching::Direct => flags | FILE_FLAG_NO_BUFFERING,
        Caching::Cached => flags,
    };
    OpenOptions::new().read(true).write(true).create(true).truncate(false).custom_flags(flags).open(path)
}

/// Whether an error says that this file system has no direct I/O.
pub(crate) fn is_no_direct_io(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_DIRECT_IO.contains(&code))
}

/// Reads all of `buffer` from `offset`.
///
/// # Errors
/// As the system has them, and when the file ends before.
pub(crate) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.seek_read(&mut buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// Writes all of `buffer` to `offset`.
///
/// # Errors
/// As the system has them.
pub(crate) fn write_all_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    let mut done = 0;
    while done < buffer.len() {
        match file.seek_write(&buffer[done..], offset + done as u64)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            count => done += count,
        }
    }
    Ok(())
}

/// Windows says so only when a file is made; nothing is known before.
///
/// # Errors
/// When the folder is marked read-only.
pub(crate) fn check_writable(folder: &Path) -> io::Result<()> {
    fs_err::metadata(folder).map(|_| ())
}

/// What is free in `folder`.
///
/// # Errors
/// As the system has them.
pub(crate) fn room(folder: &Path) -> io::Result<Room> {
    Ok(Room { bytes: fs4::available_space(folder)?, files: None })
}

/// Whether this system has `engine`.
///
/// # Errors
/// Why not.
pub(crate) fn check_engine(engine: Engine) -> io::Result<()> {
    match engine {
        Engine::Threads | Engine::Overlapped => Ok(()),
        Engine::IoUring => Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux has it")),
    }
}

/// Lets waits end as exactly as Windows can.
pub(crate) fn wake_exactly() {
    system::wake_within_a_millisecond();
}

/// Processor time of this process so far, over all its threads.
pub(crate) fn cpu_time() -> Option<Duration> {
    system::cpu_time()
}

/// Windows counts what a process reads and writes only with what the cache answers.
pub(crate) const fn storage_traffic() -> Option<Traffic> {
    None
}

/// This computer, and where `folder` is.
pub(crate) fn describe(folder: &Path, room: Room) -> Computer {
    const PROCESSOR: &str = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0";
    const FIRMWARE: &str = r"HARDWARE\DESCRIPTION\System\BIOS";
    let (memory_bytes, memory_available_bytes) = system::memory().unzip();
    let identifier = std::env::var_os("PROCESSOR_IDENTIFIER").map(|name| name.to_string_lossy().into_owned());
    Computer {
        system: "Windows".to_owned(),
        kernel: system::version().map(|[major, minor, build]| format!("{major}.{minor}.{build}")),
        cpu: Processor {
            model: system::registry_text(PROCESSOR, "ProcessorNameString").or(identifier),
            ..Processor::default()
        },
        memory_bytes,
        memory_available_bytes,
        product: ["SystemManufacturer", "SystemProductName"]
            .into_iter()
            .filter_map(|name| system::registry_text(FIRMWARE, name))
            .reduce(|vendor, product| format!("{vendor} {product}")),
        file_system: file_system(folder, room),
        ..Computer::of_this_program()
    }
}

fn file_system(folder: &Path, room: Room) -> FileSystem {
    let absolute = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let mount = system::mount_point(&absolute).unwrap_or_default();
    let (kind, flags) = system::file_system(&mount).unzip();
    FileSystem {
        kind,
        source: system::volume_name(&mount),
        options: flags.and_then(options),
        free_bytes: room.bytes,
        queue: queue(&mount),
    }
}

/// The flags of a file system that change what is measured; nothing where there are none.
fn options(flags: u32) -> Option<String> {
    const KNOWN: [(u32, &str); 3] = [
        (FILE_READ_ONLY_VOLUME, "read-only"),
        (FILE_VOLUME_IS_COMPRESSED, "compressed"),
        (FILE_DAX_VOLUME, "dax"),
    ];
    let set = KNOWN.into_iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| name);
    set.map(str::to_owned).reduce(|all, next| all + "," + &next)
}

/// What Windows says of the volume and of the disk under it, in the words that Linux has for the same.
fn queue(mount: &str) -> BTreeMap<String, String> {
    // Its last character makes a folder of a volume.
    let volume = system::volume_name(mount).unwrap_or_default();
    let device = system::Device::open(volume.trim_end_matches('\\')).ok();
    let (sector, cluster) = system::sector_and_cluster(mount).unzip();
    let (bus, product) = device.as_ref().and_then(system::Device::bus_and_product).unzip();
    let rotates = device.as_ref().and_then(system::Device::rotates);
    let cache = device.as_ref().and_then(system::Device::write_cache).and_then(|kind| named(&CACHES, kind));
    let facts = [
        ("logical_block_size", sector.map(|bytes| bytes.to_string())),
        ("cluster_size", cluster.map(|bytes| bytes.to_string())),
        ("bus", bus.map(|bus| named(&BUSES, bus).unwrap_or("other").to_owned())),
        ("product", product.filter(|product| !product.is_empty())),
        ("rotational", rotates.map(|rotates| u8::from(rotates).to_string())),
        ("write_cache", cache.map(str::to_owned)),
    ];
    facts.into_iter().filter_map(|(name, fact)| Some((name.to_owned(), fact?))).collect()
}

const CACHES: [(i32, &str); 3] = [
    (WriteCacheTypeNone, "none"),
    (WriteCacheTypeWriteBack, "write back"),
    (WriteCacheTypeWriteThrough, "write through"),
];

const BUSES: [(i32, &str); 10] = [
    (BusTypeAta, "ata"),
    (BusTypeFileBackedVirtual, "file"),
    (BusTypeNvme, "nvme"),
    (BusTypeRAID, "raid"),
    (BusTypeSas, "sas"),
    (BusTypeSata, "sata"),
    (BusTypeScsi, "scsi"),
    (BusTypeSpaces, "spaces"),
    (BusTypeVirtual, "virtual"),
    (BusTypeiScsi, "iscsi"),
];

fn named(names: &[(i32, &'static str)], value: i32) -> Option<&'static str> {
    names.iter().find(|(known, _)| *known == value).map(|(_, name)| *name)
}
