//! `winstead man`: manual pages.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::{cli::Cli, context::Context, error::CliError};

const EXAMPLES: &str = "\
Examples:
  winstead man | man -l -
  winstead man --dir ~/.local/share/man/man1";

/// Prints the manual page, or writes those of all commands into a folder.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ManArgs {
    /// The folder that all pages are written into; its path is printed.
    #[arg(long, visible_alias = "out", value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Runs `man`.
///
/// # Errors
/// When a page cannot be written.
pub(crate) fn run(context: &Context, args: &ManArgs) -> Result<(), CliError> {
    match &args.dir {
        Some(folder) => {
            write_all(folder).map_err(|source| CliError::System {
                what: format!("write manual pages into {}", folder.display()),
                source,
                hints: Vec::new(),
            })?;
            context.ui.data(&format!("{}\n", folder.display()))
        }
        None => {
            let mut page = Vec::new();
            Man::new(Cli::command()).render(&mut page).map_err(CliError::runtime)?;
            context.ui.data(&page)
        }
    }
}

fn write_all(folder: &Path) -> std::io::Result<()> {
    fs_err::create_dir_all(folder)?;
    clap_mangen::generate_to(Cli::command(), folder)
}
