//! What the old command line has on Unix in the places of what only Windows has.

/// Serves, in the foreground.
pub(super) use super::server::in_foreground as run;

use super::server::RunArgs;
use crate::cli::Failure;

/// Where the old configuration file is.
pub(super) const CONFIG: &str = "/etc/rancher/wins/config";

/// It cannot be done here. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("{0} a service: only Windows has such services; on Linux the package brings a systemd unit")]
struct NoService(&'static str);

/// Says that there is nothing to register with.
///
/// # Errors
/// Always.
pub(super) fn register(_: &RunArgs) -> Result<(), Failure> {
    Err(NoService("register").into())
}

/// Likewise.
///
/// # Errors
/// Always.
pub(super) fn unregister() -> Result<(), Failure> {
    Err(NoService("remove").into())
}
