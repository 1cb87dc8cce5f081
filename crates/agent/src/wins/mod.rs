//! What old clients of `rancher/wins` speak: six gRPC services, and tunnels over a WebSocket.
//!
//! ```text
//!  door wins ─── authority ─── HTTP/2, gRPC ─── services, process
//!  door wins-proxy ─────────── WebSocket ────── proxy (remotedialer)
//! ```

pub mod authority;
mod configuration;
pub(crate) mod hns;
mod host;
pub mod lists;
pub mod process;
pub mod proxy;
pub mod remotedialer;
mod rules;
mod serve;
pub mod services;

pub use configuration::{configuration, warn};
#[cfg(windows)]
pub(crate) use hns::parse as container_network;
pub use rules::rules;
pub use serve::{Visitor, serve};
