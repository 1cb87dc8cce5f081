//! The catalogue: `images/NAME/DIGEST12/`, one folder for each version.

use std::{
    collections::BTreeMap,
    io,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::{Path, PathBuf},
};

use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::try_lock;
use winstead_spec::{ByteSize, Image, Name, Recipe, Sha256};

use crate::{
    build::{self, BuildProgress, Building, Listener, Produced},
    convert, debian, digest,
    error::{BuildError, Fault, Need},
    recipe,
    verify::{self, Signatures},
    version::{RECORD, Record, RecordError, Version},
};

/// A version's folder, by its name, and what its description says.
type Described = (String, Result<Version, RecordError>);

/// Held, in an image's folder, by whoever makes or removes a version of it.
const LOCK: &str = ".lock";

/// Which version a build is content with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// One that the recipe made before.
    Any,
    /// A new one.
    New,
}

/// All images of one home.
#[derive(Clone, Debug)]
pub struct Catalog {
    folder: PathBuf,
    cache: PathBuf,
    artifacts: Option<PathBuf>,
    /// Where our own programs are.
    programs: Option<PathBuf>,
}

impl Catalog {
    /// The catalogue in `folder`; `cache` takes downloads, and `artifacts` is looked at before any network. Nothing is
    /// read or made yet.
    #[must_use]
    pub fn open(folder: &Path, cache: &Path, artifacts: Option<&Path>) -> Self {
        let artifacts = artifacts.map(Path::to_owned);
        Self { folder: folder.to_owned(), cache: cache.to_owned(), artifacts, programs: None }
    }

    /// The same, which looks for `winstead-agent` in the folder `programs` too, after the artefacts.
    #[must_use]
    pub fn with_programs(self, programs: Option<&Path>) -> Self {
        Self { programs: programs.map(Path::to_owned), ..self }
    }

