//! `winstead facts`: what a machine says of itself.

use clap::Args;
use serde::Serialize;
use winstead_guest::hand::{Facts, Feature};

use crate::{
    context::Context,
    error::CliError,
    output::{self, Columns, size},
    selection::machine_name,
};

const EXAMPLES: &str = "\
Examples:
  winstead facts agents-0
  winstead facts agents-0 -o json | jq -r '.features[] | select(.present | not).name'
  winstead facts agents-0 -o json | jq -r '.pendingReboot[]'     why it wants a restart

The machine's own agent is asked (`agent: true` of its image), which needs no network there. What
it says is the machine's word: nothing that Winstead decides depends on it.";

/// Shows what a machine says of itself.
///
/// Its system, its network cards, whether it wants a restart, and what Kubernetes needs of a node.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct FactsArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    name: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MachineFacts {
    api_version: &'static str,
    kind: &'static str,
    machine: String,
    #[serde(flatten)]
    facts: Facts,
}

/// Runs `facts`.
///
/// # Errors
/// When the machine does not run, or has no agent that answers.
pub(crate) async fn run(context: &Context, args: &FactsArgs) -> Result<(), CliError> {
    let name = machine_name(&args.name)?;
    let facts = context.engine().await?.facts(&name).await?;
    let (api_version, kind, machine) = (winstead_spec::API_VERSION, "MachineFacts", name.to_string());
    let said = MachineFacts { api_version, kind, machine, facts };
    output::show(&context.ui, context.format, &said, |said, _| text(&said.facts))
}

fn text(facts: &Facts) -> String {
    let seconds = i64::try_from(facts.uptime_millis / 1000).unwrap_or(i64::MAX);
    let mut text = output::facts([
        ("Host name", facts.host_name.clone()),
        ("System", facts.os_name.clone()),
        ("Build", build(facts)),
        ("Licence ends", facts.licence_days_left.map_or_else(String::new, |days| format!("in {days} days"))),
        ("Runs for", output::seconds(seconds)),
        ("Cpus", facts.cpus.to_string()),
        ("Memory", size(facts.memory_bytes)),
        ("Wants a restart", wants_restart(facts)),
        ("Not known", facts.unknown.join("; ")),
    ]);
    let mut cards = Columns::new(["  CARD", "UP", "MAC", "ADDRESSES"]);
    for adapter in &facts.adapters {
        let up = if adapter.up { "yes" } else { "no" };
        cards.row([
            format!("  {}", adapter.name),
            up.into(),
            adapter.mac.clone(),
            adapter.addresses.join(", "),
        ]);
    }
    text += &format!("\nNetwork:\n{}", cards.text());
    text + &readiness(&facts.features)
}

/// With the update of it, where there is one.
fn build(facts: &Facts) -> String {
    facts.ubr.map_or_else(|| facts.build.clone(), |ubr| format!("{}.{ubr}", facts.build))
}

/// Why a machine wants a restart, in a line.
pub(crate) fn wants_restart(facts: &Facts) -> String {
    if facts.pending_reboot.is_empty() { "no".to_owned() } else { facts.pending_reboot.join("; ") }
}

/// What Kubernetes needs of a node, as a table with its heading.
pub(crate) fn readiness(features: &[Feature]) -> String {
    let mut columns = Columns::new(["  FEATURE", "PRESENT", "SEEN"]);
    for feature in features {
        let present = if feature.present { "yes" } else { "no" };
        columns.row([format!("  {}", feature.name), present.to_owned(), feature.seen.clone()]);
    }
    format!("\nReady for Kubernetes:\n{}", columns.text())
}
