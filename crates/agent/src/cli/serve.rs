//! `winstead-agent serve`: the daemon, in the foreground.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;
use winstead_agent::serve::{Places, serve};

use crate::cli::{
    Failure,
    platform::{RUNTIME, STATE, asked_to_stop},
};

/// Runs the daemon in the foreground, until Ctrl-C or SIGTERM.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder of its sockets; on Windows the name of its pipe.
    #[arg(long, value_name = "DIR", default_value = RUNTIME)]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = STATE)]
    state: PathBuf,
}

/// Runs it to its end.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let places = Places { runtime: args.runtime.clone(), state: args.state.clone() };
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let signals = tokio::spawn(async move {
            asked_to_stop().await?;
            asked.cancel();
            Ok::<(), std::io::Error>(())
        });
        let outcome = serve(&places, &stop).await;
        signals.abort();
        outcome
    })?;
    Ok(())
}
