//! An archive of small files, as a build unpacks its sources: made once before anything is measured, read from its
//! start to its end.
//!
//! Names in it are only data. What is unpacked goes where the caller says, and nothing but regular files does.

#![expect(
    clippy::disallowed_methods,
    reason = "errors are counted by what they say; with its path in it each would be one of its own"
)]

use std::{
    fs::{File, OpenOptions},
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use tar::{Archive, Builder, Entries, EntryType, Header};

/// What is read of an archive at once.
const PIECE: usize = 128 << 10;

/// A tar archive in a file.
#[derive(Clone)]
pub(crate) struct Packed(PathBuf);

impl Packed {
    /// Writes an archive to `path` and onto the disk; `next` fills the buffer with a file's data and answers its
    /// path in the archive and its length, until there is no more.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn make(
        path: PathBuf,
        buffer: &mut [u8],
        mut next: impl FnMut(&mut [u8]) -> Option<(PathBuf, usize)>,
    ) -> io::Result<Self> {
        let mut archive = Builder::new(BufWriter::with_capacity(PIECE, File::create(&path)?));
        while let Some((name, length)) = next(buffer) {
            let mut header = Header::new_gnu();
            header.set_size(length as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, &buffer[..length])?;
        }
        archive.into_inner()?.into_inner()?.sync_all()?;
        Ok(Self(path))
    }

    /// The archive, to be read from its start.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn open(&self) -> io::Result<Archive<BufReader<File>>> {
        Ok(Archive::new(BufReader::with_capacity(PIECE, File::open(&self.0)?)))
    }
}

/// Reads the next file of an archive and writes it to `path`, where there must be none; the file, still open, and
/// its length.
///
/// # Errors
/// As the system has them; when the archive has no further file, or something else than a file, or a file that is
/// larger than `buffer`.
pub(crate) fn unpack_next(
    entries: &mut Entries<'_, BufReader<File>>,
    path: &Path,
    buffer: &mut [u8],
) -> io::Result<(File, u64)> {
    let mut entry = entries.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let length = entry.size();
    let data = usize::try_from(length).ok().and_then(|length| buffer.get_mut(..length));
    let data = data.filter(|_| entry.header().entry_type() == EntryType::Regular);
    let data = data.ok_or(io::ErrorKind::InvalidData)?;
    entry.read_exact(data)?;
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(data)?;
    Ok((file, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(folder: &Path, lengths: &[usize]) -> Packed {
        let mut left = lengths.iter().zip(0u8..);
        Packed::make(folder.join("archive.tar"), &mut [0; 4096], |buffer| {
            let (length, number) = left.next()?;
            buffer[..*length].fill(number);
            Some((PathBuf::from(format!("some/file-{number}")), *length))
        })
        .expect("an archive")
    }

    #[test]
    fn what_was_packed_comes_out_where_it_is_wanted() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut archive = packed(folder.path(), &[0, 1, 512, 4096]).open().expect("an archive");
        let (mut entries, mut buffer) = (archive.entries().expect("entries"), [9; 4096]);
        for (length, number) in [0, 1, 512, 4096].into_iter().zip(0u8..) {
            let path = folder.path().join(number.to_string());
            let (_, bytes) = unpack_next(&mut entries, &path, &mut buffer).expect("a file");
            assert_eq!(bytes, length as u64);
            assert_eq!(fs_err::read(&path).expect("a file"), vec![number; length]);
        }
        let end = unpack_next(&mut entries, &folder.path().join("more"), &mut buffer).expect_err("the end");
        assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!folder.path().join("more").exists() && !folder.path().join("some").exists());
    }

    #[test]
    fn what_is_no_file_or_too_large_is_refused_and_nothing_is_made() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut archive = packed(folder.path(), &[100]).open().expect("an archive");
        let path = folder.path().join("out");
        let mut entries = archive.entries().expect("entries");
        let large = unpack_next(&mut entries, &path, &mut [0; 99]).expect_err("too large");
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        let mut builder = Builder::new(Vec::new());
        builder.append_link(&mut link, "link", "/etc/passwd").expect("a link");
        let other = folder.path().join("other.tar");
        fs_err::write(&other, builder.into_inner().expect("bytes")).expect("a file");
        let mut archive = Packed(other).open().expect("an archive");
        let link =
            unpack_next(&mut archive.entries().expect("entries"), &path, &mut [0; 99]).expect_err("a link");
        assert_eq!([large.kind(), link.kind()], [io::ErrorKind::InvalidData; 2]);
        assert!(!path.exists());
    }
}
