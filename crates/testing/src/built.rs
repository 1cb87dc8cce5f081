//! Programs as they are copied into guests: one file without libraries, built by the first test that needs it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use winstead_process::Command;

/// A cold build on a small computer that has much else to do.
const BUILD: Duration = Duration::from_secs(15 * 60);

/// The program `winstead-probe`, static. Several tests at once wait for one another, as cargo does.
///
/// # Errors
/// When it cannot be built.
pub async fn static_probe() -> anyhow::Result<PathBuf> {
    built("probe").await
}

/// The program `winstead-agent`, static. Several tests at once wait for one another, as cargo does.
///
/// # Errors
/// When it cannot be built.
pub async fn static_agent() -> anyhow::Result<PathBuf> {
    built("agent").await
}

/// What the alias `name` in .cargo/config.toml builds, where it says.
async fn built(name: &str) -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")?;
    let build = Command::new(env!("CARGO")).arg(name).folder(root).deadline(BUILD);
    build.run(&CancellationToken::new()).await?;
    Ok(root.join(format!("target/{name}/x86_64-unknown-linux-gnu/release/winstead-{name}")))
}
