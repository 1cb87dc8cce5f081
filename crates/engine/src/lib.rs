//! Observe, plan, act.
//!
//! [`Engine`] is what every face of Winstead stands on: it reads the [`journal`], looks at what really runs
//! (`observe`), decides without touching anything ([`plan`]), and carries the plan out step by step (`act`).
//! A `supervisor` of its own process watches running machines while no command runs.
//!
//! It never prints and never reads the environment: what happens is told through [`Event`]s.

mod act;
pub mod admission;
mod allocate;
mod catalogue;
mod computer;
mod configure;
mod draft;
mod engine;
mod error;
mod event;
mod facts;
mod faults;
#[cfg(test)]
mod fixtures;
mod hand;
mod heal;
mod home;
pub mod journal;
pub mod lifecycle;
mod machine;
mod memory;
mod observe;
pub mod plan;
mod reach;
mod readiness;
mod release;
mod steps;
mod supervisor;
mod sweep;
mod template;
pub mod view;
mod work;

pub use engine::{Engine, Options, Selection, UpReport, nearest};
pub use error::{EngineError, Kind, chain};
pub use event::{Event, Listener};
pub use faults::Faults;
pub use hand::Via;
pub use home::{Home, HomeError, HomeLock};
pub use lifecycle::Phase;
pub use machine::{ImageRef, MachineRecord};
pub use memory::keep;
pub use steps::Step;
pub use supervisor::supervise;
