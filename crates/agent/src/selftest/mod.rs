//! What only the computer itself can prove: a checklist for the real thing.
//!
//! The tests of this project run on Linux, and for Windows under Wine, which says yes where Windows would refuse. So
//! what the agent's safety rests on is tried here, where it is to run. Nothing stays behind.

mod item;
#[cfg(unix)]
mod limits;
#[cfg(windows)]
mod network;
#[cfg_attr(unix, path = "linux.rs")]
#[cfg_attr(windows, path = "windows.rs")]
mod platform;
#[cfg(windows)]
mod processes;

pub use item::{Item, Outcome, Subject};
pub use platform::run;
