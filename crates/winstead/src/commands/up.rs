//! `winstead up`: makes what is like what the file says.

use clap::Args;
use winstead_engine::{Engine, UpReport, plan::Action};
use winstead_spec::Documents;

use crate::{
    commands::{get, plan, tables},
    context::Context,
    error::CliError,
    files::{self, FileArgs},
    output::{self, counted},
};

const EXAMPLES: &str = "\
Examples:
  winstead up -f agents.yaml
  winstead up -f agents.yaml --dry-run      what would change
  sed 's/replicas: 4/replicas: 8/' agents.yaml | winstead up -f -

Run it again after any failure, Ctrl-C or power loss: it goes on where it stopped. Edit the file
and run it again: only what differs is changed. Pools that the file does not name stay as they are.";

/// Makes images, machines and networks like the file says, and waits until the machines are ready.
///
/// Nothing is started that does not fit into this computer's memory (exit code 3, with the sum).
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    files: FileArgs,
    /// Shows what would change, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `up`.
///
/// # Errors
/// When a file is wrong, the plan does not fit, or something does not come up.
pub(crate) async fn run(context: &Context, args: &UpArgs) -> Result<(), CliError> {
    let documents = args.files.documents("up", &context.stop).await?;
    if let Some(remark) = files::remark(&documents) {
        context.ui.warn(&remark);
    }
    let engine = context.engine().await?;
    if args.dry_run {
        let planned = engine.plan(&documents).await?;
        plan::show(context, &planned, Vec::new())?;
        return Ok(planned.admitted()?);
    }
    let report = Box::pin(engine.up(&documents, &context.listener(), &context.stop)).await?;
    context.ui.note(&summary(&report));
    let mut machines = engine.machines().await?;
    machines.items.retain(|machine| is_of(&documents, &machine.spec.pool));
    get::ask_agents(context, &engine, &mut machines).await?;
    output::show(&context.ui, context.format, &machines, tables::machines)?;
    if let Some(first) = machines.items.first() {
        let name = &first.metadata.name;
        write_ssh_config(&engine, name).await;
        context.ui.hint(&format!("`winstead exec {name} -- uname -a` runs a command in one"));
    }
    Ok(())
}

/// `ssh -F HOME/ssh/config NAME` works from now on, for every running machine.
async fn write_ssh_config(engine: &Engine, name: &str) {
    let Ok(name) = name.parse() else { return };
    if let Err(error) = engine.endpoint(&name).await {
        // `ssh`, `exec` and `cp` write it anew before they need it, and say what is wrong.
        tracing::debug!(%name, %error, "no configuration of ssh yet");
    }
}

fn is_of(documents: &Documents, pool: &str) -> bool {
    documents.pools.iter().any(|known| known.name.as_str() == pool)
}

fn summary(report: &UpReport) -> String {
    let plan = &report.plan;
    let seconds = report.took.as_secs_f64();
    if plan.is_empty() {
        return format!("nothing to do: {} as the file says", counted(report.machines.len(), "machine"));
    }
    let count = |is: fn(Action) -> bool| plan.changes.iter().filter(|change| is(change.action)).count();
    let parts = [
        (count(|action| action == Action::Create), "created"),
        (count(|action| action == Action::Renew), "reset"),
        (count(|action| action == Action::Start), "started again"),
        (count(|action| matches!(action, Action::Await | Action::Update)), "brought up to date"),
        (count(|action| action == Action::Destroy), "taken away"),
        (plan.unchanged, "unchanged"),
    ];
    let said: Vec<String> = parts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    format!("{} in {seconds:.1} s: {}", counted(report.machines.len(), "machine"), said.join(", "))
}
