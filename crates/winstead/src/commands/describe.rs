//! `winstead describe`: everything about one machine or pool, for a person.

use std::time::Duration;

use clap::Args;
use tokio::time::timeout;
use winstead_engine::{
    Engine, Phase,
    journal::Transition,
    view::{AgentStatus, Machine, PoolSpec},
};
use winstead_guest::hand::Facts;
use winstead_spec::{Bridge, MachineName, Network, Probe};

use crate::{
    cli::Format,
    commands::{
        facts,
        get::{ask_agents, chosen},
        tables,
    },
    context::Context,
    error::CliError,
    output::{self, Columns, size},
    selection::{Known, Target},
};

/// So many of the last events are shown; `-o json` has them all.
const EVENTS: usize = 20;
/// How long an agent that answers may take to look around.
const FACTS: Duration = Duration::from_secs(3);

const EXAMPLES: &str = "\
Examples:
  winstead describe agents-0
  winstead describe agents              a pool and its machines
  winstead describe agents-0 -o json | jq '.history[].message'";

/// Shows everything about one machine or pool: what it is, what happened to it, what to do about it.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DescribeArgs {
    /// A machine (agents-0) or a pool (agents).
    #[arg(value_name = "NAME")]
    name: String,
}

/// Runs `describe`.
///
/// # Errors
/// When there is nothing of that name.
pub(crate) async fn run(context: &Context, args: &DescribeArgs) -> Result<(), CliError> {
    let engine = context.engine().await?;
    let known = Known::of(&engine).await?;
    match known.target(&args.name)? {
        Target::Machine(name) => machine(context, &engine, &name).await,
        Target::Pool(name) => pool(context, &engine, name.as_str()).await,
    }
}

#[derive(serde::Serialize)]
struct Described {
    #[serde(flatten)]
    machine: Machine,
    history: Vec<Transition>,
    /// What its agent says of it, when it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
}

async fn machine(context: &Context, engine: &Engine, name: &MachineName) -> Result<(), CliError> {
    let mut machine = engine.machine(name).await?;
    engine.ask_agents(std::slice::from_mut(&mut machine)).await?;
    let answers = machine.status.agent.as_ref().is_some_and(|agent| agent.answers);
    let facts =
        if answers { timeout(FACTS, engine.facts(name)).await.ok().and_then(Result::ok) } else { None };
    let described = Described { machine, history: engine.history(name).await?, facts };
    output::show(&context.ui, context.format, &described, |described, _| machine_text(described))?;
    if context.format == Format::Table {
        for hint in hints(&described.machine) {
            context.ui.hint(&hint);
        }
    }
    Ok(())
}

fn machine_text(described: &Described) -> String {
    let (machine, status) = (&described.machine, &described.machine.status);
    let time = |time: Option<jiff::Timestamp>| time.map(|time| format!("{time:.0}")).unwrap_or_default();
    let labels = machine.metadata.labels.iter().map(|(key, value)| format!("{key}={value}"));
    let memory = &status.memory;
    let parts = memory.private_bytes.zip(memory.shared_bytes).filter(|(_, shared)| *shared > 0);
    let parts = parts.map_or_else(String::new, |(private, shared)| {
        format!(" ({} of its own, {} shared)", size(private), size(shared))
    });
    let resident = memory
        .resident_bytes
        .map_or_else(String::new, |bytes| format!(", {} really used{parts}", size(bytes)));
    let mut text = output::facts([
        ("Name", machine.metadata.name.clone()),
        ("Uid", machine.metadata.uid.clone().unwrap_or_default()),
        ("Labels", labels.collect::<Vec<_>>().join(", ")),
        ("Phase", format!("{} ({})", status.phase, status.message)),
        ("Host", status.host.clone()),
        ("Image", format!("{} {}", status.image.name, status.image.digest)),
        ("Cpus", machine.spec.cpus.to_string()),
        ("Memory", format!("{}{resident}", size(status.memory.guest_bytes))),
        ("Disk", format!("{} of {} used", size(status.disk.used_bytes), size(status.disk.cap_bytes))),
        ("Addresses", status.addresses.join(", ")),
        (
            "SSH",
            status
                .ssh
                .as_ref()
                .map_or_else(String::new, |ssh| format!("{}@{} port {}", ssh.user, ssh.host, ssh.port)),
        ),
        ("Agent", status.agent.as_ref().map_or_else(String::new, agent)),
        ("Wants a restart", described.facts.as_ref().map_or_else(String::new, facts::wants_restart)),
        ("Generation", status.generation.to_string()),
        ("Started", time(status.started_at)),
        ("Ready", time(status.ready_at)),
    ]);
    text.push_str("\nConditions:\n");
    let mut conditions = Columns::new(["  TYPE", "STATUS", "REASON", "MESSAGE"]);
    for condition in &status.conditions {
        conditions.row([
            &format!("  {}", condition.kind),
            condition.status,
            &condition.reason,
            &condition.message,
        ]);
    }
    text.push_str(&conditions.text());
    text.extend(described.facts.as_ref().map(|facts| facts::readiness(&facts.features)));
    text + &history_text(&described.history)
}

