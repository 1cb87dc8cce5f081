//! What the agent counts, for Prometheus.

use std::sync::Arc;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use crate::access::Door;

/// Decisions, by door and answer.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Arc<Family<DecisionLabels, Counter>>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    door: String,
    result: &'static str,
}

impl Decisions {
    /// Counts one more.
    pub fn count(&self, door: Door, allowed: bool) {
        let result = if allowed { "allowed" } else { "denied" };
        self.0.get_or_create(&DecisionLabels { door: door.to_string(), result }).inc();
    }
}
