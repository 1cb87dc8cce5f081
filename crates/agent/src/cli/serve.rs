//! `winstead-agent serve`: the daemon, in the foreground.

use std::path::PathBuf;

use clap::Args;
use tokio_util::sync::CancellationToken;
use winstead_agent::serve::{Places, serve};

use crate::cli::Failure;

/// Runs the daemon in the foreground, until Ctrl-C or SIGTERM.
#[derive(Clone, Debug, Args)]
pub(crate) struct ServeArgs {
    /// The folder of its sockets.
    #[arg(long, value_name = "DIR", default_value = "/run/winstead-agent")]
    runtime: PathBuf,
    /// The folder of what outlives it.
    #[arg(long, value_name = "DIR", default_value = "/var/lib/winstead-agent")]
    state: PathBuf,
}

/// Runs it to its end.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    let places = Places { runtime: args.runtime.clone(), state: args.state.clone() };
    until_stopped(async |stop| Ok(serve(&places, stop).await?))
}

/// Does this until Ctrl-C or SIGTERM.
pub(crate) fn until_stopped(
    act: impl AsyncFnOnce(&CancellationToken) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let signals = tokio::spawn(async move {
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                _ = term.recv() => {}
                outcome = tokio::signal::ctrl_c() => outcome?,
            }
            asked.cancel();
            Ok::<(), std::io::Error>(())
        });
        let outcome = act(&stop).await;
        signals.abort();
        outcome
    })
}
