//! RAM copies of bases: hashed while copied, finished or not there.

use std::{
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::Digest;
use tokio_util::sync::CancellationToken;
use winstead_spec::{ByteSize, Sha256};

use crate::{
    area::{Area, Placement, Shape},
    error::{StoreError, io_at},
    probe::Features,
};

const TAG: &str = "winstead:base";
const CHUNK: usize = 1 << 20;
/// Zeros of this length become holes: a page, the unit in which tmpfs gives memory.
const PAGE: usize = 4096;

/// Where a base's copy lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BaseLocation {
    /// What kind of place.
    pub placement: Placement,
    /// `bases/DIGEST12`.
    pub folder: PathBuf,
    /// What the copy may take: the source's length, or its allocated size plus nothing (holes stay holes).
    pub size: ByteSize,
}

impl BaseLocation {
    fn name(&self) -> String {
        format!("base-{}", self.folder.file_name().unwrap_or_default().to_string_lossy())
    }
}

/// Copies `source` and returns the copy's path (named like the source, 0444, its tmpfs read-only). A finished copy is
/// not read again.
///
/// # Errors
/// When the content is not `expected`, there is no room, the place is foreign, or `stop` was cancelled; then the place
/// has been taken away again.
pub async fn place_base(
    source: &Path,
    target: &BaseLocation,
    expected: &Sha256,
    features: &Features,
    stop: &CancellationToken,
) -> Result<PathBuf, StoreError> {
    let name = target.name();
    let area = Area { placement: &target.placement, path: &target.folder, tag: TAG, name: &name };
    let copy = copy_of(source, target);
    if has_base(source, target)? {
        // Whoever made it may have been killed just before this.
        area.seal()?;
        return Ok(copy);
    }
    area.take_away().await?;
    // Huge pages would gain a quarter on a full read, at 2 MiB steps of memory; never is the measured choice of overlays.
    let shape = Shape { size: target.size, mode: 0o711, owner: None, features };
    let placed = fill(&area, &shape, source, (&copy, expected), stop).await;
    if let Err(error) = placed {
        if let Err(left) = area.take_away().await {
            tracing::warn!(%left, "an unfinished base stays; it never counts as present");
        }
        return Err(error);
    }
    Ok(copy)
}

/// Whether a finished copy of `source` is there.
///
/// # Errors
/// When the place is foreign.
pub fn has_base(source: &Path, target: &BaseLocation) -> Result<bool, StoreError> {
    let name = target.name();
    let area = Area { placement: &target.placement, path: &target.folder, tag: TAG, name: &name };
    Ok(area.is_ours()? && copy_of(source, target).is_file())
}

/// The copy, finished or not, whose own mount is at `folder`, by what the mount itself says: for whoever lost the record
/// of it. `None` when no mount of that kind is there.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn mounted_base(folder: &Path) -> Result<Option<BaseLocation>, StoreError> {
    let found = BaseLocation {
        placement: Placement::OwnTmpfs,
        folder: folder.to_path_buf(),
        size: ByteSize::default(),
    };
    let name = found.name();
    let area = Area { placement: &found.placement, path: &found.folder, tag: TAG, name: &name };
    match area.is_ours() {
        Ok(ours) => Ok(ours.then_some(found)),
        Err(StoreError::Foreign { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a copy uses, finished or not; `None` when nothing of ours is there.
#[must_use]
pub fn base_usage(target: &BaseLocation) -> Option<ByteSize> {
    let name = target.name();
    let area = Area { placement: &target.placement, path: &target.folder, tag: TAG, name: &name };
    area.is_ours().ok().filter(|ours| *ours)?;
    let files = fs_err::read_dir(&target.folder).ok()?.flatten().filter_map(|file| file.metadata().ok());
    // st_blocks counts 512 bytes on every Linux file system (stat(2)).
    Some(ByteSize::from_bytes(files.map(|file| file.blocks() * 512).sum()))
}

fn copy_of(source: &Path, target: &BaseLocation) -> PathBuf {
    target.folder.join(source.file_name().unwrap_or_else(|| "disk".as_ref()))
}

async fn fill(
    area: &Area<'_>,
    shape: &Shape<'_>,
    source: &Path,
    (copy, expected): (&Path, &Sha256),
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    area.make(shape)?;
    let partial = copy.with_extension("partial");
    let job = (source.to_path_buf(), partial.clone(), stop.clone(), shape.size);
    let copied = tokio::task::spawn_blocking(move || copy_hashed(&job.0, &job.1, job.3, &job.2)).await;
    let found = copied.map_err(|error| io_at("copy", source)(std::io::Error::other(error)))??;
    if found != *expected {
        return Err(StoreError::WrongDigest {
            path: source.to_path_buf(),
            expected: expected.clone(),
            found,
        });
    }
    let read_only = std::fs::Permissions::from_mode(0o444);
    fs_err::set_permissions(&partial, read_only).map_err(io_at("set the mode of", &partial))?;
    fs_err::rename(&partial, copy).map_err(io_at("finish", copy))?;
    area.seal()
}

fn copy_hashed(
    from: &Path,
    to: &Path,
    cap: ByteSize,
    stop: &CancellationToken,
) -> Result<Sha256, StoreError> {
    let mut source = fs_err::File::open(from).map_err(io_at("read", from))?;
    let mut target = fs_err::File::create(to).map_err(io_at("create", to))?;
    let mut digest = sha2::Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut length = 0_u64;
    loop {
        if stop.is_cancelled() {
            return Err(StoreError::Interrupted { path: to.to_path_buf() });
        }
        let count = source.read(&mut chunk).map_err(io_at("read", from))?;
        if count == 0 {
            break;
        }
        digest.update(&chunk[..count]);
        write_sparse(&mut target, &chunk[..count]).map_err(|error| write_error(error, to, cap))?;
        length += count as u64;
    }
    target.set_len(length).map_err(io_at("finish", to))?;
    let bytes: [u8; 32] = digest.finalize().into();
    Ok(Sha256::from(bytes))
}

fn write_error(error: std::io::Error, to: &Path, cap: ByteSize) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::NoSpace { path: to.to_path_buf(), cap },
        _ => io_at("write", to)(error),
    }
}

fn write_sparse(target: &mut fs_err::File, bytes: &[u8]) -> std::io::Result<()> {
    for page in bytes.chunks(PAGE) {
        if page.iter().all(|byte| *byte == 0) {
            target.seek(SeekFrom::Current(i64::try_from(page.len()).map_err(std::io::Error::other)?))?;
        } else {
            target.write_all(page)?;
        }
    }
    Ok(())
}

/// Takes a copy away; gone already is fine.
///
/// # Errors
/// When a machine still uses it, or the place is foreign.
pub async fn remove_base(target: &BaseLocation) -> Result<(), StoreError> {
    let name = target.name();
    Area { placement: &target.placement, path: &target.folder, tag: TAG, name: &name }.take_away().await
}
