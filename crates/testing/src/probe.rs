//! The probe as it is copied into guests: one file without libraries, built by the first test that needs it.

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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).context("the workspace")?;
    let build = Command::new(env!("CARGO")).arg("probe").folder(root).deadline(BUILD);
    build.run(&CancellationToken::new()).await?;
    // As the alias in .cargo/config.toml says.
    Ok(root.join("target/probe/x86_64-unknown-linux-gnu/release/winstead-probe"))
}
