//! `winstead reset`: back to golden.

use clap::Args;

use crate::{commands::plan, context::Context, error::CliError, output::counted, selection::Known};

const EXAMPLES: &str = "\
Examples:
  winstead reset agents-0               one machine
  winstead reset agents                 all machines of a pool
  winstead reset agents-0 agents-3 --dry-run";

/// Puts machines back to golden: everything that they wrote is gone.
///
/// Names, addresses and keys stay. Returns when the machines are ready again. Also frees a machine that is held
/// because its disk is full.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ResetArgs {
    /// Machines (agents-0) and pools (agents).
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Shows what would be reset, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `reset`.
///
/// # Errors
/// When a name is unknown, or a machine does not come up again.
pub(crate) async fn run(context: &Context, args: &ResetArgs) -> Result<(), CliError> {
    let engine = context.engine().await?;
    let selection = Known::of(&engine).await?.selection(&args.names)?;
    if args.dry_run {
        return plan::show_changes(context, &engine.plan_reset(&selection).await?);
    }
    let machines = Box::pin(engine.reset(&selection, &context.listener(), &context.stop)).await?;
    context.ui.note(&format!("{} back to golden", counted(machines.len(), "machine")));
    Ok(())
}
