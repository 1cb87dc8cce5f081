//! What old clients of `rancher/wins` speak: six gRPC services, and tunnels over a WebSocket.

pub mod authority;
mod hns;
mod host;
pub mod proxy;
pub mod remotedialer;
pub mod services;
