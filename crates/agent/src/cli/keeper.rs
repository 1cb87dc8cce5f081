//! `winstead-agent keeper`: what stands between the daemon and a program. Started by the daemon.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use winstead_agent::supervision;

use crate::cli::Failure;

/// Keeps the program that standard input describes.
#[derive(Clone, Debug, Args)]
pub(crate) struct KeeperArgs {
    /// The process's folder.
    folder: PathBuf,
}

/// Until nothing of the program is left.
///
/// # Errors
/// When it cannot begin.
pub(crate) fn keep(args: &KeeperArgs) -> Result<ExitCode, Failure> {
    Ok(supervision::keep(&args.folder)?)
}