    /// The newest version that this very recipe made: a cache hit. Takes milliseconds, content is not checked.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn find(&self, image: &Image) -> Result<Option<Version>, RecordError> {
        let Some(recipe) = recipe::digest_of(image) else { return Ok(None) };
        Ok(self.versions(&image.name)?.into_iter().find(|version| version.recipe == recipe))
    }

    /// The newest version of an image, whatever recipe made it.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn latest(&self, name: &Name) -> Result<Option<Version>, RecordError> {
        Ok(self.versions(name)?.into_iter().next())
    }

    /// All versions of all images, by name, newest first.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn list(&self) -> Result<Vec<Version>, RecordError> {
        let mut all = Vec::new();
        for name in self.names()? {
            all.extend(self.versions(&name)?);
        }
        Ok(all)
    }

    /// Makes the image, or returns the version that this recipe made before.
    ///
    /// Two builds of one image at once: the second waits and takes the first's result. A build that fails, or whose
    /// `stop` is cancelled, leaves nothing.
    ///
    /// # Errors
    /// See [`Fault`].
    ///
    /// Cancel safety: cancel `stop`. Dropping the future leaves a folder that the next build removes.
    pub async fn build(
        &self,
        image: &Image,
        progress: Listener<'_>,
        stop: &CancellationToken,
    ) -> Result<Version, BuildError> {
        let built = match self.find(image) {
            Ok(None) => self.build_once(image, Wanted::Any, progress, stop).await,
            Ok(Some(version)) => Ok(version),
            Err(error) => Err(error.into()),
        };
        built.map_err(|fault| self.failed(image, fault))
    }

    /// Makes the image also when this recipe made it before: for newer packages. The newest version counts from then
    /// on; the others stay.
    ///
    /// # Errors
    /// As [`Catalog::build`], which see also for cancel safety.
    pub async fn build_fresh(
        &self,
        image: &Image,
        progress: Listener<'_>,
        stop: &CancellationToken,
    ) -> Result<Version, BuildError> {
        let built = self.build_once(image, Wanted::New, progress, stop).await;
        built.map_err(|fault| self.failed(image, fault))
    }

    /// Compares a version's files with their digests.
    ///
    /// # Errors
    /// When a file is missing, unreadable or not what was built.
    pub async fn verify(
        &self,
        version: &Version,
        depth: verify::Depth,
        stop: &CancellationToken,
    ) -> Result<(), verify::VerifyError> {
        verify::version(version, depth, stop).await
    }

    /// Removes the version whose folder is called `digits`, damaged or not, and what dead builds of the image left; gone
    /// already is fine. Waits for a build of the image. Who uses it is the caller's question.
    ///
    /// # Errors
    /// When its folder cannot be removed; [`Fault::Interrupted`].
    pub async fn remove(
        &self,
        name: &Name,
        digits: &str,
        progress: Listener<'_>,
        stop: &CancellationToken,
    ) -> Result<(), Fault> {
        let parent = self.folder.join(name.as_str());
        if !parent.is_dir() {
            return Ok(());
        }
        let _lock = locked(&parent, progress, stop).await?;
        build::remove_dead(&parent, stop).await?;
        Ok(remove_folder(&parent.join(digits))?)
    }

    /// Removes what dead builds left, of all images that nobody builds now, and returns the removed folders.
    ///
    /// # Errors
    /// When a folder cannot be removed, or a process in it does not end.
    pub async fn sweep(&self, stop: &CancellationToken) -> Result<Vec<PathBuf>, Fault> {
        let mut removed = Vec::new();
        for name in self.names()? {
            let parent = self.folder.join(name.as_str());
            if let Some(_lock) = try_lock(&parent.join(LOCK))? {
                removed.extend(build::remove_dead(&parent, stop).await?);
            }
        }
        Ok(removed)
    }

    /// The names of all images.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn names(&self) -> Result<Vec<Name>, RecordError> {
        let mut names: Vec<Name> =
            subfolders(&self.folder)?.iter().filter_map(|name| name.parse().ok()).collect();
        names.sort();
        Ok(names)
    }

    /// All versions of an image, newest first, without those whose description cannot be used: see
    /// [`Catalog::damaged`].
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn versions(&self, name: &Name) -> Result<Vec<Version>, RecordError> {
        let mut versions: Vec<Version> =
            self.described(name)?.into_iter().filter_map(|(_, version)| version.ok()).collect();
        versions.sort_by_key(|version| std::cmp::Reverse(version.built_at));
        Ok(versions)
    }

    /// The versions of an image whose description cannot be used, each with its folder's name and the reason. They are
    /// never started from, and can be removed.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn damaged(&self, name: &Name) -> Result<Vec<(String, RecordError)>, RecordError> {
        let damaged = |(digits, version): Described| Some((digits, version.err()?));
        Ok(self.described(name)?.into_iter().filter_map(damaged).collect())
    }

    /// Without its description a folder is half removed, or nothing of ours.
    fn described(&self, name: &Name) -> Result<Vec<Described>, RecordError> {
        let parent = self.folder.join(name.as_str());
        let folders = subfolders(&parent)?.into_iter().filter(|folder| !folder.starts_with('.'));
        let described = folders.filter(|folder| parent.join(folder).join(RECORD).exists());
        let read = |folder: String| {
            let at = parent.join(&folder);
            let version = Record::read(&at).and_then(|record| record.into_version(&at));
            (folder, version)
        };
        // One that is removed at this moment is no damaged one.
        Ok(described.map(read).filter(|(folder, _)| parent.join(folder).join(RECORD).exists()).collect())
    }

    async fn build_once(
        &self,
        image: &Image,
        wanted: Wanted,
        progress: Listener<'_>,
        stop: &CancellationToken,
    ) -> Result<Version, Fault> {
        let parent = self.image_folder(&image.name)?;
        let _lock = locked(&parent, progress, stop).await?;
        // Another build may have made it meanwhile.
        if wanted == Wanted::Any
            && let Some(version) = self.find(image)?
        {
            return Ok(version);
        }
        build::remove_dead(&parent, stop).await?;
        let building = Building {
            image,
            folder: build::new_folder(&parent)?,
            cache: &self.cache,
            artifacts: self.artifacts.as_deref(),
            programs: self.programs.as_deref(),
            listener: progress,
            stop,
        };
        let finished = finish(&building).await;
        if let Err(fault) = build::remove(&building.folder, stop).await {
            let folder = building.folder.display();
            tracing::warn!(%fault, %folder, "something of a build stays; the next one removes it");
        }
        finished
    }

    /// As root others may pass through: QEMU runs as another user, and reads kernels here.
    fn image_folder(&self, name: &Name) -> Result<PathBuf, Fault> {
        let folder = self.folder.join(name.as_str());
        let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
        fs::create_dir_all(&self.folder)?;
        match std::fs::DirBuilder::new().mode(mode).create(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(Fault::Io(error)),
            _ => Ok(std::path::absolute(folder)?),
        }
    }

    fn failed(&self, image: &Image, fault: Fault) -> BuildError {
        let fault = match fault.full_in(&self.folder, None) {
            Fault::DiskFull { folder, need } => Fault::DiskFull { folder: still_there(&folder), need },
            other => other,
        };
        BuildError { image: image.name.clone(), fault }
    }
}

