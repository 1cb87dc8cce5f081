//! The real Debian image, for what the tiny guest does not have: systemd, OpenSSH, the guest agent.

use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;
use winstead_image::{BuildError, Catalog, Fault};
use winstead_spec::{Image, Source, parse};

use crate::{apt, kept};

/// Its document, as a file has it.
pub const DEBIAN_IMAGE: &str = "\
apiVersion: winstead.dev/v1alpha1
kind: Image
metadata: {name: debian}
spec:
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
    let images = cache.join("debian/images");
    match built(cache, &images).await {
        Err(error) if lacks_a_right(&error) => {
            crate::skip(&format!("{error:#}"));
            None
        }
        built => kept::or_skip(built.map(|()| images)),
    }
}

async fn built(cache: &Path, images: &Path) -> anyhow::Result<()> {
    let image = image();
    let _lock = kept::lock(cache, "debian").await?;
    let catalog = Catalog::open(images, &cache.join("debian/cache"), None);
    if catalog.find(&image)?.is_some() {
        return Ok(());
    }
    let stop = CancellationToken::new();
    ask_for_the_suite(&stop).await?;
    catalog.build(&image, &|_| {}, &stop).await?;
    Ok(())
}

/// A build that fails for want of a mirror does not say so.
async fn ask_for_the_suite(stop: &CancellationToken) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    apt::make_folders(folder.path())?;
    apt::ask_mirror(apt::tool("apt-get", folder.path()).args(["-q", "update"]), stop).await
}

fn image() -> Image {
    let source = Source { name: "debian.yaml".into(), folder: "/".into(), text: DEBIAN_IMAGE.into() };
    parse(&[source]).expect("our own document").images.pop().expect("it has one image")
}

/// Whether the build itself says that it can do nothing here.
fn lacks_a_right(error: &anyhow::Error) -> bool {
    let fault = error.downcast_ref::<BuildError>().map(|error| &error.fault);
    matches!(fault, Some(Fault::MissingTools(_) | Fault::NoSubordinateIds { .. }))
}
