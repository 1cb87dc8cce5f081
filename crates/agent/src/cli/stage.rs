//! `winstead-agent become`: the last step before a program, where a system needs one. Started by a keeper.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use winstead_agent::supervision;

use crate::cli::Failure;

/// Becomes the program that standard input describes.
#[derive(Clone, Debug, Args)]
pub(crate) struct BecomeArgs {
    /// The process's folder.
    folder: PathBuf,
}

/// Returns only when that could not be done.
///
/// # Errors
/// When nobody is there to be told why.
pub(crate) fn become_program(args: &BecomeArgs) -> Result<ExitCode, Failure> {
    Ok(supervision::become_program(&args.folder)?)
}
