//! `winstead down`: takes machines away with everything that was made for them.

use clap::Args;
use winstead_engine::{Engine, Selection};

use crate::{
    commands::plan,
    context::Context,
    error::CliError,
    files::FileArgs,
    output::{counted, some_of},
    selection::Known,
};

const EXAMPLES: &str = "\
Examples:
  winstead down --all                   everything of this home
  winstead down agents                  a pool
  winstead down agents-3                one machine; the next `up` makes it again
  winstead down -f agents.yaml          the pools of a file

Images stay; `winstead image rm` removes them. Half of it may be gone already: the rest is removed.";

/// Takes machines away with everything that was made for them: processes, memory, disks, networks.
///
/// Only what Winstead itself made is touched.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DownArgs {
    /// Pools (agents) and machines (agents-0); pool/NAME and machine/NAME tell them apart.
    #[arg(value_name = "NAME", conflicts_with_all = ["files", "all"])]
    names: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// Everything in this home.
    #[arg(long, conflicts_with = "files")]
    all: bool,
    /// Shows what would be taken away, and changes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// Runs `down`.
///
/// # Errors
/// When nothing is named, a name is unknown, or something cannot be removed.
pub(crate) async fn run(context: &Context, args: &DownArgs) -> Result<(), CliError> {
    if args.names.is_empty() && args.files.files.is_empty() && !args.all {
        let message = "choose what to take down: nothing is named";
        return Err(CliError::usage(
            message,
            "winstead down NAME, -f FILE, or --all for everything of this home",
        ));
    }
    let engine = context.engine().await?;
    let selection = selection(context, &engine, args).await?;
    if args.dry_run {
        return plan::show_changes(context, &engine.plan_down(&selection).await?);
    }
    let gone = Box::pin(engine.down(&selection, &context.listener(), &context.stop)).await?;
    let names: Vec<String> = gone.iter().map(ToString::to_string).collect();
    context.ui.note(&match names.len() {
        0 => "nothing was left to take away".to_owned(),
        number => format!("{} taken away: {}", counted(number, "machine"), some_of(&names)),
    });
    Ok(())
}

async fn selection(context: &Context, engine: &Engine, args: &DownArgs) -> Result<Selection, CliError> {
    if args.all {
        return Ok(Selection::All);
    }
    let known = Known::of(engine).await?;
    if !args.names.is_empty() {
        return known.selection(&args.names);
    }
    let documents = args.files.documents("down", &context.stop).await?;
    // Pools of the file that are gone already are fine: `down` can run twice.
    let pools = documents.pools.into_iter().map(|pool| pool.name).filter(|pool| known.pools.contains(pool));
    Ok(Selection::Pools(pools.collect()))
}
