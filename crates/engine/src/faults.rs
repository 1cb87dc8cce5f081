//! What a test does to this process. Nothing, without the feature `faults`: no release is built with it.

use winstead_guest::specialise;

/// What a test wants to go wrong.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    #[cfg(feature = "faults")]
    kill_at: Option<(u64, std::sync::Arc<std::sync::atomic::AtomicU64>)>,
    #[cfg(feature = "faults")]
    left_out: Option<specialise::Step>,
}

#[cfg(feature = "faults")]
impl Faults {
    /// Kills this process with SIGKILL at the `kill_at`th point, counted from 0: the even ones lie before a commit to the
    /// journal, the odd ones after it. Clones become themselves without `left_out`.
    #[must_use]
    pub fn new(kill_at: Option<u64>, left_out: Option<specialise::Step>) -> Self {
        Self { kill_at: kill_at.map(|at| (at, std::sync::Arc::default())), left_out }
    }

    /// Passes a point where this process may have to die.
    pub(crate) fn pass(&self) {
        use std::sync::atomic::Ordering;
        let Some((at, seen)) = &self.kill_at else { return };
        if seen.fetch_add(1, Ordering::SeqCst) == *at {
            let died =
                rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            panic!("this process must be dead by now: {died:?}");
        }
    }

    /// What clones leave out.
    pub(crate) const fn left_out(&self) -> Option<specialise::Step> {
        self.left_out
    }
}

#[cfg(not(feature = "faults"))]
#[expect(clippy::unused_self, reason = "the same calls with and without the feature")]
impl Faults {
    pub(crate) fn pass(&self) {}

    pub(crate) const fn left_out(&self) -> Option<specialise::Step> {
        None
    }
}
