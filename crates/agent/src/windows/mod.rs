//! Windows' own calls, each behind a function that cannot be misused. The only place of this crate without Rust's
//! guarantees; nothing here decides anything.

mod adapters;
mod events;
mod identity;
mod job;
mod memory;
mod process;
mod security;
mod spawn;

pub use adapters::{AdapterKind, NetworkAdapter, network_adapters};
pub(crate) use events::newest_event;
pub use events::{EventLog, LIFE};
pub(crate) use identity::{Token, account_sid};
pub use job::Job;
pub(crate) use process::{ClientProcess, client_of, is_wine, now};
pub(crate) use security::{Descriptor, read_as_bytes};
pub use spawn::{Login, Program, Started};
