//! A finished image: what it is, where it lies, where it came from.
//!
//! `image.json` in a version's folder is written last, so a folder without one is no version. The format has a
//! number; a file with a higher one comes from a newer Winstead and is refused, not guessed at.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fs_err as fs;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use winstead_spec::{ByteSize, DirectKernel, DiskFormat, GuestOs, Name, SeedKind, Sha256};

use crate::digest;

/// The file that makes a folder a version.
pub(crate) const RECORD: &str = "image.json";
/// The format of [`RECORD`] that this release writes, and the highest that it reads.
const FORMAT: u32 = 2;
/// What built it.
pub(crate) const BUILDER: &str = concat!("winstead ", env!("CARGO_PKG_VERSION"));

/// One version of an image: immutable, told from others by what a machine starts from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Version {
    /// The image's name.
    pub name: Name,
    /// Of everything that a machine starts from: disk, kernel, initial RAM disk, command line.
    pub digest: Sha256,
    /// Of the disk file alone.
    pub disk_digest: Sha256,
    /// Of the recipe that made it; the same recipe is not built again.
    pub recipe: Sha256,
    /// The operating system inside.
    pub os: GuestOs,
    /// How it takes its identity.
    pub seed: SeedKind,
    /// Whether `winstead-agent` runs in it.
    #[serde(default)]
    pub agent: bool,
    /// The disk file's container.
    pub format: DiskFormat,
    /// The disk file, absolute.
    pub disk: PathBuf,
    /// The size that a guest sees.
    pub virtual_size: ByteSize,
    /// What a copy of the disk file takes where holes stay holes.
    pub stored_size: ByteSize,
    /// What the whole version takes from the file system, for people to read: one that compresses says less than a
    /// copy takes.
    pub size_on_disk: ByteSize,
    /// Started without a boot loader; absolute paths.
    pub kernel: Option<DirectKernel>,
    /// When.
    pub built_at: Timestamp,
    /// From what, with what.
    pub provenance: Provenance,
}

/// From what a version was made, and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// The source: suite and mirror, path or URL.
    pub source: String,
    /// Winstead's own version.
    pub builder: String,
    /// What each tool said its version was.
    pub tools: BTreeMap<String, String>,
    /// Of the list of packages with versions, for Debian; the list lies beside the disk as `packages`.
    pub packages: Option<Sha256>,
}

/// A version's file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read or written.
    #[error("use the image folder {path}")]
    Io {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is damaged.
    #[error("read {path}: it is not an image's description")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        source: serde_json::Error,
    },
    /// A newer Winstead wrote it.
    #[error("read {path}: its format {found} is newer than {FORMAT}, the highest that this Winstead knows")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
}

/// `image.json`. Paths are relative to its folder, so that a catalogue can be moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Record {
    pub(crate) format: u32,
    pub(crate) name: Name,
    pub(crate) recipe: Sha256,
    pub(crate) os: GuestOs,
    pub(crate) seed: SeedKind,
    /// Records of release 0.1 have none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) agent: bool,
    pub(crate) disk: String,
    pub(crate) disk_format: DiskFormat,
    pub(crate) virtual_size: ByteSize,
    /// See [`Version::stored_size`]; format 1 has none.
    #[serde(default)]
    pub(crate) stored_size: Option<ByteSize>,
    pub(crate) kernel: Option<DirectKernel>,
    /// Of every file that a machine starts from.
    pub(crate) digests: BTreeMap<String, Sha256>,
    pub(crate) built_at: Timestamp,
    pub(crate) provenance: Provenance,
}

/// Only the number, which every format has.
#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Record {
    pub(crate) const FORMAT: u32 = FORMAT;

    pub(crate) fn read(folder: &Path) -> Result<Self, RecordError> {
        let path = folder.join(RECORD);
        let text = fs::read(&path).map_err(|source| RecordError::Io { path: path.clone(), source })?;
        let damaged = |source| RecordError::Damaged { path: path.clone(), source };
        let Format { format: found } = serde_json::from_slice(&text).map_err(damaged)?;
        if found > FORMAT {
            return Err(RecordError::Newer { path, found });
        }
        serde_json::from_slice(&text).map_err(damaged)
    }

    /// Writes it whole or not at all.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), RecordError> {
        let path = folder.join(RECORD);
        let text = serde_json::to_vec_pretty(self)
            .map_err(|source| RecordError::Damaged { path: path.clone(), source })?;
        write_atomically(&path, &text).map_err(|source| RecordError::Io { path, source })
    }

    /// The version's digest. In format 1 it was the disk's alone, and its folder is called so.
    pub(crate) fn digest(&self, disk: &Sha256) -> Sha256 {
        if self.format == 1 {
            return disk.clone();
        }
        let command_line = self.kernel.as_ref().map(|kernel| &kernel.command_line);
        let mut whole = serde_json::json!([&self.digests, command_line, self.os, self.seed]);
        // A version without keeps the digest that it had before there were agents.
        if let (true, Some(parts)) = (self.agent, whole.as_array_mut()) {
            parts.push("agent".into());
        }
        digest::of_bytes(whole.to_string().as_bytes())
    }

    pub(crate) fn disk_digest(&self) -> io::Result<&Sha256> {
        let digest = self.digests.get(&self.disk);
        digest.ok_or_else(|| io::Error::other("the description has no digest of the disk"))
    }

    /// Never 0, which a tmpfs takes for "as much as there is". A copy takes at most the file's length.
    fn stored_size(&self, folder: &Path) -> io::Result<ByteSize> {
        let size = match self.stored_size {
            Some(size) => size,
            None => ByteSize::from_bytes(fs::metadata(folder.join(&self.disk))?.len()),
        };
        match size.bytes() {
            0 => Err(io::Error::other("the description says that the disk is empty")),
            _ => Ok(size),
        }
    }

    pub(crate) fn into_version(self, folder: &Path) -> Result<Version, RecordError> {
        let failed = |source| RecordError::Io { path: folder.to_owned(), source };
        let disk_digest = self.disk_digest().map_err(failed)?.clone();
        Ok(Version {
            digest: self.digest(&disk_digest),
            disk_digest,
            stored_size: self.stored_size(folder).map_err(failed)?,
            disk: folder.join(&self.disk),
            size_on_disk: blocks(folder).map_err(failed)?,
            kernel: self.kernel.map(|kernel| absolute(kernel, folder)),
            name: self.name,
            recipe: self.recipe,
            os: self.os,
            seed: self.seed,
            agent: self.agent,
            format: self.disk_format,
            virtual_size: self.virtual_size,
            built_at: self.built_at,
            provenance: self.provenance,
        })
    }
}

