//! Reading `/proc/self/mountinfo` (`proc_pid_mountinfo(5)`).

use std::{
    collections::HashMap,
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use crate::error::{StoreError, io_at};

/// One mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is seen.
    pub point: PathBuf,
    /// Its type, such as `tmpfs`.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// The file system's own options, such as `rw,size=4k,noswap`.
    pub options: String,
}

impl Mount {
    /// Whether the file system has this option.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.options.split(',').any(|one| one == option)
    }
}

/// All that is mounted, read once for many questions.
#[derive(Clone, Debug, Default)]
pub struct Mounts(HashMap<PathBuf, Mount>);

impl Mounts {
    /// What is mounted now.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn read() -> Result<Self, StoreError> {
        let table = Path::new("/proc/self/mountinfo");
        Ok(Self::of(&fs_err::read(table).map_err(io_at("read", table))?))
    }

    /// What a `mountinfo` says.
    #[must_use]
    pub fn of(mountinfo: &[u8]) -> Self {
        // The last one listed at a point is the one that is seen there: later mounts cover earlier ones.
        Self(parse(mountinfo).into_iter().map(|mount| (mount.point.clone(), mount)).collect())
    }

    /// All of them, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Mount> {
        self.0.values()
    }

    /// The mount that a folder is in: the deepest above it. Links in its path are not followed.
    #[must_use]
    pub fn above(&self, folder: &Path) -> Option<&Mount> {
        folder.ancestors().find_map(|point| self.0.get(point))
    }

    /// The mount that one sees at `point`.
    pub(crate) fn at(&self, point: &Path) -> Option<&Mount> {
        self.0.get(&resolved(point))
    }
}

/// The kernel lists real paths: the parent's links are followed, the last part (the mount point) is taken as it is.
fn resolved(point: &Path) -> PathBuf {
    let parent = point.parent().and_then(|parent| fs_err::canonicalize(parent).ok());
    match (parent, point.file_name()) {
        (Some(parent), Some(name)) => parent.join(name),
        _ => point.to_path_buf(),
    }
}

/// All mounts in the text; lines that do not read as one are passed over. A mount point whose folder was deleted ends in
/// `//deleted` there and so never equals a path of ours.
pub(crate) fn parse(text: &[u8]) -> Vec<Mount> {
    text.split(|byte| *byte == b'\n').filter_map(parse_line).collect()
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let dash = fields.iter().skip(6).position(|field| *field == b"-")? + 6;
    Some(Mount {
        point: PathBuf::from(OsString::from_vec(unescape(fields.get(4)?))),
        kind: String::from_utf8_lossy(fields.get(dash + 1)?).into_owned(),
        source: String::from_utf8_lossy(&unescape(fields.get(dash + 2)?)).into_owned(),
        options: String::from_utf8_lossy(fields.get(dash + 3)?).into_owned(),
    })
}

/// Undoes the kernel's `\040` for space, tab, line feed and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) = (first, tail) {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = after;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

/// The tag of a mount that Winstead made at exactly this path; `None` when there is none.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn tag_at(path: &Path) -> Result<Option<String>, StoreError> {
    let mounts = Mounts::read()?;
    let source = mounts.at(path).map(|mount| mount.source.clone());
    Ok(source.filter(|source| source.starts_with("winstead:")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_optional_fields_are_read() {
        let text =
            b"36 35 98:0 / /a\\040b rw,noatime shared:1 master:2 - tmpfs winstead:0a1b2c3d rw,size=4k\n\
                     37 35 0:3 / /gone//deleted rw - tmpfs x rw\ngarbage\n1 2 3 4 5 6 -\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].point, Path::new("/a b"));
        assert_eq!((mounts[0].kind.as_str(), mounts[0].source.as_str()), ("tmpfs", "winstead:0a1b2c3d"));
        assert_eq!(mounts[0].options, "rw,size=4k");
        assert_eq!(mounts[1].point, Path::new("/gone//deleted"));
    }

    #[test]
    fn the_deepest_mount_above_a_folder_is_its_own() {
        let text = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,data=ordered
23 22 0:21 / /dev/shm rw,nosuid - tmpfs tmpfs rw,size=24G
24 22 0:30 / /mnt/a\\040b ro - btrfs /dev/vdb ro,ssd";
        let mounts = Mounts::of(text);
        let at = |folder: &str| mounts.above(Path::new(folder)).map(|mount| mount.kind.as_str());
        assert_eq!(at("/home/x"), Some("ext4"));
        assert_eq!(at("/dev/shm/x"), Some("tmpfs"));
        assert_eq!(at("/mnt/a b/c"), Some("btrfs"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(text: Vec<u8>) {
            parse(&text);
        }
    }
}
