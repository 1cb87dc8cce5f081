//! Talks to a `winstead-agent`: on this computer, in a machine, or over the network.
//!
//! Knows the way to it and its protocol, and how a terminal is lent to what it runs; nothing of the daemon itself. What an
//! agent in a guest says is not trusted: every message is bounded.

mod computer;
mod connect;
mod error;
mod files;
pub mod flow;
pub mod identity;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
pub mod port;
mod processes;
pub mod socket;
mod tcp;
pub mod terminal;
pub mod tunnel;

pub use computer::{Clocks, RebootError, come_back};
pub use connect::{Address, Alive, Connection};
pub use error::{ConnectError, chain};
pub use files::FileError;
#[cfg(windows)]
pub use platform::PipeStream;
pub use platform::{stream, wins_door};
pub use processes::{CallError, Listening, ProcessInput, Said};
pub use tcp::{Place, PlaceError};
