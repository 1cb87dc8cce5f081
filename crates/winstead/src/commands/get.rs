//! `winstead get`: lists of what is there.

use clap::{Args, ValueEnum};
use serde::Serialize;
use winstead_engine::{
    Engine, nearest,
    view::{List, Machine},
};

use crate::{cli::Format, commands::tables, context::Context, error::CliError, output};

const EXAMPLES: &str = "\
Examples:
  winstead get machines
  winstead get machines agents-0 -o yaml
  winstead get pools -o wide
  winstead get machines -o json | jq -r '.items[] | select(.status.phase == \"Held\").metadata.name'

`-o json` and `-o yaml` always give a list (apiVersion, kind, items) that stays as it is from
release to release. Bytes are integers, times RFC 3339.";

/// Lists machines, pools, images, templates or hosts.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// What to list: machines, pools, images, templates or hosts.
    #[arg(value_enum, value_name = "KIND", hide_possible_values = true)]
    kind: Kind,
    /// Only these.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    #[value(aliases = ["machine", "m"])]
    Machines,
    #[value(aliases = ["pool", "p"])]
    Pools,
    #[value(aliases = ["image", "i"])]
    Images,
    #[value(aliases = ["template", "t"])]
    Templates,
    #[value(aliases = ["host", "h"])]
    Hosts,
}

/// Runs `get`.
///
/// # Errors
/// When a name is unknown.
pub(crate) async fn run(context: &Context, args: &GetArgs) -> Result<(), CliError> {
    let engine = context.engine().await?;
    let names = &args.names;
    match args.kind {
        Kind::Machines => {
            let mut list = chosen(engine.machines().await?, names, "machine", |item| &item.metadata.name)?;
            ask_agents(context, &engine, &mut list).await?;
            show(context, &list, "machines", tables::machines)
        }
        Kind::Pools => {
            let list = chosen(engine.pools().await?, names, "pool", |item| &item.metadata.name)?;
            show(context, &list, "pools", tables::pools)
        }
        Kind::Images => {
            let list = chosen(engine.images().await?, names, "image", |item| &item.metadata.name)?;
            show(context, &list, "images", tables::images)
        }
        Kind::Templates => templates(context, &engine, names).await,
        Kind::Hosts => {
            let list = chosen(engine.hosts().await?, names, "host", |item| &item.metadata.name)?;
            show(context, &list, "hosts", tables::hosts)
        }
    }
}

/// Asks machines' agents, unless the answer has no place in the narrow table: that one is not kept waiting.
///
/// # Errors
/// When the journal cannot be read.
pub(crate) async fn ask_agents(
    context: &Context,
    engine: &Engine,
    machines: &mut List<Machine>,
) -> Result<(), CliError> {
    if context.format == Format::Table {
        return Ok(());
    }
    Ok(engine.ask_agents(&mut machines.items).await?)
}

/// Shows templates: those with these names, or all.
///
/// # Errors
/// When a name is unknown.
pub(crate) async fn templates(context: &Context, engine: &Engine, names: &[String]) -> Result<(), CliError> {
    let list = chosen(engine.templates().await?, names, "template", |item| &item.metadata.name)?;
    show(context, &list, "templates", tables::templates)
}

fn show<T: Serialize>(
    context: &Context,
    list: &List<T>,
    what: &str,
    table: fn(&List<T>, bool) -> String,
) -> Result<(), CliError> {
    output::show(&context.ui, context.format, list, table)?;
    if list.items.is_empty() && matches!(context.format, Format::Table | Format::Wide) {
        context.ui.note(&format!("no {what}"));
    }
    Ok(())
}

/// The items with these names, in the order of the list; all when none is named.
///
/// # Errors
/// When one is not there.
pub(crate) fn chosen<T>(
    mut list: List<T>,
    names: &[String],
    what: &str,
    name: fn(&T) -> &String,
) -> Result<List<T>, CliError> {
    if let Some(missing) = names.iter().find(|wanted| list.items.iter().all(|item| name(item) != *wanted)) {
        let hint = nearest(missing, list.items.iter().map(name).cloned()).map_or_else(
            || format!("`winstead get {what}s` shows what is there"),
            |nearest| format!("did you mean `{nearest}`?"),
        );
        return Err(CliError::usage(format!("find the {what} {missing}"), hint));
    }
    if !names.is_empty() {
        list.items.retain(|item| names.contains(name(item)));
    }
    Ok(list)
}
