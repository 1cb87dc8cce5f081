//! Processes on Linux: what keeps them, where they are, how they are signalled, and the pipes of what they say.

mod accounts;
mod agent_side;
pub(crate) mod cgroup;
mod firewall;
mod keeper;
mod orphans;
mod pipes;
mod programs;
mod stage;
mod terminal;
pub(crate) mod tree;

pub(crate) use accounts::{Account, account};
pub(crate) use agent_side::{
    Keeper, command, end_lost, named_signal, private_folder, read_at, remove_folder, spawn_keeper, write_at,
};
pub use firewall::firewall;
pub use keeper::keep;
pub(crate) use orphans::{keeper_folder, kill, runs_file};
pub(crate) use pipes::{Alive, Input, Source};
pub(crate) use programs::{
    create_program, file_names, keeper_program, open_program, passable_folder, program_name,
};
pub use stage::become_program;
pub(crate) use stage::search_path;
pub(crate) use tree::all_processes;
