//! The numbers.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::access::Door;

/// All numbers of an agent; a clone is the same numbers. A new one is a field here, and a line in [`Metrics::default`].
#[derive(Clone, Debug)]
pub struct Metrics {
    /// What access decided.
    pub decisions: Decisions,
    /// What was asked for and how it ended.
    pub calls: Calls,
    /// Connections that are open.
    pub clients: Gauge,
    /// Processes that run.
    pub processes: Gauge,
    /// Tunnels that are open.
    pub tunnels: Gauge,
    /// What went through tunnels, both ways.
    pub tunnel_bytes: Counter,
    registry: Arc<Registry>,
}

/// Decisions, by door and answer.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Family<DecisionLabels, Counter>);

/// Calls, by method and code, with how long they took.
#[derive(Clone, Debug)]
pub struct Calls {
    ended: Family<CallLabels, Counter>,
    seconds: Family<MethodLabels, Histogram>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DecisionLabels {
    door: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    method: String,
    code: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MethodLabels {
    method: String,
}

impl Decisions {
    /// Counts one more.
    pub fn count(&self, door: Door, allowed: bool) {
        let result = if allowed { "allowed" } else { "denied" };
        self.0.get_or_create(&DecisionLabels { door: door.to_string(), result }).inc();
    }
}

impl Calls {
    /// Counts one more. A method that nobody answers to must be called `unknown`, or callers could make names without end.
    pub fn count(&self, method: &str, code: &str, took: Duration) {
        let method = method.to_owned();
        self.seconds.get_or_create(&MethodLabels { method: method.clone() }).observe(took.as_secs_f64());
        self.ended.get_or_create(&CallLabels { method, code: code.to_owned() }).inc();
    }
}

impl Default for Calls {
    fn default() -> Self {
        // 1 ms to 16 s in steps of 4; a stream takes as long as it takes.
        let histogram = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        Self { ended: Family::default(), seconds: Family::new_with_constructor(histogram) }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let (decisions, calls) = (Decisions::default(), Calls::default());
        let (clients, processes, tunnels) = (Gauge::default(), Gauge::default(), Gauge::default());
        let tunnel_bytes = Counter::default();
        let mut registry = Registry::with_prefix("winstead_agent");
        registry.register("decisions", "Answers to what callers asked for", decisions.0.clone());
        registry.register("calls", "Calls by method and code", calls.ended.clone());
        registry.register("call_seconds", "How long calls took", calls.seconds.clone());
        registry.register("clients", "Connections that are open", clients.clone());
        registry.register("processes", "Processes that run", processes.clone());
        registry.register("tunnels", "Tunnels that are open", tunnels.clone());
        registry.register("tunnel_bytes", "Bytes that went through tunnels", tunnel_bytes.clone());
        Self { decisions, calls, clients, processes, tunnels, tunnel_bytes, registry: Arc::new(registry) }
    }
}

impl Metrics {
    /// All numbers as Prometheus reads them (`OpenMetrics`).
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // A `String` takes everything; should it not, nothing is better than half.
            text.clear();
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_as_prometheus_reads_them() {
        let metrics = Metrics::default();
        metrics.decisions.count(Door::WinsProxy, false);
        metrics.calls.count("/a.B/C", "ok", Duration::from_millis(2));
        metrics.clone().processes.set(3);
        let text = metrics.text();
        for line in [
            r#"winstead_agent_decisions_total{door="wins-proxy",result="denied"} 1"#,
            r#"winstead_agent_calls_total{method="/a.B/C",code="ok"} 1"#,
            r#"winstead_agent_call_seconds_bucket{le="0.004",method="/a.B/C"} 1"#,
            "winstead_agent_processes 3",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
