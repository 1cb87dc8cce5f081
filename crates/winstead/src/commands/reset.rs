//! `winstead reset`: back to golden.

use clap::Args;
use winstead_engine::plan::{Action, Change};
use winstead_spec::MachineName;

use crate::{
    commands::plan,
    context::Context,
    error::CliError,
    output::counted,
    selection::{Known, Target},
};

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
    let known = Known::of(&engine).await?;
    let targets: Vec<Target> = args.names.iter().map(|word| known.target(word)).collect::<Result<_, _>>()?;
    for target in &targets {
        // The engine refuses a name that nothing has, and knows the nearest one.
        engine.plan_down(&target.selection()).await?;
    }
    let machines = known.machines_of(&targets);
    if args.dry_run {
        let change = |machine: &MachineName| Change {
            machine: machine.clone(),
            action: Action::Renew,
            why: "asked for".into(),
        };
        return plan::show_changes(context, &machines.iter().map(change).collect::<Vec<_>>());
    }
    Box::pin(engine.reset(&machines, &context.listener(), &context.stop)).await?;
    context.ui.note(&format!("{} back to golden", counted(machines.len(), "machine")));
    Ok(())
}
