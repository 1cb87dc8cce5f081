//! `winstead reboot`: restart, and wait until they are back.

use clap::Args;
use serde::Serialize;
use winstead_spec::Span;

use crate::{
    cli::Format,
    context::Context,
    error::CliError,
    output::{self, counted},
    selection::Known,
};

const EXAMPLES: &str = "\
Examples:
  winstead reboot agents-0
  winstead reboot agents --deadline 2m      all machines of a pool
  winstead facts agents-0                   says why a machine wants a restart

The machine's own agent restarts it (`agent: true` of its image), by the machine's service manager:
nothing is lost but what runs there. It is back when the agent answers from another boot and what
its pool calls ready answers, too. `winstead reset` is what puts a machine back to golden.";

/// Restarts machines, and waits until they are ready again.
///
/// Their disks stay as they are. When one does not run or has no agent, none is restarted.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RebootArgs {
    /// Machines (agents-0) and pools (agents).
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How long a machine may take. One that takes longer is not stopped: exit code 4.
    #[arg(long, value_name = "TIME", default_value = "5m")]
    deadline: Span,
}

#[derive(Serialize)]
struct Back {
    machine: String,
    seconds: f64,
}

/// Runs `reboot`.
///
/// # Errors
/// When a name is unknown, a machine has no agent that answers, or is not back in time.
pub(crate) async fn run(context: &Context, args: &RebootArgs) -> Result<(), CliError> {
    let engine = context.engine().await?;
    let machines = Known::of(&engine).await?.machines(&args.names)?;
    let limit = args.deadline.duration();
    let back = Box::pin(engine.reboot(&machines, limit, &context.listener(), &context.stop)).await?;
    if matches!(context.format, Format::Table | Format::Wide) {
        context.ui.note(&format!("{} back", counted(back.len(), "machine")));
        return Ok(());
    }
    let back = back
        .into_iter()
        .map(|(machine, took)| Back { machine: machine.to_string(), seconds: took.as_secs_f64() });
    output::show_items(context, "RebootList", back.collect(), |back| format!("{}\n", back.machine))
}
