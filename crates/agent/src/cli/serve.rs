//! `winstead-agent serve`: the daemon, in the foreground.

use std::path::PathBuf;

use clap::Args;
use winstead_agent::{
    serve::{Places, serve_as},
    service::Control,
};

use crate::cli::{
    Failure,
    platform::{RUNTIME, STATE, accompany, asked_to_stop},
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

impl ServeArgs {
    /// As they stand on a command line, without what is the default.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let given = [("--runtime", &self.runtime, RUNTIME), ("--state", &self.state, STATE)];
        given
            .into_iter()
            .filter(|(_, path, default)| path.as_os_str() != *default)
            .flat_map(|(flag, path, _)| [flag.to_owned(), path.to_string_lossy().into_owned()])
            .collect()
    }
}

/// Runs it to its end.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    until_stopped(args, &Control::default())
}

/// Runs it until the system or a person asks it to stop.
///
/// # Errors
/// When it cannot serve.
pub(crate) fn until_stopped(args: &ServeArgs, control: &Control) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let places = Places { runtime: args.runtime.clone(), state: args.state.clone() };
    runtime.block_on(async {
        let serving = serve_as(&places, control);
        tokio::pin!(serving);
        tokio::select! {
            outcome = &mut serving => return Ok(outcome?),
            () = accompany(control) => {}
            asked = asked_to_stop() => asked?,
        }
        control.stop.cancel();
        Ok(serving.await?)
    })
}
