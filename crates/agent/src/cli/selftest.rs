//! `winstead-agent selftest`: tries on this computer what the agent's safety rests on.

use std::{io::Write as _, path::PathBuf, time::Duration};

use clap::Args;
use winstead_agent::selftest::{self, Outcome, Subject};

use crate::cli::{Failure, Format, platform, runtime};

const REST: Duration = Duration::from_secs(60);

/// Tries on this computer what the agent's safety rests on: refusals, limits, ends. Fails when one of them does not hold.
#[derive(Clone, Debug, Args)]
pub(crate) struct SelftestArgs {
    /// The folder of its sockets; on Windows the name of its pipe.
    #[arg(long, value_name = "DIR", default_value = platform::RUNTIME)]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = platform::STATE)]
    state: PathBuf,
    /// The service's name.
    #[arg(long, value_name = "NAME", default_value = "winstead-agent")]
    name: String,
    /// How it is shown.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Takes so many bytes of memory and ends: what a limit is tried with.
    #[arg(long, hide = true, value_name = "BYTES")]
    allocate: Option<usize>,
    /// Does nothing for a minute: what is asked to end.
    #[arg(long, hide = true)]
    rest: bool,
}

/// Runs it to its end.
///
/// # Errors
/// When something does not hold.
pub(crate) fn run(args: &SelftestArgs) -> Result<(), Failure> {
    if let Some(bytes) = args.allocate {
        return allocate(bytes);
    }
    if args.rest {
        std::thread::park_timeout(REST);
        return Ok(());
    }
    let subject = Subject {
        runtime: args.runtime.clone(),
        state: args.state.clone(),
        service: args.name.clone(),
        program: std::env::current_exe()?,
    };
    let items = runtime()?.block_on(selftest::run(&subject));
    let mut out = std::io::stdout().lock();
    match args.output {
        Format::Text => items.iter().try_for_each(|item| writeln!(out, "{item}"))?,
        Format::Json => writeln!(out, "{}", serde_json::to_string(&items)?)?,
    }
    match items.iter().filter(|item| matches!(item.outcome, Outcome::Failed(_))).count() {
        0 => Ok(()),
        failed => Err(format!("find everything as it should be: {failed} of {} failed", items.len()).into()),
    }
}

fn allocate(bytes: usize) -> Result<(), Failure> {
    let mut memory: Vec<u8> = Vec::new();
    memory.try_reserve_exact(bytes)?;
    // Touched, or nobody counts it.
    memory.resize(bytes, 1);
    match memory.last() {
        Some(1) | None => Ok(()),
        Some(_) => Err("keep what was written".into()),
    }
}
