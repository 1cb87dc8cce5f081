//! `winstead-agent ps`, `attach`, `logs`, `stop` and `rm`: processes that were started before.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Args;
use serde_json::json;
use winstead_protocol::v1::ProcessStatus;
use winstead_spec::Span;

use crate::cli::{Failure, ListFormat, listen, reach::Reach, runtime, terminal};

/// Lists the processes that you may see.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  winstead-agent ps\n  winstead-agent ps -o json | jq '.[] | select(.exited == null) | .id'"
)]
pub(crate) struct PsArgs {
    #[command(flatten)]
    reach: Reach,
    /// How they are written: table or json.
    #[arg(short, long, value_name = "FORMAT", default_value = "table", hide_possible_values = true)]
    output: ListFormat,
}

/// Comes back to a process: the rest of its output, and its input.
///
/// What was written is forgotten by the agent. Ends with the process's own exit code.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  winstead-agent attach 1f6d0a4c9d9b4b0f8d3c5f0a7e21c3aa\n  winstead-agent attach -t 1f6d0a4c9d9b4b0f8d3c5f0a7e21c3aa    at your terminal; Ctrl-] leaves"
)]
pub(crate) struct AttachArgs {
    #[command(flatten)]
    reach: Reach,
    /// Your terminal is the program's, which was run with one: all keys, and the size. Ctrl-] leaves it.
    #[arg(short, long)]
    terminal: bool,
    /// The process, as `ps` names it.
    id: String,
}

/// Shows what is kept of a process's output. It stays kept.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  winstead-agent logs 1f6d0a4c9d9b4b0f8d3c5f0a7e21c3aa > log\n  winstead-agent logs -f 1f6d0a4c9d9b4b0f8d3c5f0a7e21c3aa"
)]
pub(crate) struct LogsArgs {
    #[command(flatten)]
    reach: Reach,
    /// Goes on until the process ends.
    #[arg(short, long)]
    follow: bool,
    /// The process, as `ps` names it.
    id: String,
}

/// Ends a process with all that it started: asked first, killed after a while.
#[derive(Clone, Debug, Args)]
#[command(
    after_help = "Examples:\n  winstead-agent stop 1f6d0a4c9d9b4b0f8d3c5f0a7e21c3aa\n  winstead-agent stop --grace 0s 1f6d0a4c9d9b4b0f8d3c5f0a7e21c3aa    by force at once"
)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    reach: Reach,
    /// How long it has: `10s`, `500ms`, `2m`.
    #[arg(long, value_name = "TIME", default_value = "10s")]
    grace: Span,
    /// The process, as `ps` names it.
    id: String,
}

/// Forgets an ended process and what is kept of its output.
#[derive(Clone, Debug, Args)]
pub(crate) struct RmArgs {
    #[command(flatten)]
    reach: Reach,
    /// The process, as `ps` names it.
    id: String,
}

/// Lists them.
///
/// # Errors
/// When the agent cannot be asked.
pub(crate) fn ps(args: &PsArgs) -> Result<ExitCode, Failure> {
    let processes =
        runtime()?.block_on(async { Ok::<_, Failure>(args.reach.open().await?.list_processes().await?) })?;
    let mut out = io::stdout().lock();
    match args.output {
        ListFormat::Json => {
            let all: Vec<serde_json::Value> = processes.iter().map(document).collect();
            serde_json::to_writer_pretty(&mut out, &all)?;
            writeln!(out)?;
        }
        ListFormat::Table => {
            writeln!(out, "{:<32}  {:>7}  {:<10}  PROGRAM", "ID", "PID", "STATE")?;
            for process in &processes {
                let words = std::iter::once(&process.program).chain(&process.arguments);
                let words: Vec<String> = words.map(|word| word.escape_debug().to_string()).collect();
                writeln!(
                    out,
                    "{:<32}  {:>7}  {:<10}  {}",
                    process.id,
                    process.pid,
                    state(process),
                    words.join(" ")
                )?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn state(process: &ProcessStatus) -> String {
    match &process.exited {
        None => "running".to_owned(),
        Some(exited) if exited.signal != 0 => format!("signal {}", exited.signal),
        // As Windows has them, which counts what it did itself from there on: 0xC0000005.
        Some(exited) if exited.code < 0 => format!("exit {:#010X}", exited.code),
        Some(exited) => format!("exit {}", exited.code),
    }
}

fn document(process: &ProcessStatus) -> serde_json::Value {
    json!({
        "id": process.id,
        "pid": process.pid,
        "label": process.label,
        "program": process.program,
        "arguments": process.arguments,
        "account": process.account,
        "caller": process.caller,
        "startedUnixMs": process.started_unix_ms,
        "exited": process.exited.as_ref().map(|exited| json!({"code": exited.code, "signal": exited.signal})),
        "stdoutBytes": process.stdout_bytes,
        "stderrBytes": process.stderr_bytes,
        "adopted": process.adopted,
        "ports": process.ports,
    })
}

/// Until it ends; its code is ours.
///
/// # Errors
/// When there is no such process.
pub(crate) fn attach(args: &AttachArgs) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        let connection = args.reach.open().await?;
        if args.terminal {
            return terminal::attach(&connection, &args.id).await;
        }
        let listening = connection.attach(&args.id, [0; 2], true).await?;
        listen::to_its_end(listening, true).await
    })
}

/// What is kept, and with `-f` what comes.
///
/// # Errors
/// When there is no such process.
pub(crate) fn logs(args: &LogsArgs) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async {
        let connection = args.reach.open().await?;
        let listening = connection.attach(&args.id, [0; 2], false).await?;
        if args.follow {
            listen::to_its_end(listening, false).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let all = connection.list_processes().await?;
        let until = all.iter().find(|process| process.id == args.id);
        let until = until.map_or([0; 2], |process| [process.stdout_bytes, process.stderr_bytes]);
        listen::until(listening, until).await?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Ends it.
///
/// # Errors
/// When there is no such process, or it does not go away.
pub(crate) fn stop(args: &StopArgs) -> Result<ExitCode, Failure> {
    let stopped = runtime()?.block_on(async {
        Ok::<_, Failure>(args.reach.open().await?.stop(&args.id, args.grace.duration()).await?)
    })?;
    let how = if stopped.forced { "by force" } else { "by itself" };
    writeln!(io::stderr(), "ended {how}, code {}", stopped.exited.unwrap_or_default().code)?;
    Ok(ExitCode::SUCCESS)
}

/// Forgets it.
///
/// # Errors
/// When there is no such process, or it runs.
pub(crate) fn rm(args: &RmArgs) -> Result<ExitCode, Failure> {
    runtime()?.block_on(async { Ok::<_, Failure>(args.reach.open().await?.remove(&args.id).await?) })?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Stop {
        #[command(flatten)]
        args: StopArgs,
    }

    #[test]
    fn grace_is_a_time_with_a_unit_as_in_all_documents() {
        let grace = |time: &str| {
            Stop::try_parse_from(["stop", "--grace", time, "7"]).map(|stop| stop.args.grace.duration())
        };
        assert_eq!(grace("500ms").ok(), Some(Duration::from_millis(500)));
        assert_eq!(grace("0s").ok(), Some(Duration::ZERO));
        assert_eq!(grace("1h").ok(), Some(Duration::from_hours(1)));
        assert!(grace("10").is_err() && grace("s").is_err());
    }
}
