#![forbid(unsafe_code)]
//! What measuring produces, whoever measured it, and what it says.
//!
//! Pure: bytes in, values out; no I/O and no clock, so that everybody can compute a report again from its file.
//!
//! | the question | who answers it |
//! |---|---|
//! | What was measured in one run? | [`Run`], read from a result of `winstead-probe` |
//! | What did an experiment with many machines find? | [`Contention`], the document of `winstead bench contention` |
//! | What does an experiment say? | [`Findings`] |
//! | Are these runs slower than those? | [`compare()`], like with like only |
//! | What is in this file, whoever wrote it? | [`import::read`] |
//! | What held the machines back? | [`wall`] |

pub mod comparison;
pub mod contention;
mod distinct;
#[cfg(any(test, feature = "example"))]
pub mod example;
pub mod findings;
pub mod import;
mod limit;
pub mod probe;
pub mod quantile;
pub mod run;
mod shortfall;
pub mod together;
pub mod wall;

pub use comparison::compare;
pub use contention::Contention;
pub use findings::{Findings, Goal};
pub use run::{Ended, Operation, ReadError, Run, Source, flat};
pub use shortfall::Shortfall;
pub use together::together;
