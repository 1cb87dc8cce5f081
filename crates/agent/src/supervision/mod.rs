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
//! Decisions are in [`spool`] and know no system. What another system has to provide, with the same names, is in `unix` and
//! `windows`:
//!
//! - `spawn_keeper`: starts a detached keeper, hands over the launch on its standard input, and returns when the program
//!   runs or why it does not, with a `Keeper` whose end can be waited for. `keep`: what that keeper does.
//! - `Source`: one output of a program, of a process of this agent's or an earlier one's. `Input`: its input.
//! - `Alive`: tells when the keeper has written `exit.json`, or is gone. Not by asking again and again.
//! - `command`: hands a `record::Command` to a keeper.
//! - `account`: an account by name, and whether this agent may take it, as an `Account`.
//! - `end_lost`: ends what a killed keeper left behind.
//! - `firewall`: that of the system, if the agent makes rules in it; with `false`, it only takes old ones away.
//! - `write_at`, `read_at`, `private_folder`, `remove_folder`: files.
//! - `passable_folder`, `open_program`, `create_program`, `program_name`: the vault.
//! - `keeper_program`: what is started to keep processes.
//! - `all_processes`, `keeper_folder`, `runs_file`, `kill`: for [`orphans`].
//! - `named_signal`: a signal by its name. `search_path` and `file_names`: where programs are looked for, and as what.

mod attachment;
mod error;
mod firewall;
pub mod orphans;
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
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

pub use attachment::{Attachment, Event};
pub use error::{KeeperFailure, StartError, SupervisionError};
pub use firewall::{Firewall, Opening, abandon, is_over};
#[cfg(unix)]
pub use platform::become_program;
#[cfg(windows)]
pub(crate) use platform::keeps;
pub(crate) use platform::{file_names, keeper_program, named_signal, search_path};
pub use platform::{firewall, keep};
pub use process::{Offsets, Process, Status};
pub use record::{End, Identity, Order, Record, Running, Terminal};
pub use stop::Stopped;
pub use supervisor::{Settings, Supervisor};
pub use vault::{Kept, Vault, VaultError};
