//! Ctrl-C and SIGTERM: the first asks the work to end and clean up, the second ends at once.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::report;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static LEFT_BEHIND: Mutex<String> = Mutex::new(String::new());

/// The work ended because it was asked to.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Whether an end was asked for.
#[must_use]
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Takes the request as heard, so that cleaning up is not ended by it as well.
pub(crate) fn heard() {
    REQUESTED.store(false, Ordering::SeqCst);
}

/// Keeps what a second interrupt has to say about what is left and how to take it away.
pub(crate) fn would_leave(what: &str) {
    if let Ok(mut left) = LEFT_BEHIND.lock() {
        *left = format!("; {what}");
    }
}

/// Waits a moment between two looks at something.
///
/// # Errors
/// When an end was asked for.
pub(crate) fn pause(moment: Duration) -> Result<(), Interrupted> {
    // May wake early, which only makes the next look come sooner.
    std::thread::park_timeout(moment);
    if requested() { Err(Interrupted) } else { Ok(()) }
}

/// Starts listening; lives as long as the process.
///
/// # Errors
/// When signals cannot be received.
pub(crate) fn watch() -> anyhow::Result<()> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("listen for signals")?;
    let entered = runtime.enter();
    let signals = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    std::thread::spawn(move || runtime.block_on(listen(signals)));
    Ok(())
}

async fn listen((mut interrupt, mut terminate): (Signal, Signal)) {
    let mut next = async || tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} };
    next().await;
    report::note("interrupted: ending and cleaning up; once more ends at once");
    REQUESTED.store(true, Ordering::SeqCst);
    next().await;
    let left = LEFT_BEHIND.lock().map(|text| text.clone()).unwrap_or_default();
    report::note(format_args!("interrupted again: ended at once{left}"));
    std::process::exit(130);
}
