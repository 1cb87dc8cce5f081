//! The engine's image commands: the catalogue, and who uses what of it.

use tokio_util::sync::CancellationToken;
use winstead_image::{BuildError, BuildProgress, Depth, RecordError, Version};
use winstead_spec::{Image, MachineName, Name, Sha256};

use crate::{Engine, EngineError, Event, ImageRef, Listener, engine::unknown};

/// What a machine remembers of the version it stands on.
pub(crate) fn reference(version: &Version) -> ImageRef {
    ImageRef {
        name: version.name.clone(),
        digest: version.digest.clone(),
        disk_digest: Some(version.disk_digest.clone()),
        os: version.os,
        seed: version.seed,
        agent: version.agent,
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
        let tell = told(&image.name, listener);
        let built = self.catalog.build(image, &tell, stop).await;
        built.map_err(|error| not_built(error, stop))
    }

    /// Builds an image also when its recipe was built before, for newer packages. Machines go over to it with the next
    /// `up`.
    ///
    /// # Errors
    /// As [`Engine::build_image`].
    pub async fn build_image_fresh(
        &self,
        image: &Image,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Version, EngineError> {
        let built = self.catalog.build_fresh(image, &told(&image.name, listener), stop).await;
        built.map_err(|error| not_built(error, stop))
    }

    /// The version that [`Engine::build_image`] would find; `None` when it would build one. Changes nothing.
    ///
    /// # Errors
    /// When the catalogue cannot be read.
    pub fn built_image(&self, image: &Image) -> Result<Option<Version>, EngineError> {
        self.catalog.find(image).map_err(unreadable)
    }

    /// Reads every version completely and compares it with its digests; returns those that are as built, and what is
    /// wrong with each other one.
    ///
    /// # Errors
    /// When the image is unknown, the catalogue cannot be read, or `stop` is cancelled.
    pub async fn verify_image(
        &self,
        name: Option<&Name>,
        stop: &CancellationToken,
    ) -> Result<(Vec<(Name, Sha256)>, Vec<EngineError>), EngineError> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for name in self.image_names(name)? {
            for (digits, error) in self.catalog.damaged(&name).map_err(unreadable)? {
                bad.push(EngineError::DamagedImage { image: name.clone(), digits, source: error.into() });
            }
            for version in self.catalog.versions(&name).map_err(unreadable)? {
                match self.verify_version(&version, Depth::Full, stop).await {
                    _ if stop.is_cancelled() => return Err(EngineError::Interrupted),
                    Ok(()) => good.push((version.name, version.digest)),
                    Err(error) => bad.push(error),
                }
            }
        }
        Ok((good, bad))
    }

    /// The versions of an image that `image rm` means, damaged ones too, by the first digits of their digests: all, or
    /// the one whose digest begins with `digest`.
    ///
    /// # Errors
    /// When there is none or `digest` fits several, or machines stand on one: then the users are named.
    pub async fn image_removal(&self, name: &Name, digest: Option<&str>) -> Result<Vec<String>, EngineError> {
        let versions = self.catalog.versions(name).map_err(unreadable)?;
        let damaged = self.catalog.damaged(name).map_err(unreadable)?;
        let all = versions.iter().map(|version| (version.digest.hex(), version.digest.short()));
        let all = all.chain(damaged.iter().map(|(digits, _)| (digits.as_str(), digits.as_str())));
        let chosen = all.filter(|(whole, _)| digest.is_none_or(|digest| whole.starts_with(digest)));
        let chosen: Vec<String> = chosen.map(|(_, digits)| digits.to_owned()).collect();
        if chosen.is_empty() || digest.is_some() && chosen.len() > 1 {
            return Err(match digest {
                None => self.unknown_image(name)?,
                Some(digest) => not_one(name, digest, chosen.len()),
            });
        }
        let users = self.users_of(name, &chosen).await?;
        match users.is_empty() {
            true => Ok(chosen),
            false => Err(EngineError::InUse { what: format!("image {name}"), users }),
        }
    }

    /// Removes what [`Engine::image_removal`] returns, and returns it.
    ///
    /// # Errors
    /// As there, and when something cannot be removed, or `stop` is cancelled while another command works.
    pub async fn remove_image(
        &self,
        name: &Name,
        digest: Option<&str>,
        listener: &Listener,
        stop: &CancellationToken,
    ) -> Result<Vec<String>, EngineError> {
        let _lock = self.lock(listener, stop).await?;
        let chosen = self.image_removal(name, digest).await?;
        let tell = told(name, listener);
        for digits in &chosen {
            let removed = self.catalog.remove(name, digits, &tell, stop).await;
            removed.map_err(|fault| match stop.is_cancelled() {
                true => EngineError::Interrupted,
                false => failed("remove", name)(fault.into()),
            })?;
        }
        Ok(chosen)
    }

    /// The machines and templates that stand on one of these versions of an image, given by their first digits.
    async fn users_of(&self, image: &Name, versions: &[String]) -> Result<Vec<MachineName>, EngineError> {
        let snapshot = self.journal.snapshot().await?;
        let uses = |used: &ImageRef| versions.iter().any(|digits| used.is(image, digits));
        let users = snapshot.records().filter(|record| uses(&record.image));
        Ok(users.map(|record| record.name.clone()).collect())
    }

    /// Finds the version that a reference means, and checks it.
    pub(crate) async fn verify_reference(
        &self,
        image: &ImageRef,
        depth: Depth,
        stop: &CancellationToken,
    ) -> Result<(), EngineError> {
        let versions = self.catalog.versions(&image.name).map_err(unreadable)?;
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
        verified.map_err(|error| match stop.is_cancelled() {
            true => EngineError::Interrupted,
            false => EngineError::DamagedImage {
                image: version.name.clone(),
                digits: version.digest.short().to_owned(),
                source: error.into(),
            },
        })
    }

    /// The names of all images, or this one, which must be there.
    fn image_names(&self, name: Option<&Name>) -> Result<Vec<Name>, EngineError> {
        let Some(name) = name else { return self.catalog.names().map_err(unreadable) };
        let there = !self.catalog.versions(name).map_err(unreadable)?.is_empty()
            || !self.catalog.damaged(name).map_err(unreadable)?.is_empty();
        if there { Ok(vec![name.clone()]) } else { Err(self.unknown_image(name)?) }
    }

    fn unknown_image(&self, name: &Name) -> Result<EngineError, EngineError> {
        let known = self.catalog.names().map_err(unreadable)?;
        let others = known.iter().filter(|known| *known != name).map(ToString::to_string);
        Ok(unknown("image", name.as_str(), others))
    }
}

/// Hands on what the catalogue says about an image.
fn told(name: &Name, listener: &Listener) -> impl Fn(BuildProgress) + Send + Sync + use<> {
    let (name, listener) = (name.clone(), listener.clone());
    move |progress| {
        let done = progress.done.zip(progress.total);
        listener.tell(Event::Image { name: name.clone(), step: progress.step, progress: done });
    }
}

fn not_built(error: BuildError, stop: &CancellationToken) -> EngineError {
    match stop.is_cancelled() {
        true => EngineError::Interrupted,
        false => EngineError::Image { what: "build", image: error.image.clone(), source: error.into() },
    }
}

pub(crate) fn unreadable(error: RecordError) -> EngineError {
    EngineError::host("read the image catalogue")(error.into())
}

/// No version, or several where one is meant.
fn not_one(name: &Name, digest: &str, found: usize) -> EngineError {
    let what =
        format!("one version of the image {name} whose digest begins with {digest}: there are {found}");
    EngineError::Unknown { what, nearest: None }
}

fn failed(
    what: &'static str,
    image: &Name,
) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> EngineError {
    let image = image.clone();
    move |source| EngineError::Image { what, image, source }
}
