//! Talks to a `winstead-agent`: on this computer, in a machine, or over the network.
//!
//! Knows the way to it and its protocol, nothing of the daemon itself. What an agent in a guest says is not trusted:
//! every message is bounded.

mod connect;
mod error;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;

pub use connect::{Address, Connection};
pub use error::ConnectError;
#[cfg(windows)]
pub use platform::PipeStream;
