//! What goes over the wire: the agent's own protocol, version 1, and the one of `rancher/wins` that old clients speak.
//!
//! Messages and the stubs around them, made from the files in `proto/`, and what carries them on a serial port
//! ([`port`]) and at vsock ([`vsock`]); no I/O, no clock, no decisions.

pub mod port;
pub mod vsock;

/// The agent's own protocol, version 1 (`proto/winstead/agent/v1/agent.proto`).
pub mod v1 {
    tonic::include_proto!("winstead.agent.v1");
}

/// What rancher/wins spoke up to v0.15 (`proto/wins.proto`).
pub mod wins {
    tonic::include_proto!("wins");
}