fn agent(agent: &AgentStatus) -> String {
    match &agent.message {
        Some(why) => format!("{} ({why})", tables::agent(agent)),
        None => tables::agent(agent),
    }
}

fn history_text(history: &[Transition]) -> String {
    let shown = &history[history.len().saturating_sub(EVENTS)..];
    let mut columns = Columns::new(["  TIME", "PHASE", "MESSAGE"]);
    for event in shown {
        let message = event.message.lines().next().unwrap_or_default();
        columns.row([format!("  {:.0}", event.at), event.to.to_string(), message.to_owned()]);
    }
    let cut = if shown.len() < history.len() {
        format!(" (the last {EVENTS} of {})", history.len())
    } else {
        String::new()
    };
    format!("\nHistory{cut}:\n{}", columns.text())
}

fn hints(machine: &Machine) -> Vec<String> {
    let name = &machine.metadata.name;
    match machine.status.phase {
        Phase::Failed | Phase::Held => vec![
            format!("`winstead logs {name}` shows its console"),
            format!("`winstead reset {name}` puts it back to golden"),
        ],
        Phase::Ready => vec![format!("`winstead ssh {name}` logs in")],
        _ => Vec::new(),
    }
}

async fn pool(context: &Context, engine: &Engine, name: &str) -> Result<(), CliError> {
    let list = chosen(engine.pools().await?, &[name.to_owned()], "pool", |pool| &pool.metadata.name)?;
    let mut machines = engine.machines().await?;
    machines.items.retain(|machine| machine.spec.pool == name);
    ask_agents(context, engine, &mut machines).await?;
    let spec = list.items.first().map(|pool| pool_text(&pool.spec)).unwrap_or_default();
    output::show(&context.ui, context.format, &list, |list, wide| {
        format!("{}\n{spec}\n{}", tables::pools(list, true), tables::machines(&machines, wide))
    })
}

fn pool_text(pool: &PoolSpec) -> String {
    let network = match &pool.network {
        Network::User => "user".to_owned(),
        Network::Bridge(Bridge::Own { name, subnet }) => format!("bridge {name}, {subnet}"),
        Network::Bridge(Bridge::Existing { name }) => format!("bridge {name}, which is not ours"),
    };
    let probe = match pool.probe {
        Probe::Ssh => "SSH answers",
        Probe::Agent => "the guest agent answers",
        Probe::Started => "QEMU runs it",
    };
    output::facts([
        ("Image", pool.image.clone()),
        ("Replicas", pool.replicas.to_string()),
        ("Cpus", pool.cpus.to_string()),
        ("Memory", size(pool.memory_bytes)),
        ("Disk", format!("{} in the store {}", size(pool.cap_bytes), tables::store(pool.store))),
        ("Network", network),
        ("Ready", format!("when {probe}, within {} s", pool.deadline_seconds)),
    ])
}
