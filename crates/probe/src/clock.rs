//! Time, so that tests can have their own, and the wish to stop, which every wait looks at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// How long a wait goes on at most after [`Stop::ask`].
const SLICE: Duration = Duration::from_millis(50);

/// Time since some moment.
pub(crate) trait Clock: Send + Sync {
    /// How much of it is over.
    fn now(&self) -> Duration;
    /// Waits until `at`, or until somebody asks to stop. May come back late, never early.
    fn wait_until(&self, at: Duration, stop: &Stop);
}

/// The wish to stop: Ctrl-C, or a disk that is gone. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks everybody to stop. Whether that is news.
    pub(crate) fn ask(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// Whether somebody asked.
    pub(crate) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The computer's monotonic clock.
pub(crate) struct Monotonic(Instant);

impl Monotonic {
    /// A clock that starts now.
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Monotonic {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }

    fn wait_until(&self, at: Duration, stop: &Stop) {
        while let Some(left) = at.checked_sub(self.now())
            && !left.is_zero()
            && !stop.asked()
        {
            thread::park_timeout(left.min(SLICE));
        }
    }
}
