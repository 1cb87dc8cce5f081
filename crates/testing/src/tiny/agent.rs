//! The tiny guest with winstead-agent in it.

use std::path::{Path, PathBuf};

use anyhow::Context;
use fs_err as fs;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;
use winstead_spec::{FileRecipe, Image, Recipe};

use super::{tiny_image, tree};
use crate::{built::static_agent, kept};

/// [`tiny_image`] with the agent of this working copy, which is built if need be.
///
/// # Errors
/// When it cannot be made.
pub async fn tiny_image_with_agent(cache: &Path) -> anyhow::Result<Image> {
    let image = tiny_image(cache).await?;
    let agent = static_agent().await.context("build the agent")?;
    let Recipe::File(recipe) = image.recipe else { anyhow::bail!("the tiny guest is a file") };
    let lock = kept::lock(cache, "tiny").await?;
    let path = disk(&recipe.path, &agent).await.context("put the agent into the tiny guest")?;
    drop(lock);
    Ok(Image { recipe: Recipe::File(FileRecipe { path, ..recipe }), agent: true, ..image })
}

/// The disk with this very agent; made once.
async fn disk(plain: &Path, agent: &Path) -> anyhow::Result<PathBuf> {
    let digest = winstead_image::digest::of_file(agent, &CancellationToken::new()).await?;
    let path = plain.with_extension(format!("{}.ext4", digest.short()));
    if path.exists() {
        return Ok(path);
    }
    let (half, inittab, start) =
        (plain.with_extension("half"), plain.with_extension("inittab"), plain.with_extension("start"));
    fs::copy(plain, &half)?;
    fs::write(&inittab, tree::INITTAB_WITH_AGENT)?;
    fs::write(&start, tree::START_AGENT)?;
    let mut commands = "rm /etc/inittab\n".to_owned();
    for (from, to) in [
        (inittab.as_path(), "/etc/inittab"),
        (&start, "/etc/init.d/agent"),
        (agent, "/usr/sbin/winstead-agent"),
    ] {
        commands += &format!("write {} {to}\nsif {to} mode 0100755\n", from.display());
    }
    let debugfs = Command::new("debugfs").args(["-w", "-f", "-"]).arg(&half).input(commands);
    debugfs.run(&CancellationToken::new()).await?;
    fs::remove_file(inittab)?;
    fs::remove_file(start)?;
    fs::rename(&half, &path)?;
    Ok(path)
}
