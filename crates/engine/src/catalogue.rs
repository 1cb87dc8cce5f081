//! The engine's image commands: the catalogue, and who uses what of it.

use tokio_util::sync::CancellationToken;
use winstead_image::{BuildProgress, Depth, Version};
use winstead_spec::{Image, MachineName, Name, Sha256};

use crate::{Engine, EngineError, Event, ImageRef, Listener};

/// What a machine remembers of the version it stands on.
pub(crate) fn reference(version: &Version) -> ImageRef {
    ImageRef {
        name: version.name.clone(),
        digest: version.digest.clone(),
        disk_digest: Some(version.disk_digest.clone()),
        os: version.os,
        seed: version.seed,
        disk: version.disk.clone(),
        format: version.format,
        virtual_size: version.virtual_size,
        stored_size: version.stored_size,
        kernel: version.kernel.clone(),
    }
}

impl Engine {
    /// Builds an image, or finds that its recipe was built before.
    ///
    /// # Errors
    /// When it cannot be built; nothing of the attempt stays.
    pub async fn build_image(
        &self,
        image: &Image,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Version, EngineError> {
        self.build_unlocked(image, listener, stop).await
    }

    pub(crate) async fn build_unlocked(
        &self,
        image: &Image,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Version, EngineError> {
        let (name, listener) = (image.name.clone(), listener.clone());
        let tell = move |progress: BuildProgress| {
            let done = progress.done.zip(progress.total);
            listener.tell(Event::Image { name: name.clone(), step: progress.step, progress: done });
        };
        let built = self.catalog.build(image, &tell, stop).await;
        built.map_err(|error| match stop.is_cancelled() {
            true => EngineError::Interrupted,
            false => EngineError::Image { what: "build", image: image.name.clone(), source: error.into() },
        })
    }

    /// Reads every version's disk and compares it with its digest; returns those that were checked.
    ///
    /// # Errors
    /// At the first version that is not what it was.
    pub async fn verify_image(
        &self,
        name: Option<&Name>,
        stop: &CancellationToken,
    ) -> Result<Vec<(Name, Sha256)>, EngineError> {
        let mut checked = Vec::new();
        for version in self.versions(name)? {
            self.verify_version(&version, Depth::Full, stop).await?;
            checked.push((version.name, version.digest));
        }
        Ok(checked)
    }

    /// Removes an image's versions, or the one whose digest begins with `digest`, and returns them.
    ///
    /// # Errors
    /// When there is none, or machines stand on one: then none is removed, and the users are named.
    pub async fn remove_image(&self, name: &Name, digest: Option<&str>) -> Result<Vec<Sha256>, EngineError> {
        let _lock = self.lock(&Listener::none(), &CancellationToken::new()).await?;
        let chosen = |version: &Version| digest.is_none_or(|digest| version.digest.hex().starts_with(digest));
        let versions: Vec<Version> = self.versions(Some(name))?.into_iter().filter(chosen).collect();
        if versions.is_empty() {
            let what =
                format!("the image {name} with a digest that begins with {}", digest.unwrap_or_default());
            return Err(EngineError::Unknown { what, nearest: None });
        }
        for version in &versions {
            let users = self.image_users(version).await?;
            if !users.is_empty() {
                return Err(EngineError::InUse { image: name.clone(), users });
            }
        }
        for version in &versions {
            let removed = self.catalog.remove(version);
            removed.map_err(|error| failed("remove", name)(error.into()))?;
        }
        Ok(versions.into_iter().map(|version| version.digest).collect())
    }

    /// The machines that stand on a version.
    pub(crate) async fn image_users(&self, version: &Version) -> Result<Vec<MachineName>, EngineError> {
        let snapshot = self.journal.snapshot().await?;
        let uses = |image: &ImageRef| image.name == version.name && image.digest == version.digest;
        let users = snapshot.machines.into_iter().filter(|(_, entry)| uses(&entry.record.image));
        Ok(users.map(|(name, _)| name).collect())
    }

    /// Finds the version that a reference means, and checks it.
    pub(crate) async fn verify_reference(
        &self,
        image: &ImageRef,
        depth: Depth,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let versions = self.versions(Some(&image.name))?;
        match versions.iter().find(|version| version.digest == image.digest) {
            Some(version) => self.verify_version(version, depth, stop).await,
            None => Err(EngineError::Unknown {
                what: format!("the image {} {}", image.name, image.digest),
                nearest: None,
            }),
        }
    }

    async fn verify_version(
        &self,
        version: &Version,
        depth: Depth,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let verified = self.catalog.verify(version, depth, stop).await;
        verified.map_err(|error| failed("verify", &version.name)(error.into()))
    }

    /// All versions, or those of one image, which must be there.
    pub(crate) fn versions(&self, name: Option<&Name>) -> Result<Vec<Version>, EngineError> {
        let listed = self.catalog.list();
        let all = listed.map_err(|error| EngineError::host("read the image catalogue")(error.into()))?;
        let Some(name) = name else { return Ok(all) };
        let versions: Vec<Version> = all.into_iter().filter(|version| version.name == *name).collect();
        if versions.is_empty() {
            return Err(EngineError::Unknown { what: format!("the image {name}"), nearest: None });
        }
        Ok(versions)
    }
}

fn failed(
    what: &'static str,
    image: &Name,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> EngineError {
    let image = image.clone();
    move |source| EngineError::Image { what, image, source }
}
