#![forbid(unsafe_code)]
//! Experiments: one load in many machines at once, in several arms, again and again, with the host watched meanwhile.
//!
//! [`Experiment`] is `winstead bench contention`: it brings machines through the engine, holds their probes at a
//! [`barrier`](crate), samples the [`host`] while they work, throws the machines away, and keeps each run in a folder
//! from which an interrupted experiment goes on. [`disk`] measures one place again and again. What the numbers say is
//! `winstead-measurement`'s.

mod arms;
mod barrier;
mod call;
pub mod disk;
mod error;
mod experiment;
#[cfg(test)]
mod fixtures;
mod host;
mod launch;
mod limit;
mod lock;
mod probes;
mod program;
mod results;
mod schedule;

pub use arms::{admitted, ensure_free, pool_of};
pub use error::BenchError;
pub use experiment::{Experiment, Progress, Tell, way};
pub use host::{device_of, host};
pub use limit::LimitError;
pub use lock::Lock;
pub use program::{Program, ProgramError};
pub use results::{DOCUMENT, Results};
pub use schedule::{Cell, schedule};