/// The folder, or the nearest one above: those of a build go away with it, and `df` wants one that is there.
fn still_there(folder: &Path) -> PathBuf {
    folder.ancestors().find(|folder| folder.is_dir()).unwrap_or(folder).to_owned()
}

/// The lock of an image whose folder is `parent`.
async fn locked(parent: &Path, progress: Listener<'_>, stop: &CancellationToken) -> Result<fs::File, Fault> {
    let step = || "waiting for another command that works on this image".to_owned();
    let waiting = || progress(BuildProgress { step: step(), done: None, total: None });
    build::lock(&parent.join(LOCK), waiting, stop).await
}

fn subfolders(folder: &Path) -> Result<Vec<String>, RecordError> {
    let failed = |source| RecordError::Io { path: folder.to_owned(), source };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().map_err(failed)?.is_dir() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Produces the image, describes it, and gives it its place.
async fn finish(building: &Building<'_>) -> Result<Version, Fault> {
    // Before the work: a file that changes meanwhile must not count as what the recipe found.
    let (recipe, files) = (recipe::digest_of(building.image), recipe::files(building.image));
    let produced = match &building.image.recipe {
        Recipe::Debian(recipe) => {
            let produced = debian::produce(recipe, building).await;
            produced.map_err(|fault| fault.full_in(&building.folder, Some(Need::AtLeast(debian::ROOM))))?
        }
        Recipe::File(recipe) => convert::from_file(recipe, building).await?,
        Recipe::Url(recipe) => convert::from_url(recipe, building).await?,
    };
    // They are read more than once: to hash, to look at, to convert.
    if recipe::files(building.image) != files {
        return Err(Fault::Changed);
    }
    let recipe = recipe.or_else(|| recipe::digest_of(building.image));
    let recipe =
        recipe.ok_or_else(|| Fault::Io(io::Error::other("the recipe's file went away during the build")))?;
    building.step("computing digests");
    let (digests, stored) = digests(&produced, building).await?;
    let record = record(building.image, recipe, produced, (digests, stored));
    publish(&record, building).await
}

/// The digests of all files, and what a copy of the disk takes.
async fn digests(
    produced: &Produced,
    building: &Building<'_>,
) -> Result<(BTreeMap<String, Sha256>, ByteSize), Fault> {
    let kernel =
        produced.kernel.iter().flat_map(|kernel| [Some(&kernel.kernel), kernel.initrd.as_ref()]).flatten();
    let names = kernel.map(|path| path.to_string_lossy().into_owned()).chain([produced.disk.clone()]);
    let (mut digests, mut stored) = (BTreeMap::new(), ByteSize::default());
    for name in names {
        let path = building.folder.join(&name);
        fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644))?;
        let content = digest::of_content(&path, building.stop).await?;
        if name == produced.disk {
            stored = content.stored;
        }
        digests.insert(name, content.digest);
        fs::File::open(&path)?.sync_all()?;
    }
    Ok((digests, stored))
}

