//! Ports of the agent's computer, reached from here.
//!
//! One tunnel is one connection, or one sender's datagrams ([`Connection::open_tunnel`](crate::Connection::open_tunnel)).
//! A [`Publisher`] listens here and opens one for each that comes.

mod datagrams;
mod link;
mod mapping;
mod open;
mod publish;
mod stream;
mod target;

pub use mapping::{Mapping, Problem, SpecError};
pub use open::{Incoming, OpenError, Refusal, Tunnel, TunnelError};
pub use publish::{PublishError, Published, Publisher};
pub use target::{Protocol, Target};