fn absolute(kernel: DirectKernel, folder: &Path) -> DirectKernel {
    DirectKernel {
        kernel: folder.join(kernel.kernel),
        initrd: kernel.initrd.map(|initrd| folder.join(initrd)),
        command_line: kernel.command_line,
    }
}

/// stat(2) counts blocks of 512 bytes, whatever the file system's own are.
fn blocks(folder: &Path) -> io::Result<ByteSize> {
    let mut total = 0;
    for entry in fs::read_dir(folder)? {
        total += entry?.metadata()?.blocks() * 512;
    }
    Ok(ByteSize::from_bytes(total))
}

/// A new file beside it, synced, then renamed over it. Its name is its own: two commands may verify at once.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut next = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(Path::new("/")))?;
    next.write_all(bytes)?;
    next.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    next.as_file().sync_all()?;
    next.persist(path).map(drop).map_err(|error| error.error)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What release 0.1 wrote. Never changed: a later release must read it.
    const FORMAT_1: &str = r#"{
        "format": 1, "name": "debian",
        "recipe": "sha256:1111111111111111111111111111111111111111111111111111111111111111",
        "os": "linux", "seed": "fw-cfg", "disk": "disk.qcow2", "diskFormat": "qcow2", "virtualSize": 4294967296,
        "kernel": {"kernel": "vmlinux", "initrd": "initrd", "commandLine": "root=LABEL=winstead-root"},
        "digests": {"disk.qcow2": "sha256:2222222222222222222222222222222222222222222222222222222222222222"},
        "builtAt": "2026-11-21T10:00:00Z",
        "provenance": {"source": "debian trixie", "builder": "winstead 0.1.0", "tools": {"mke2fs": "1.47.0"}, "packages": null}
    }"#;

    #[test]
    fn descriptions_of_release_0_1_are_read() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(RECORD), FORMAT_1).unwrap();
        fs::write(folder.path().join("disk.qcow2"), [1; 5000]).unwrap();
        let version = Record::read(folder.path()).unwrap().into_version(folder.path()).unwrap();
        assert_eq!((version.name.as_str(), version.digest.short()), ("debian", "222222222222"));
        assert_eq!(version.disk, folder.path().join("disk.qcow2"));
        assert_eq!(version.kernel.unwrap().initrd, Some(folder.path().join("initrd")));
        assert!(version.size_on_disk.bytes() > 0);
        assert_eq!((version.stored_size.bytes(), version.disk_digest), (5000, version.digest));
    }

    #[test]
    fn a_version_is_told_by_everything_that_a_machine_starts_from() {
        let record = Record { format: FORMAT, ..serde_json::from_str(FORMAT_1).unwrap() };
        let digest = |record: &Record| record.digest(record.disk_digest().unwrap());
        let mut kernel = record.clone();
        kernel.digests.insert("vmlinux".into(), digest::of_bytes(b"another kernel"));
        let mut command_line = record.clone();
        command_line.kernel.as_mut().unwrap().command_line.push_str(" debug");
        let seed = Record { seed: SeedKind::NoCloud, ..record.clone() };
        for other in [kernel, command_line, seed] {
            assert_ne!(digest(&other), digest(&record), "{other:?}");
        }
        let again =
            Record { recipe: digest::of_bytes(b"x"), built_at: Timestamp::UNIX_EPOCH, ..record.clone() };
        assert_eq!(digest(&again), digest(&record));
    }

    #[test]
    fn a_disk_that_takes_nothing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let record: Record = serde_json::from_str(FORMAT_1).unwrap();
        let empty = Record { stored_size: Some(ByteSize::from_bytes(0)), ..record };
        assert!(empty.into_version(folder.path()).is_err());
    }

    #[test]
    fn newer_and_damaged_descriptions_are_refused_with_their_path() {
        let folder = tempfile::tempdir().unwrap();
        for (text, expected) in
            [(r#"{"format": 3, "later": 1}"#, "its format 3 is newer than 2"), ("{", "it is not an image")]
        {
            fs::write(folder.path().join(RECORD), text).unwrap();
            let error = Record::read(folder.path()).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("image.json"), "{error}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let record: Record = serde_json::from_str(FORMAT_1).unwrap();
        record.write(folder.path()).unwrap();
        assert_eq!(Record::read(folder.path()).unwrap(), record);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
