//! The engine's own loop without a face: one process per home that watches running machines while no command runs.
//!
//! It is started on demand, holds `supervisor.lock` for as long as it lives, and ends with its last machine and template. Each
//! running machine has one task, which alone talks to that machine's `supervisor.sock`. A full overlay pauses its
//! machine; the task lets it grow from the host's reserve and continue, or holds it and says what frees it. On a host with
//! measured overcommit the loop looks at its memory and orders the tasks to hold machines that grow, before it runs out. A
//! panic, an end of QEMU and a vanished store become the machine's phase. Templates that no machine stands on are taken
//! away when their time is over.
//!
//! It is a process, not a thread of `up`, because an overlay can fill up at any time; and it is not the one that
//! carries plans out, because a command that dies must leave it alive.

mod full;
mod pressure;
mod process;
mod templates;
mod watch;

pub use process::supervise;
pub(crate) use process::{end, ensure, lives};
