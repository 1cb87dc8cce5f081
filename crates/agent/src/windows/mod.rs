//! Windows' own calls, each behind a function that cannot be misused. The only place of this crate without Rust's
//! guarantees; nothing here decides anything.

mod adapters;
mod authenticode;
mod computer;
mod console;
mod container_networks;
mod events;
mod firewall;
mod identity;
mod job;
mod library;
mod licence;
mod memory;
mod pipe;
mod process;
mod routes;
mod security;
mod shutdown;
mod snapshot;
mod spawn;
mod wait;

pub use adapters::{AdapterKind, NetworkAdapter, network_adapters};
pub(crate) use authenticode::{STRANGER, signer};
pub(crate) use computer::{Volume, boots, host_name, memory_bytes, system_volume, uptime_ms};
pub use console::PseudoConsole;
pub(crate) use container_networks::container_networks;
pub(crate) use events::newest_event;
pub use events::{EventLog, LIFE};
pub(crate) use firewall::{FirewallRule, add_rule, remove_rule, rules_of};
pub(crate) use identity::{Token, account_sid};
pub use job::Job;
pub(crate) use licence::{Licence, licences};
pub(crate) use pipe::{PipeEnd, to_read, to_write};
pub(crate) use process::{ClientProcess, client_of, is_wine, now};
pub(crate) use routes::{DefaultRoute, add_route, default_routes, remove_route};
pub(crate) use security::{Descriptor, read_as_bytes};
pub(crate) use shutdown::restart;
pub(crate) use snapshot::list;
pub(crate) use spawn::Suspended;
pub use spawn::{Login, Program, Started, Streams};
pub(crate) use wait::{Event, For, signalled, signalled_within};
