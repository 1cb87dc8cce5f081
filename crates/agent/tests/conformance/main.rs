//! Old Go clients of `rancher/wins`, played byte for byte, against the daemon.
//!
//! What is sent stands here as bytes: no encoder of the server's is used, nor h2, tonic or tungstenite. Answers are read with
//! httlib-hpack, which the server does not have either.

#![cfg(unix)]

mod cli;
mod daemon;
mod faults;
mod grpc;
mod processes;
mod services;
mod status;
mod tunnels;
mod websocket;
