//! `winstead keep`: the process that keeps a template's memory. Started by the engine.

use std::path::PathBuf;

use clap::Args;

use crate::{context::Context, error::CliError};

/// Keeps the memory that was handed over as descriptor 3, for as long as its template's folder is there.
#[derive(Clone, Debug, Args)]
#[command(hide = true)]
pub(crate) struct KeepArgs {
    /// The template's folder.
    folder: PathBuf,
}

/// Runs `keep`.
///
/// # Errors
/// When it cannot leave the folder that it was started in.
pub(crate) async fn run(context: &Context, args: &KeepArgs) -> Result<(), CliError> {
    // Whatever folder it was started in can be removed or unmounted while it lives.
    std::env::set_current_dir("/").map_err(CliError::runtime)?;
    winstead_engine::keep(&args.folder, &context.stop).await;
    Ok(())
}
