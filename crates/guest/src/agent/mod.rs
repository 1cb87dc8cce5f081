//! The QEMU guest agent over its unix socket: what a guest says of itself, without a network.
//!
//! A guest is not trusted: every answer is bounded in length and time, and a wrong one is an error, not a panic. One
//! [`Agent`] at a time per machine: QEMU's socket serves one client, the next one waits in the queue without an answer.

mod answers;
mod client;
mod codec;
mod commands;
mod error;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;

pub use answers::{Ended, Info, Interface};
pub use client::{Agent, Limits};
pub use codec::{Decoder, Frame, LineTooLong};
pub use error::{AgentError, AgentFailure};
