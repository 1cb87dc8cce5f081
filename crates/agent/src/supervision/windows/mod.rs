//! Processes on Windows: what keeps them, where they are, how they are asked to end, and the pipes of what they say.
//!
//! ```text
//!  program ── stdout, stderr ──▶ pipe ◀── looks ─── agent
//!                                 │                  │ "I have all before byte 4711"
//!                                 ▼                  ▼
//!                               keeper: takes them out, and counts
//! ```
//! A pipe is nothing that has a name or outlives its handles, so the keeper holds them all, and an agent gets copies of those
//! that it needs. An agent copies what a pipe holds, keeps it, and only then has the keeper take it out, up to a byte of the
//! stream: saying that twice does no harm. So an agent that is killed anywhere in between loses nothing and gets nothing twice.

mod accounts;
mod agent_side;
mod files;
mod firewall;
mod keeper;
mod orphans;
mod pipes;
mod reach;
mod terminal;

pub(crate) use accounts::{Account, account};
pub(crate) use agent_side::{Keeper, command, end_lost, named_signal, spawn_keeper};
pub(crate) use files::{
    create_program, file_names, keeper_program, open_program, passable_folder, private_folder, program_name,
    read_at, remove_folder, search_path, write_at,
};
pub use firewall::firewall;
pub use keeper::keep;
pub(crate) use orphans::{all_processes, keeper_folder, keeps, kill, runs_file};
pub(crate) use pipes::{Alive, Input, Source};
