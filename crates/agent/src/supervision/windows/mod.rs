//! Processes on Windows: what keeps them, where they are, how they are asked to end, and the pipes of what they say.

mod accounts;
mod agent_side;
mod files;
mod keeper;
mod orphans;
mod pipes;

pub(crate) use accounts::{Account, account};
pub(crate) use agent_side::{Keeper, command, end_lost, named_signal, spawn_keeper};
pub(crate) use files::{
    create_program, file_names, open_program, passable_folder, private_folder, program_name, read_at,
    search_path, write_at,
};
pub use keeper::keep;
pub(crate) use orphans::{all_processes, keeper_folder, kill, runs_file};
pub(crate) use pipes::{Alive, Input, Source};
