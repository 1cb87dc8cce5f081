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
use winstead_agent_client::chain;

fn internal(what: &str, error: &dyn Error) -> Status {
    Status::internal(format!("{what}: {}", chain(error)))
}
