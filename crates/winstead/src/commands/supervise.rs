//! `winstead supervise`: the process that watches running machines while no command runs. Started by the engine.

use clap::Args;
use winstead_engine::{Faults, Options};

use crate::{context::Context, error::CliError};

/// Watches the machines of this home until the last one is gone. Started when it is needed; there is one per home.
#[derive(Clone, Debug, Args)]
#[command(hide = true)]
pub(crate) struct SuperviseArgs {}

/// Runs `supervise`. Its log is standard error, which the engine leads into `supervisor.log`.
///
/// # Errors
/// When the home cannot be used.
pub(crate) async fn run(context: &Context, _args: &SuperviseArgs) -> Result<(), CliError> {
    // Whatever folder it was started in can be removed or unmounted while it lives.
    std::env::set_current_dir("/").map_err(CliError::runtime)?;
    // A crash test kills the command, not the supervisor that the command starts with the same environment.
    let options = Options { faults: Faults::default(), ..context.options()? };
    Ok(winstead_engine::supervise(options, context.stop.clone()).await?)
}
