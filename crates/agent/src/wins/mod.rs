//! What old clients of `rancher/wins` speak: six gRPC services, and tunnels over a WebSocket.

pub mod authority;
pub mod proxy;
pub mod remotedialer;
