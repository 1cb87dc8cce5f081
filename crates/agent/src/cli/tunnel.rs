//! `winstead-agent tunnel`: ports of the agent's computer, here.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use winstead_agent_client::tunnel::{Mapping, Publisher};
use winstead_protocol::v1::{TunnelListRequest, TunnelProtocol, TunnelStatus};

use crate::cli::{Failure, ListFormat, reach::Reach, runtime};

const PUBLISH: &str = "\
Examples:
  winstead-agent tunnel publish tcp/9796                   localhost:9796 there, 9796 here
  winstead-agent tunnel publish tcp/8080:9796              the same, 8080 here
  winstead-agent tunnel publish tcp/8080:db.internal:5432  a host as the agent's computer calls it
  winstead-agent tunnel publish udp/5300:[::1]:53          datagrams, over IPv6 there
  winstead-agent tunnel publish tcp/9000-9010              eleven ports
  winstead-agent tunnel publish --listen 0.0.0.0 tcp/9796  for all who can reach this computer

A port 0 here is one that the system chooses; it is shown. While the agent is restarted, new
connections wait for it for 15 seconds; those that were open break. Ctrl-C ends all of it.";

/// Publishes ports of the agent's computer here, or lists what is open.
#[derive(Clone, Debug, Args)]
pub(crate) struct TunnelArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Publish(PublishArgs),
    List(ListArgs),
}

/// Listens here, and carries what comes to ports of the agent's computer, until Ctrl-C.
#[derive(Clone, Debug, Args)]
#[command(after_help = PUBLISH)]
struct PublishArgs {
    #[command(flatten)]
    reach: Reach,
    /// PROTOCOL/LISTEN:HOST:PORT, or shorter: PROTOCOL/LISTEN:PORT, PROTOCOL/PORT. Ports may be ranges.
    #[arg(value_name = "SPEC", required = true)]
    specs: Vec<String>,
    /// The address to listen at; may be given several times.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    #[arg(num_args = 1, action = clap::ArgAction::Append)]
    listen: Vec<IpAddr>,
    /// Goes on although the agent refuses a port now: the policy may change.
    #[arg(long)]
    anyway: bool,
}

/// Lists the tunnels that are open: one's own, or all for administrators.
#[derive(Clone, Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    reach: Reach,
    /// How they are written: table or json.
    #[arg(short, long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    output: ListFormat,
}

/// What is wrong with a publication. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
enum PublishFailure {
    #[error("publish {0} of the ports (--anyway publishes them all the same)")]
    Refused(usize),
}

/// Runs the command that the arguments name.
///
/// # Errors
/// When it fails.
pub(crate) fn run(args: &TunnelArgs) -> Result<(), Failure> {
    let runtime = runtime()?;
    match &args.command {
        Command::Publish(args) => runtime.block_on(publish(args)),
        Command::List(args) => runtime.block_on(list(args)),
    }
}

async fn publish(args: &PublishArgs) -> Result<(), Failure> {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_target(false)
        .with_max_level(tracing::Level::INFO)
        // It would complain on standard error that nobody reads standard error, and panic.
        .log_internal_errors(false)
        .init();
    let parsed: Vec<Vec<Mapping>> =
        args.specs.iter().map(|spec| Mapping::parse(spec)).collect::<Result<_, _>>()?;
    let publisher = Publisher::bind(args.reach.address()?, &parsed.concat(), &args.listen).await?;
    let interrupted = tokio::signal::ctrl_c();
    let served = async {
        let refused = publisher.check().await?;
        for error in &refused {
            tracing::error!("failed to {error}");
        }
        if !refused.is_empty() && !args.anyway {
            return Err(PublishFailure::Refused(refused.len()).into());
        }
        for published in publisher.published() {
            tracing::info!("{} leads to {}", published.local, published.target);
        }
        publisher.serve().await;
        Ok(())
    };
    tokio::select! {
        outcome = served => outcome,
        outcome = interrupted => Ok(outcome?),
    }
}

async fn list(args: &ListArgs) -> Result<(), Failure> {
    let connection = args.reach.open().await?;
    let mut answer = connection.tunnels().list(TunnelListRequest {}).await?.into_inner();
    let rows: Vec<Row> = answer.tunnels.drain(..).map(Row::from).collect();
    let mut out = io::stdout().lock();
    match args.output {
        ListFormat::Json => writeln!(out, "{}", serde_json::to_string_pretty(&rows)?)?,
        ListFormat::Table => out.write_all(table(&rows).as_bytes())?,
    }
    Ok(())
}

/// An open tunnel, as one reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: u64,
    target: String,
    caller: String,
    opened_unix_ms: i64,
    /// From the caller to the port.
    bytes_in: u64,
    /// From the port to the caller.
    bytes_out: u64,
}

impl From<TunnelStatus> for Row {
    fn from(status: TunnelStatus) -> Self {
        let target = status.target.unwrap_or_default();
        let protocol = if target.protocol == TunnelProtocol::Udp as i32 { "udp" } else { "tcp" };
        Self {
            id: status.id,
            target: format!("{protocol}/{}:{}", plain(&target.host), target.port),
            caller: plain(&status.caller),
            opened_unix_ms: status.opened_unix_ms,
            bytes_in: status.bytes_in,
            bytes_out: status.bytes_out,
        }
    }
}

/// Without what could steer a terminal: others have written it.
fn plain(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![["ID", "TARGET", "IN", "OUT", "CALLER"].map(str::to_owned)];
    lines.extend(rows.iter().map(|row| {
        let [id, bytes_in, bytes_out] =
            [row.id, row.bytes_in, row.bytes_out].map(|number| number.to_string());
        [id, row.target.clone(), bytes_in, bytes_out, row.caller.clone()]
    }));
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 4] = std::array::from_fn(width);
    let written = lines.iter().map(|line| {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}  "));
        cells.collect::<String>() + &line[4] + "\n"
    });
    written.collect()
}

#[cfg(test)]
mod tests {
    use winstead_protocol::v1::TunnelTarget;

    use super::*;

    fn row() -> Row {
        Row::from(TunnelStatus {
            id: 7,
            target: Some(TunnelTarget { protocol: 1, host: "localhost".to_owned(), port: 53 }),
            caller: "root (local, pid 12)\u{1b}[31m".to_owned(),
            opened_unix_ms: 1,
            bytes_in: 12345,
            bytes_out: 6,
        })
    }

    #[test]
    fn a_table_has_straight_columns_and_steers_no_terminal() {
        let expected = "ID  TARGET            IN     OUT  CALLER\n\
                        7   udp/localhost:53  12345  6    root (local, pid 12)[31m\n";
        assert_eq!(table(&[row()]), expected);
    }

    #[test]
    fn json_has_names_that_scripts_can_rely_on() {
        let text = serde_json::to_string(&row()).unwrap();
        assert!(text.starts_with(r#"{"id":7,"target":"udp/localhost:53","caller":"root"#), "{text}");
        assert!(text.ends_with(r#""openedUnixMs":1,"bytesIn":12345,"bytesOut":6}"#), "{text}");
    }
}
