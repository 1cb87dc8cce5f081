//! What the old command line has on Windows alone: a service of its own.

use std::io::Write as _;

use winstead_agent::service::{self, Phase, Service, ServiceError};

use super::server::{RunArgs, daemon, in_foreground};
use crate::cli::{Failure, platform::in_service, runtime, service::uninstall};

/// Where the old configuration file is.
pub(super) const CONFIG: &str = r"c:\etc\rancher\wins\config";

/// What scripts start, stop and look for.
const NAME: &str = "rancher-wins";

/// Makes a service of it, in the place of one of this name, which is stopped. As ever it is not started.
///
/// # Errors
/// When the service manager refuses.
pub(super) fn register(args: &RunArgs) -> Result<(), Failure> {
    let service = Service {
        name: NAME.to_owned(),
        description: "Serves clients of rancher/wins".to_owned(),
        program: std::env::current_exe()?,
        arguments: args.words(),
        delayed: args.delayed_start,
    };
    runtime()?.block_on(async {
        if service::status(NAME).await?.phase != Phase::NotInstalled {
            service::stop(NAME).await?;
        }
        for missing in service::install(&service).await? {
            writeln!(std::io::stderr(), "warning: registered without {missing}").unwrap_or_default();
        }
        Ok(())
    })
}

/// Stops the service and takes it away.
///
/// # Errors
/// When the service manager refuses.
pub(super) fn unregister() -> Result<(), Failure> {
    runtime()?.block_on(uninstall(NAME))
}

/// Serves: as a service if the service manager started this process, which says so nowhere on the command line of a service
/// that the old program registered; else in the foreground.
///
/// # Errors
/// When it cannot serve.
pub(super) fn run(args: &RunArgs, level: Option<&str>) -> Result<(), Failure> {
    let theirs = args.clone();
    match in_service(NAME, move |signals| daemon(&theirs, &theirs.read()?, signals)) {
        Err(ServiceError::NotAService) => in_foreground(args, level),
        outcome => Ok(outcome?),
    }
}
