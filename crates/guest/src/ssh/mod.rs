//! SSH to guests with the system's own `ssh` and `scp`.
//!
//! Everything that OpenSSH needs stands in one folder, `ssh/` of the home: the client key, the guests' host keys
//! (made by us, so they are known before the first connection) and a configuration. Users' own configuration and
//! agents are not looked at; nothing asks questions and no check is off.

mod banner;
mod copy;
mod files;
mod quote;
mod wait;

pub use banner::{Banner, BannerError, BannerReader};
pub use copy::Copy;
pub use files::{Endpoint, SshError, SshFiles};
pub use quote::{QuoteError, quote};
pub use wait::{Handshake, SshWait, wait_for_banner};
