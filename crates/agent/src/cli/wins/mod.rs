//! The command line of `rancher/wins`: `srv` for the daemon, `cli` for those who call it; the same words as subcommands
//! of this program, and alone when a copy of it is called `wins`.

mod alone;
mod connect;
mod json;
#[cfg_attr(unix, path = "unix.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
mod process;
mod proxy;
mod questions;
mod server;

pub(crate) use alone::{is_wins, run_alone};
pub(crate) use questions::{ClientArgs, client};
pub(crate) use server::{ServerArgs, server};
