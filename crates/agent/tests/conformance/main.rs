//! Old Go clients of `rancher/wins`, played byte for byte, against the daemon.
//!
//! What is sent stands here as bytes: no encoder of the server's is used, nor h2, tonic or tungstenite. Answers are read with
//! httlib-hpack, which the server does not have either. On Windows they come by named pipes, opened as Go does it.

mod cli;
mod daemon;
mod faults;
mod grpc;
#[path = "../place/mod.rs"]
mod place;
mod processes;
#[cfg(unix)]
mod routes;
mod services;
mod status;
mod system;
mod tunnels;
mod websocket;
