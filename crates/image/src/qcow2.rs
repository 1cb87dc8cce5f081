//! The header of a qcow2 file, as far as it names other files (QEMU's `docs/interop/qcow2.rst`).
//!
//! Nothing here judges whether the file is a good one: that is qemu-img's business, after it names no other.

/// As many first bytes of a file as hold its header and the names in it.
pub(crate) const HEAD: u64 = 64 * 1024;

const MAGIC: &[u8] = b"QFI\xfb";
/// Incompatible feature, bit 2: the guest's data are in another file.
const EXTERNAL_DATA: u64 = 1 << 2;
/// The header extension that names this other file.
const DATA_FILE_NAME: u64 = 0x4441_5441;

/// The name of the file that a disk refers to, by its first bytes; `None` when there is none, or it is no qcow2 file.
/// Empty when the name is not where it should be.
pub(crate) fn reference(head: &[u8]) -> Option<String> {
    if !head.starts_with(MAGIC) {
        return None;
    }
    let backing = number(head, 8, 8);
    if backing != 0 {
        return Some(text(head, backing, number(head, 16, 4)));
    }
    // Version 2 has no features.
    let features = if number(head, 4, 4) >= 3 { number(head, 72, 8) } else { 0 };
    (features & EXTERNAL_DATA != 0).then(|| data_file(head))
}

/// Looks through the header extensions: type, length, content; each begins at a multiple of 8, the last has type 0.
fn data_file(head: &[u8]) -> String {
    let mut at = number(head, 100, 4);
    loop {
        let (kind, length) = (number(head, at, 4), number(head, at + 4, 4));
        match kind {
            // Also what is behind the end.
            0 => return String::new(),
            DATA_FILE_NAME => return text(head, at + 8, length),
            _ => at += 8 + length.next_multiple_of(8),
        }
    }
}

fn text(head: &[u8], at: u64, length: u64) -> String {
    let bytes: Vec<u8> = (at..at.saturating_add(length)).map_while(|at| byte(head, at)).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Big-endian; what is behind the end counts as zeros, as QEMU reads it.
fn number(head: &[u8], at: u64, length: u64) -> u64 {
    (at..at + length).fold(0, |number, at| (number << 8) | u64::from(byte(head, at).unwrap_or_default()))
}

fn byte(head: &[u8], at: u64) -> Option<u8> {
    head.get(usize::try_from(at).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A header of `version` in which these bytes are set.
    fn header(version: u8, set: &[(usize, &[u8])]) -> Vec<u8> {
        let mut head = vec![0; 512];
        head[..4].copy_from_slice(MAGIC);
        head[7] = version;
        // Of the header itself.
        head[103] = 104;
        for (at, bytes) in set {
            head[*at..*at + bytes.len()].copy_from_slice(bytes);
        }
        head
    }

    fn said(version: u8, set: &[(usize, &[u8])]) -> Option<String> {
        reference(&header(version, set))
    }

    #[test]
    fn backing_and_data_files_are_found_by_their_names() {
        for version in [2, 3] {
            assert_eq!(said(version, &[]), None);
            let backing: [(usize, &[u8]); 3] = [(14, &[1, 0]), (19, &[6]), (256, b"secret")];
            assert_eq!(said(version, &backing).as_deref(), Some("secret"));
        }
        let data: [(usize, &[u8]); 3] =
            [(79, &[0b101]), (104, b"\xe2\x79\x2a\xca\0\0\0\x03raw\0\0\0\0\0"), (120, b"DATA\0\0\0\x03img")];
        assert_eq!(said(3, &data).as_deref(), Some("img"));
        assert_eq!(said(2, &data), None, "version 2 has no features");
        assert_eq!(said(3, &[(79, &[0b1011])]), None, "the other features name no file");
    }

    #[test]
    fn a_reference_whose_name_is_not_there_is_one_all_the_same() {
        assert_eq!(said(3, &[(8, &[0xff; 12])]).as_deref(), Some(""));
        assert_eq!(said(3, &[(79, &[4])]).as_deref(), Some(""));
        assert_eq!(said(3, &[(79, &[4]), (100, &[0xff; 12])]).as_deref(), Some(""));
        assert_eq!(reference(&header(3, &[(14, &[1, 0])])[..16]).as_deref(), Some(""));
    }

    #[test]
    fn what_is_no_qcow2_file_refers_to_nothing() {
        for head in [&b""[..], b"QFI", b"QFI\xfb", b"KDMV\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff"] {
            assert_eq!(reference(head), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_behind_the_magic_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            _ = reference(&[MAGIC, &bytes].concat());
        }
    }
}
