//! `winstead template`: machines whose memory is saved, so that others start from it.

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::{
    commands::get,
    context::Context,
    error::CliError,
    output::{self, counted},
    selection::machine_name,
};

const EXAMPLES: &str = "\
Examples:
  winstead template list
  winstead template rm template-3f9a0c1d2e4b-0
  winstead template rm --unused";

/// Lists and removes templates: saved memory that machines with `machine.start: memory` start from.
///
/// `winstead up` and `winstead reset` make the template that they need. It goes with its last machine, or `keepTemplate`
/// later, or when its room is needed.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct TemplateArgs {
    #[command(subcommand)]
    command: TemplateCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum TemplateCommand {
    #[command(visible_alias = "ls")]
    List(ListArgs),
    Rm(RmArgs),
}

/// Lists templates: what they take, who stands on them, and when they go. The same as `get templates`.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead template list
  winstead template list -o yaml        with what ran before they were saved")]
struct ListArgs {
    /// Only these templates.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

/// Removes templates. One that machines stand on is not removed (exit code 3).
///
/// The next machine that wants one of them makes it anew, which takes as long as a boot.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead template rm template-3f9a0c1d2e4b-0
  winstead template rm --unused             all that no machine stands on
  winstead template rm --unused --dry-run")]
struct RmArgs {
    /// The templates.
    #[arg(value_name = "NAME", required_unless_present = "unused", conflicts_with = "unused")]
    names: Vec<String>,
    /// All that no machine stands on.
    #[arg(long)]
    unused: bool,
    /// Shows what would be removed, and removes nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A removed template.
#[derive(Debug, Serialize)]
struct Removed {
    name: String,
}

impl TemplateArgs {
    /// Whether an interrupt has to wait until the command has ended cleanly.
    pub(crate) const fn changes_something(&self) -> bool {
        matches!(self.command, TemplateCommand::Rm(_))
    }
}

/// Runs `template`.
///
/// # Errors
/// As its commands.
pub(crate) async fn run(context: &Context, args: &TemplateArgs) -> Result<(), CliError> {
    match &args.command {
        TemplateCommand::List(args) => get::templates(context, &context.engine().await?, &args.names).await,
        TemplateCommand::Rm(args) => remove(context, args).await,
    }
}

async fn remove(context: &Context, args: &RmArgs) -> Result<(), CliError> {
    let names = args.names.iter().map(|word| machine_name(word)).collect::<Result<Vec<_>, _>>()?;
    let engine = context.engine().await?;
    let removed = if args.dry_run {
        engine.template_removal(&names).await?
    } else {
        engine.remove_templates(&names, &context.listener(), &context.stop).await?
    };
    let items = removed.iter().map(|name| Removed { name: name.to_string() });
    output::show_items(context, "RemovedList", items.collect(), |item: &Removed| {
        format!("- {}\n", item.name)
    })?;
    if !args.dry_run {
        context.ui.note(&format!("{} removed", counted(removed.len(), "template")));
    }
    Ok(())
}
