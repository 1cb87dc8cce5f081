//! The six services that old clients call, with the codes and texts that their scripts look for.

mod application;
mod hns;
mod host;
mod network;
mod route;

pub use application::{ApplicationService, VERSION, checksum, info};
pub use hns::HnsService;
pub use host::HostService;
pub use network::NetworkService;
pub use route::RouteService;

use std::error::Error;

use tonic::Status;

/// An error with its causes in one line, as gRPC's messages are.
pub(super) fn line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn internal(what: &str, error: &dyn Error) -> Status {
    Status::internal(format!("{what}: {}", line(error)))
}
