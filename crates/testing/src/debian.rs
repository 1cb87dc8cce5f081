//! The real Debian image, for what the tiny guest does not have: systemd, OpenSSH, the guest agent.

use std::path::{Path, PathBuf};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_image::{BuildError, Catalog, Fault};
use winstead_spec::{Image, Source, parse};

use crate::{apt, built::static_agent, kept};

/// Its document, as a file has it.
pub const DEBIAN_IMAGE: &str = "\
apiVersion: winstead.dev/v1alpha1
kind: Image
metadata: {name: debian}
spec:
  debian: {suite: trixie}
";

/// The same with winstead-agent in it.
pub const DEBIAN_IMAGE_WITH_AGENT: &str = "\
apiVersion: winstead.dev/v1alpha1
kind: Image
metadata: {name: debian}
spec:
  agent: true
  debian: {suite: trixie}
";

/// The folder `images` of a home in which [`DEBIAN_IMAGE`] is built, kept in `cache` (see [`crate::lab_folder`]); `None`,
/// with the reason told, where a tool, a right or the configured Debian mirror is missing.
///
/// The first call takes half a minute and the network; several at once wait for one another.
///
/// # Panics
/// When it cannot be built for another reason: that is a fault of ours, and no reason to skip.
pub async fn debian_images_or_skip(cache: &Path) -> Option<PathBuf> {
    or_skip(built(cache, &cache.join("debian"), DEBIAN_IMAGE, None).await)
}

/// The same with [`DEBIAN_IMAGE_WITH_AGENT`] and the agent of this working copy, which is built if need be.
///
/// # Panics
/// As [`debian_images_or_skip`].
pub async fn debian_images_with_agent_or_skip(cache: &Path) -> Option<PathBuf> {
    or_skip(built_with_agent(cache).await)
}

fn or_skip(built: anyhow::Result<PathBuf>) -> Option<PathBuf> {
    match built {
        Err(error) if lacks_a_right(&error) => {
            crate::skip(&format!("{error:#}"));
            None
        }
        built => kept::or_skip(built),
    }
}

/// An image's digest knows the version of its agent, not this very one: so each has a folder of its own, and the last one's
/// is kept.
async fn built_with_agent(cache: &Path) -> anyhow::Result<PathBuf> {
    let agent = static_agent().await.context("build the agent")?;
    let digest = winstead_image::digest::of_file(&agent, &CancellationToken::new()).await?;
    let all = cache.join("debian-agent");
    let place = all.join(digest.short());
    let images = built(cache, &place, DEBIAN_IMAGE_WITH_AGENT, agent.parent()).await?;
    for other in fs::read_dir(all)?.collect::<Result<Vec<_>, _>>()? {
        if other.path() != place {
            fs::remove_dir_all(other.path())?;
        }
    }
    Ok(images)
}

/// Builds an image in the folder `place`; returns the folder `images` in there.
async fn built(
    cache: &Path,
    place: &Path,
    document: &str,
    artifacts: Option<&Path>,
) -> anyhow::Result<PathBuf> {
    let (image, images) = (image(document), place.join("images"));
    let _lock = kept::lock(cache, "debian").await?;
    let catalog = Catalog::open(&images, &place.join("cache"), artifacts);
    if catalog.find(&image)?.is_some() {
        return Ok(images);
    }
    let stop = CancellationToken::new();
    ask_for_the_suite(&stop).await?;
    catalog.build(&image, &|_| {}, &stop).await?;
    Ok(images)
}

/// A build that fails for want of a mirror does not say so.
async fn ask_for_the_suite(stop: &CancellationToken) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    apt::make_folders(folder.path())?;
    apt::ask_mirror(apt::tool("apt-get", folder.path()).args(["-q", "update"]), stop).await
}

fn image(document: &str) -> Image {
    let source = Source { name: "debian.yaml".into(), folder: "/".into(), text: document.into() };
    parse(&[source]).expect("our own document").images.pop().expect("it has one image")
}

/// Whether the build itself says that it can do nothing here.
fn lacks_a_right(error: &anyhow::Error) -> bool {
    let fault = error.downcast_ref::<BuildError>().map(|error| &error.fault);
    matches!(fault, Some(Fault::MissingTools(_) | Fault::NoSubordinateIds { .. }))
}
