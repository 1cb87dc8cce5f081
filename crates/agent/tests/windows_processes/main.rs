//! Processes on Windows, without a daemon around them and with one. Under Wine these are run by `tests/wine.rs`.

#![cfg(windows)]

mod daemon;
mod programs;
mod supervisor;

use std::time::{Duration, Instant};

/// How long anything may take on a busy computer.
const PATIENCE: Duration = Duration::from_secs(60);
/// The agent.
const PROGRAM: &str = env!("CARGO_BIN_EXE_winstead-agent");

async fn until(mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "it does not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
