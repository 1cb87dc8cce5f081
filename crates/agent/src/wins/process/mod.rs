//! `wins.ProcessService` over the supervisor.

mod names;
mod service;

pub use service::{OnExit, ProcessService};
