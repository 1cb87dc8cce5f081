//! Cuts the uncompressed kernel out of a bzImage, so that the guest need not decompress it: a fifth of its boot under
//! emulation. QEMU starts such an ELF file by its PVH note.
//!
//! The layout is the kernel's `Documentation/arch/x86/boot.rst`. Every number in the file is checked: a kernel may
//! come from a damaged image.

use std::io::{self, Read};

/// No kernel is larger uncompressed; a bound for damaged or hostile files.
const LARGEST: u64 = 512 << 20;
/// `setup_sects`, sectors of the real-mode code after the first.
const SETUP_SECTORS: usize = 0x1f1;
/// The header's magic, `HdrS`.
const MAGIC: usize = 0x202;
/// `payload_offset` (from the start of the protected-mode code) and `payload_length`, since protocol 2.08.
const PAYLOAD: usize = 0x248;
/// `XEN_ELFNOTE_PHYS32_ENTRY`: the 32-bit entry point of PVH, in a note of the owner `Xen`.
const PVH_NOTE: u32 = 18;
/// `PT_NOTE`, the segment of notes (elf(5)).
const NOTE_SEGMENT: u32 = 4;

/// Why no uncompressed kernel was found.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// It does not begin like a bzImage with a payload.
    #[error("find the kernel in a file that is no bzImage")]
    NotABzImage,
    /// Packed in a way that is not known here.
    #[error("unpack a kernel that begins with {0:02x?}: only zstd, xz and plain ELF are known")]
    UnknownCompression([u8; 4]),
    /// Damaged.
    #[error("unpack the kernel")]
    Damaged(#[source] io::Error),
    /// QEMU cannot start it directly.
    #[error("start the kernel directly: it has no PVH entry")]
    NoPvhEntry,
}

/// The ELF kernel inside `image`, a bzImage, checked to have a PVH entry.
///
/// # Errors
/// When it is no bzImage, packed in an unknown way, damaged, or built without `CONFIG_PVH`; the bzImage itself still
/// starts then.
pub fn uncompressed(image: &[u8]) -> Result<Vec<u8>, KernelError> {
    let kernel = unpack(payload(image).ok_or(KernelError::NotABzImage)?)?;
    if has_pvh_entry(&kernel) { Ok(kernel) } else { Err(KernelError::NoPvhEntry) }
}

fn payload(image: &[u8]) -> Option<&[u8]> {
    if image.get(MAGIC..MAGIC + 4)? != b"HdrS" {
        return None;
    }
    // 0 means 4, from the days before the field (boot.rst).
    let sectors = match *image.get(SETUP_SECTORS)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let (offset, length) = (number(image, PAYLOAD)?, number(image, PAYLOAD + 4)?);
    let start = (sectors + 1) * 512 + usize::try_from(offset).ok()?;
    image.get(start..start.checked_add(usize::try_from(length).ok()?)?)
}

fn unpack(payload: &[u8]) -> Result<Vec<u8>, KernelError> {
    // The kernel's build appends the unpacked size, four bytes that are no part of the compressed frame.
    match payload.first_chunk::<4>() {
        Some([0x28, 0xb5, 0x2f, 0xfd]) => {
            let decoder = zstd::Decoder::new(payload).map_err(KernelError::Damaged)?;
            read(decoder.single_frame())
        }
        Some([0xfd, b'7', b'z', b'X']) => read(liblzma::read::XzDecoder::new(payload)),
        Some([0x7f, b'E', b'L', b'F']) => Ok(payload.to_vec()),
        Some(begin) => Err(KernelError::UnknownCompression(*begin)),
        None => Err(KernelError::NotABzImage),
    }
}

fn read(from: impl Read) -> Result<Vec<u8>, KernelError> {
    let mut kernel = Vec::new();
    from.take(LARGEST).read_to_end(&mut kernel).map_err(KernelError::Damaged)?;
    Ok(kernel)
}

/// Whether a 64-bit little-endian ELF file has the note that QEMU looks for.
fn has_pvh_entry(elf: &[u8]) -> bool {
    elf.starts_with(b"\x7fELF\x02\x01")
        && note_segments(elf).is_some_and(|notes| notes.iter().any(|note| pvh_in(note)))
}

