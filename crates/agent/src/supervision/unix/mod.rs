//! Processes on Linux: what keeps them, where they are, how they are signalled, and the pipes of what they say.
//!
//! What another system has to provide, with the same names:
//!
//! - [`spawn_keeper`]: starts a detached keeper, hands over the launch on its standard input, and returns when the program
//!   runs or why it does not. [`keep`]: what that keeper does, see `keeper.rs`. [`become_program`]: the last step before the
//!   program, where a system needs one (Windows does not).
//! - [`Source`]: one output of a program, of a process of this agent's or an earlier one's. [`Input`]: its input.
//! - [`Alive`]: tells when the keeper has written `exit.json`, or is gone. Not by asking again and again.
//! - [`Command`] and [`command`]: what a keeper can be told.
//! - [`account`]: an account by name, and whether this agent may take it.
//! - [`end_lost`]: ends what a killed keeper left behind.
//! - [`write_at`], [`read_at`], [`private_folder`]: files.
//! - [`passable_folder`], [`open_program`], [`create_program`], [`program_name`]: the vault.
//! - [`orphans`]: programs of the old pattern `rancher-wins-*`, and keepers without a record.
//! - [`named_signal`]: a signal by its name. [`search_path`]: where programs are looked for.

mod accounts;
mod agent_side;
pub(crate) mod cgroup;
mod keeper;
pub mod orphans;
mod pipes;
mod programs;
mod stage;
mod terminal;
pub(crate) mod tree;

pub(crate) use accounts::account;
pub(crate) use agent_side::{
    command, end_lost, named_signal, private_folder, read_at, spawn_keeper, write_at,
};
pub(crate) use keeper::Command;
pub use keeper::keep;
pub(crate) use pipes::{Alive, Input, Source};
pub(crate) use programs::{create_program, open_program, passable_folder, program_name};
pub use stage::become_program;
pub(crate) use stage::search_path;
