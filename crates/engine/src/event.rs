//! What happens while the engine works, for whoever shows it.

use std::sync::Arc;

use winstead_spec::{MachineName, Name};

use crate::Phase;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// An image is being built: which step, how far.
    Image {
        /// The image.
        name: Name,
        /// What is being done.
        step: String,
        /// Bytes or items done, of all.
        progress: Option<(u64, u64)>,
    },
    /// A machine came into a phase.
    Phase {
        /// The machine.
        name: MachineName,
        /// Its phase now.
        phase: Phase,
        /// Why, or how: `ssh answers after 13.1 s`.
        message: String,
    },
    /// A machine's step began.
    Step {
        /// The machine.
        name: MachineName,
        /// The step, as a person would say it.
        step: &'static str,
    },
    /// Something the user should know once.
    Note(String),
}

/// Receives events; must not block.
#[derive(Clone)]
pub struct Listener(Arc<dyn Fn(Event) + Send + Sync>);

impl Listener {
    /// Calls `listen` for every event.
    pub fn new(listen: impl Fn(Event) + Send + Sync + 'static) -> Self {
        Self(Arc::new(listen))
    }

    /// Nobody listens.
    #[must_use]
    pub fn none() -> Self {
        Self::new(|_| {})
    }

    /// Tells it.
    pub fn tell(&self, event: Event) {
        (self.0)(event);
    }

    pub(crate) fn note(&self, text: impl Into<String>) {
        self.tell(Event::Note(text.into()));
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Listener")
    }
}