fn note_segments(elf: &[u8]) -> Option<Vec<&[u8]>> {
    let table = usize::try_from(wide(elf, 0x20)?).ok()?;
    let (size, count) = (usize::from(half(elf, 0x36)?), usize::from(half(elf, 0x38)?));
    let mut notes = Vec::new();
    for index in 0..count {
        let header = elf.get(table.checked_add(index * size)?..)?;
        if number(header, 0)? == NOTE_SEGMENT {
            let start = usize::try_from(wide(header, 8)?).ok()?;
            notes.push(elf.get(start..start.checked_add(usize::try_from(wide(header, 0x20)?).ok()?)?)?);
        }
    }
    Some(notes)
}

/// Walks one segment's notes: lengths of name and description, type, both padded to four bytes.
fn pvh_in(mut notes: &[u8]) -> bool {
    let next = |notes: &[u8]| -> Option<(bool, usize)> {
        let length = |at| usize::try_from(number(notes, at)?).ok();
        let (name, description) = (length(0)?, length(4)?);
        let found = number(notes, 8)? == PVH_NOTE && notes.get(12..12 + name)? == b"Xen\0";
        let size = name.checked_next_multiple_of(4)?.checked_add(description.checked_next_multiple_of(4)?)?;
        Some((found, size.checked_add(12)?))
    };
    while let Some((found, size)) = next(notes) {
        if found {
            return true;
        }
        notes = notes.get(size..).unwrap_or_default();
    }
    false
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The smallest ELF file with one note segment that holds a foreign note and then PVH's.
    fn elf(note: u32) -> Vec<u8> {
        let mut elf = vec![0; 0x40];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[0x20] = 0x40;
        elf[0x36] = 56;
        elf[0x38] = 1;
        let mut header = vec![0; 56];
        header[0] = 4;
        header[8] = 0x78;
        header[0x20] = 44;
        elf.extend(header);
        for (owner, kind) in [(b"GNU\0", 3), (b"Xen\0", note)] {
            for field in [4, 4 + u32::from(kind == 3) * 4, kind] {
                elf.extend(field.to_le_bytes());
            }
            elf.extend(owner);
            elf.extend(vec![7; if kind == 3 { 8 } else { 4 }]);
        }
        elf
    }

    fn bz_image(payload: &[u8]) -> Vec<u8> {
        let mut image = vec![0; 1024 + 16];
        image[SETUP_SECTORS] = 1;
        image[MAGIC..MAGIC + 4].copy_from_slice(b"HdrS");
        image[PAYLOAD] = 16;
        image[PAYLOAD + 4..PAYLOAD + 8].copy_from_slice(&u32::try_from(payload.len()).unwrap().to_le_bytes());
        image.extend(payload);
        image.extend(b"what follows the payload");
        image
    }

    #[test]
    fn kernels_come_out_of_every_known_compression() {
        let kernel = elf(PVH_NOTE);
        let mut packed = zstd::encode_all(kernel.as_slice(), 3).unwrap();
        packed.extend(u32::try_from(kernel.len()).unwrap().to_le_bytes());
        let mut xz = Vec::new();
        liblzma::read::XzEncoder::new(kernel.as_slice(), 6).read_to_end(&mut xz).unwrap();
        xz.extend([0; 4]);
        for payload in [packed, xz, kernel.clone()] {
            assert_eq!(uncompressed(&bz_image(&payload)).unwrap(), kernel);
        }
    }

    #[test]
    fn a_kernel_without_pvh_and_other_files_are_told_apart() {
        assert!(matches!(uncompressed(&bz_image(&elf(17))), Err(KernelError::NoPvhEntry)));
        assert!(matches!(
            uncompressed(&bz_image(b"\x1f\x8b\x08\0gzip")),
            Err(KernelError::UnknownCompression(_))
        ));
        assert!(matches!(uncompressed(b"short"), Err(KernelError::NotABzImage)));
    }

    proptest! {
        #[test]
        fn damaged_files_are_errors_and_never_panics(cut in 0_usize..1300, at in 0_usize..1200, byte: u8) {
            let mut image = bz_image(&elf(PVH_NOTE));
            let at = at.min(image.len() - 1);
            image[at] = byte;
            image.truncate(cut);
            drop(uncompressed(&image));
        }
    }
}