fn record(
    image: &Image,
    recipe: Sha256,
    produced: Produced,
    (digests, stored): (BTreeMap<String, Sha256>, ByteSize),
) -> Record {
    Record {
        format: Record::FORMAT,
        name: image.name.clone(),
        recipe,
        os: image.os,
        seed: image.seed,
        agent: image.agent,
        disk: produced.disk,
        disk_format: produced.format,
        virtual_size: produced.virtual_size,
        stored_size: Some(stored),
        kernel: produced.kernel,
        digests,
        built_at: jiff::Timestamp::now(),
        provenance: produced.provenance,
    }
}

/// Turns a building folder into a version. When the same content is there already, whole, under an older recipe, only
/// its description changes.
async fn publish(record: &Record, building: &Building<'_>) -> Result<Version, Fault> {
    let folder = &building.folder;
    let digest = record.digest(record.disk_digest()?);
    let parent = folder.parent().ok_or_else(|| io::Error::other("a building folder has a parent"))?;
    let target = parent.join(digest.short());
    if is_whole(&target, record, building.stop).await {
        record.write(&target)?;
    } else {
        replace(record, folder, &target)?;
        fs::File::open(parent)?.sync_all()?;
    }
    Ok(record.clone().into_version(&target)?)
}

/// Whether `target` already holds what `record` describes.
async fn is_whole(target: &Path, record: &Record, stop: &CancellationToken) -> bool {
    Record::read(target).is_ok_and(|there| there.digests == record.digests)
        && verify::files(target, record, stop).await.is_ok()
}

/// A damaged version, or half of a removed one, may be in the way.
fn replace(record: &Record, folder: &Path, target: &Path) -> Result<(), Fault> {
    remove_folder(target)?;
    let mode = if rustix::process::geteuid().is_root() { 0o711 } else { 0o700 };
    fs::set_permissions(folder, std::fs::Permissions::from_mode(mode))?;
    Signatures::of(folder, record)?.write(folder)?;
    record.write(folder)?;
    Ok(fs::rename(folder, target)?)
}

/// The description first: what is half removed must not look like a version. Gone already is fine.
fn remove_folder(folder: &Path) -> io::Result<()> {
    for result in [fs::remove_file(folder.join(RECORD)), fs::remove_dir_all(folder)] {
        match result {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use winstead_spec::{DebianRecipe, GuestOs, SeedKind};

    use super::*;

    #[test]
    fn a_full_disk_is_told_by_a_folder_that_is_still_there() {
        let home = tempfile::tempdir().unwrap();
        let catalog = Catalog::open(&home.path().join("images"), &home.path().join("cache"), None);
        let image = Image {
            name: "debian".parse().unwrap(),
            os: GuestOs::Linux,
            recipe: Recipe::Debian(DebianRecipe { suite: "trixie".into(), packages: Vec::new() }),
            disk: None,
            seed: SeedKind::FwCfg,
            agent: false,
        };
        let scratch = home.path().join("scratch");
        let full = Fault::Io(io::ErrorKind::StorageFull.into());
        let fault = full.full_in(&scratch, Some(Need::AtLeast(debian::ROOM)));
        let told = catalog.failed(&image, fault).fault.to_string();
        let there = home.path().display();
        assert_eq!(
            told,
            format!("write the image: the disk of {there} is full (at least 1.5 GiB are needed)")
        );
        fs::create_dir(&scratch).unwrap();
        assert_eq!(still_there(&scratch), scratch);
    }
}
