//! Files that appear whole or not at all.

use std::{io, io::Write, os::unix::fs::PermissionsExt, path::Path};

use tempfile::NamedTempFile;

/// Writes a file of mode 0600 beside `path` (created with `O_EXCL`), then renames it into place: a reader sees the
/// old file or the new one, and after a power loss too, never half of one.
pub(crate) fn write_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let private = std::fs::Permissions::from_mode(0o600);
    let mut file: NamedTempFile =
        tempfile::Builder::new().prefix(".new-").permissions(private).tempfile_in(folder)?;
    file.write_all(contents)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
