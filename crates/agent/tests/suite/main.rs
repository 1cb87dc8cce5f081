//! An agent that really runs, and clients that really call it. One program: each part is a module of it.

#![cfg(unix)]
#![expect(clippy::expect_used, reason = "a test may end at what it did not expect, in its own functions too")]

#[path = "../certificates/mod.rs"]
mod certificates;
mod cli;
#[path = "../common/mod.rs"]
mod common;
mod doors;
mod files;
mod local;
mod policy;
mod tcp;
