//! What the agent counts, for Prometheus: [`Metrics`] is a handful of numbers that all parts share.

mod calls;
mod endpoint;
mod numbers;

pub use calls::{CallCounter, CountCalls, Counted};
pub use endpoint::{EndpointError, MetricsEndpoint};
pub use numbers::{Calls, Decisions, Metrics};
