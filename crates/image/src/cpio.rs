//! A cpio archive in the `newc` format, the one that Linux unpacks as its initial RAM disk. Written, never read.
//!
//! Format: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// One member of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its path, without a slash in front.
    pub(crate) path: String,
    /// What it is.
    pub(crate) kind: Kind,
}

/// What a member is. Everything belongs to root and is dated 1970, so that the same input gives the same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A folder, mode 0755.
    Folder,
    /// A program, mode 0755.
    Program(Vec<u8>),
    /// A file that is only read, mode 0644.
    File(Vec<u8>),
    /// A symbolic link to the given path.
    Link(String),
    /// A character device, mode 0600: major and minor number.
    Device(u32, u32),
}

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DEVICE: u32 = 0o020_600;

impl Kind {
    fn mode(&self) -> u32 {
        match self {
            Self::Folder => FOLDER,
            Self::Program(_) => PROGRAM,
            Self::File(_) => FILE,
            Self::Link(_) => LINK,
            Self::Device(..) => DEVICE,
        }
    }

    fn contents(&self) -> &[u8] {
        match self {
            Self::Program(bytes) | Self::File(bytes) => bytes,
            Self::Link(target) => target.as_bytes(),
            Self::Folder | Self::Device(..) => &[],
        }
    }

    fn device(&self) -> (u32, u32) {
        match self {
            Self::Device(major, minor) => (*major, *minor),
            _ => (0, 0),
        }
    }
}

/// The archive of `members`, in their order: a folder must stand before what is in it.
#[must_use]
pub(crate) fn archive(members: &[Member]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (index, member) in members.iter().enumerate() {
        append(&mut bytes, index + 1, &member.path, &member.kind);
    }
    append(&mut bytes, 0, "TRAILER!!!", &Kind::File(Vec::new()));
    bytes
}

fn append(bytes: &mut Vec<u8>, inode: usize, path: &str, kind: &Kind) {
    let contents = kind.contents();
    let (major, minor) = kind.device();
    let links = if matches!(kind, Kind::Folder) { 2 } else { 1 };
    // Magic, then 13 fields of 8 hexadecimal digits: inode, mode, uid, gid, links, mtime, size, the file system's
    // device, the device itself, the length of the name with its NUL, and a checksum that `newc` leaves 0.
    let header = format!(
        "070701{inode:08X}{mode:08X}{zero:08X}{zero:08X}{links:08X}{zero:08X}{size:08X}{zero:08X}{zero:08X}\
         {major:08X}{minor:08X}{name:08X}{zero:08X}",
        mode = kind.mode(),
        size = contents.len(),
        name = path.len() + 1,
        zero = 0,
    );
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend_from_slice(contents);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;
    use winstead_process::Command;

    use super::*;

    #[tokio::test]
    async fn cpio_lists_what_was_packed() {
        let member = |path: &str, kind| Member { path: path.into(), kind };
        let bytes = archive(&[
            member("bin", Kind::Folder),
            member("bin/busybox", Kind::Program(vec![1, 2, 3])),
            member("bin/sh", Kind::Link("busybox".into())),
            member("etc-modules", Kind::File(b"odd".to_vec())),
            member("console", Kind::Device(5, 1)),
        ]);
        assert_eq!(bytes.len() % 4, 0);
        let list = Command::new("cpio")
            .args(["-t", "-v", "--numeric-uid-gid", "--quiet"])
            .input(bytes)
            .env("TZ", "UTC");
        let text = list.run(&CancellationToken::new()).await.unwrap().text();
        let short: Vec<String> =
            text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        insta::assert_snapshot!(short.join("\n"), @r"
        drwxr-xr-x 2 0 0 0 Jan 1 1970 bin
        -rwxr-xr-x 1 0 0 3 Jan 1 1970 bin/busybox
        lrwxrwxrwx 1 0 0 7 Jan 1 1970 bin/sh -> busybox
        -rw-r--r-- 1 0 0 3 Jan 1 1970 etc-modules
        crw------- 1 0 0 5, 1 Jan 1 1970 console
        ");
    }
}
