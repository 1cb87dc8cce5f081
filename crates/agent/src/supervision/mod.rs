//! Processes: started, watched, and found again after a restart of the agent.
//!
//! ```text
//!  Supervisor ── starts ──▶ keeper ── starts ──▶ the program and all that it starts
//!      │                      │ waits, kills what is left, writes `exit.json`
//!      │ reads                ▼
//!      └──▶ STATE/processes/ID: record.json  running.json  exit.json  stdout  stderr  …
//! ```
//! A keeper belongs to one process and to no agent: agents come and go, and all that they know of a process stands in its
//! folder. What a program says goes through pipes that its keeper holds open: nobody reading them holds the program, and
//! loses nothing.
//!
//! Decisions are in [`spool`] and know no system; the system is in `unix` or `windows`, which have the same functions.

mod attachment;
mod error;
pub(crate) mod process;
mod pump;
mod record;
pub mod spool;
mod stop;
mod store;
mod supervisor;
#[cfg(unix)]
pub(crate) mod unix;
mod vault;

#[cfg(unix)]
use unix as platform;

pub use attachment::{Attachment, Event};
pub use error::{KeeperFailure, StartError, SupervisionError};
pub use platform::{become_program, keep, orphans};
pub(crate) use platform::{named_signal, search_path};
pub use process::{Offsets, Process, Status};
pub use record::{Account, End, Identity, Order, Record, Running, Terminal};
pub use stop::Stopped;
pub use supervisor::{Settings, Supervisor};
pub use vault::{Kept, Vault, VaultError};
