//! Log files in folders that somebody else may write to, as each machine's user may in its own.
//!
//! A link there leads to another's file, a named pipe blocks whoever opens it, and a guest that talks without end
//! fills the disk. So every log is opened here, is judged by its descriptor, and is read and kept within limits.

use std::{
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::Path,
};

use rustix::fs::{Mode, OFlags};

/// How long a log may grow before it is cut. A kernel's whole start is 64 KiB.
const LIMIT: u64 = 16 * 1024 * 1024;
/// How much of its end is read for last words.
const WINDOW: u64 = 64 * 1024;

/// Opens a log for reading. Never blocks, follows no link.
///
/// # Errors
/// When it is missing, may not be read, or is no regular file of one name.
pub fn open_log(path: &Path) -> io::Result<File> {
    open(path, OFlags::RDONLY)
}

/// Opens a log for appending; makes it, readable by its owner only, if it is missing. Never blocks, follows no link.
///
/// # Errors
/// As [`open_log`].
pub fn append_log(path: &Path) -> io::Result<File> {
    open(path, OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE)
}

/// Empties a log that is longer than 16 MiB; one that is missing is fine. Whoever writes it must have opened it for
/// appending: then it goes on at the new end. Cheap enough for several times a second.
///
/// # Errors
/// As [`open_log`].
pub fn cut_log(path: &Path) -> io::Result<()> {
    let file = match open(path, OFlags::WRONLY) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if file.metadata()?.len() > LIMIT {
        tracing::info!(log = %path.display(), "longer than {LIMIT} bytes; emptied");
        file.set_len(0)?;
    }
    Ok(())
}

/// What was said into a log since it was `from` bytes long: the last `lines` lines that are not blank, in one line.
/// Looks at the last 64 KiB only; a log that cannot be read has said nothing.
#[must_use]
pub fn last_words(path: &Path, from: u64, lines: usize) -> String {
    last_lines(&end_of(path, from).unwrap_or_default(), lines)
}

fn end_of(path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let mut file = open_log(path)?;
    let begin = from.max(file.metadata()?.len().saturating_sub(WINDOW));
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The last lines of a text's last 64 KiB that are not blank, in one line.
pub(crate) fn last_lines(bytes: &[u8], lines: usize) -> String {
    let window = usize::try_from(WINDOW).unwrap_or(usize::MAX);
    let bytes = &bytes[bytes.len().saturating_sub(window)..];
    let text = String::from_utf8_lossy(bytes);
    let said: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    said[said.len().saturating_sub(lines)..].join(" / ")
}

fn open(path: &Path, flags: OFlags) -> io::Result<File> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let careful = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = rustix::fs::open(path, flags | careful, Mode::RUSR | Mode::WUSR);
    let file = File::from(opened.map_err(|error| named(error.into()))?);
    let found = file.metadata().map_err(named)?;
    // A second name may be that of a file which nobody meant to be a log.
    if !found.is_file() || found.nlink() > 1 {
        return Err(named(io::Error::new(ErrorKind::InvalidData, "it is no regular file of one name")));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A folder with a link, a named pipe and a file of two names in place of a log.
    fn traps() -> (tempfile::TempDir, Vec<std::path::PathBuf>) {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs_err::write(at("other"), "x".repeat(40)).unwrap();
        fs_err::os::unix::fs::symlink(at("other"), at("link")).unwrap();
        fs_err::hard_link(at("other"), at("second name")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            at("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        let paths = ["link", "second name", "pipe"].map(at).to_vec();
        (folder, paths)
    }

    #[test]
    fn links_and_pipes_are_refused_and_block_nobody() {
        let (_folder, paths) = traps();
        for path in &paths {
            assert!(open_log(path).is_err(), "{}", path.display());
            assert!(append_log(path).is_err(), "{}", path.display());
            assert!(cut_log(path).is_err(), "{}", path.display());
            assert_eq!(last_words(path, 0, 6), "");
        }
    }

    #[test]
    fn a_log_that_is_too_long_is_emptied_and_goes_on_at_its_new_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.log");
        cut_log(&path).unwrap();
        let mut log = append_log(&path).unwrap();
        log.write_all(b"short\n").unwrap();
        cut_log(&path).unwrap();
        assert_eq!(last_words(&path, 0, 6), "short");
        log.set_len(LIMIT + 1).unwrap();
        cut_log(&path).unwrap();
        log.write_all(b"next\n").unwrap();
        assert_eq!(fs_err::read(&path).unwrap(), b"next\n");
    }

    #[test]
    fn only_the_last_lines_since_then_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qemu.log");
        assert_eq!(last_words(&path, 0, 6), "");
        fs_err::write(&path, "old\nnew\n\n newer \n").unwrap();
        assert_eq!(last_words(&path, 4, 6), "new / newer");
        assert_eq!(last_words(&path, 0, 1), "newer");
        assert_eq!(last_words(&path, 400, 6), "");
        fs_err::write(&path, "word\n".repeat(1 << 20)).unwrap();
        assert_eq!(end_of(&path, 0).unwrap().len(), 64 * 1024);
    }
}
