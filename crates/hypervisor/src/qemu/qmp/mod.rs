//! QMP, QEMU's machine protocol: JSON lines over a unix socket (QEMU's "QEMU Machine Protocol Specification").
//!
//! The peer is not trusted: a guest may have taken QEMU over. Lines, queues and waits are bounded, and every oddity
//! is a typed error.

mod client;
mod codec;
mod error;
mod messages;

pub use client::Client;
pub use error::{QmpError, QmpErrorKind};
pub use messages::{Event, RunState};
