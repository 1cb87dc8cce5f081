//! What the agent is at, for those who may see it.

use std::{
    error::Error,
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;
use winstead_protocol::v1::{DoorStatus, PolicyStatus, StatusResponse};

use crate::{access::Access, door::Seats, metrics::Metrics};

/// What all parts know together.
#[derive(Debug)]
pub struct Overview {
    /// Drawn when the agent starts.
    instance: Uuid,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Who is there.
    pub seats: Arc<Seats>,
    /// What is counted.
    pub metrics: Metrics,
    /// Where metrics are read.
    pub metrics_address: Option<SocketAddr>,
    /// Where callers come in.
    pub doors: Vec<DoorStatus>,
    started: SystemTime,
    policy: Mutex<PolicyRead>,
}

/// When the policy was read, and why a newer one is not followed.
#[derive(Debug)]
struct PolicyRead {
    at: SystemTime,
    problem: String,
}

impl Overview {
    /// Of an agent that starts now, with a policy that was read just now.
    #[must_use]
    pub fn new(access: Arc<Access>, seats: Arc<Seats>, metrics: Metrics) -> Self {
        let started = SystemTime::now();
        let policy = Mutex::new(PolicyRead { at: started, problem: String::new() });
        let (metrics_address, doors) = (None, Vec::new());
        Self { instance: Uuid::new_v4(), access, seats, metrics, metrics_address, doors, started, policy }
    }

    /// Another after each start of the agent, and in each machine that started from the memory of one in which it ran: what the
    /// agent has drawn is the same there, the boot is not.
    #[must_use]
    pub fn instance_id(&self) -> String {
        instance_id(self.instance, &crate::facts::boot_id())
    }

    /// The policy was read anew, or could not be.
    pub fn policy_read(&self, outcome: Result<(), &dyn Error>) {
        let mut policy = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(()) => *policy = PolicyRead { at: SystemTime::now(), problem: String::new() },
            Err(error) => policy.problem = chain(error),
        }
    }

    /// All of it.
    #[must_use]
    pub fn status(&self) -> StatusResponse {
        let count = |gauge: i64| u32::try_from(gauge).unwrap_or_default();
        StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance_id: self.instance_id(),
            started_unix_ms: unix_ms(self.started),
            doors: self.doors.clone(),
            policy: Some(self.policy_status()),
            clients: self.seats.taken(),
            processes: count(self.metrics.processes.get()),
            tunnels: count(self.metrics.tunnels.get()),
            metrics_address: self.metrics_address.map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    fn policy_status(&self) -> PolicyStatus {
        let policy = self.access.policy();
        let read = self.policy.lock().unwrap_or_else(PoisonError::into_inner);
        let rules = policy.iter().flat_map(|policy| policy.rules());
        PolicyStatus {
            present: policy.is_some(),
            rules: rules.map(|rule| rule.name.to_string()).collect(),
            read_unix_ms: unix_ms(read.at),
            problem: read.problem.clone(),
        }
    }
}

/// Pure.
fn instance_id(drawn: Uuid, boot: &str) -> String {
    let boot = boot.parse::<Uuid>().unwrap_or_default();
    Uuid::from_u128(drawn.as_u128() ^ boot.as_u128()).to_string()
}

/// An error with its causes, in one line for each.
fn chain(error: &dyn Error) -> String {
    let mut text = format!("failed to {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        // A `String` takes everything.
        write!(text, "\n{error}").unwrap_or_default();
        cause = error.source();
    }
    text
}

fn unix_ms(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_from_one_memory_have_agents_of_their_own() {
        let drawn = Uuid::from_u128(7);
        let [one, other] = ["0e8f4f1c-6b3e-4a55-9d6c-2f6f0c6f2a01", "9b1d9d4e-30c8-4e0e-8f26-6f7f3a0b5c02"];
        assert_ne!(instance_id(drawn, one), instance_id(drawn, other));
        assert_ne!(instance_id(drawn, one), instance_id(Uuid::from_u128(8), one));
        assert_eq!(instance_id(drawn, ""), drawn.to_string(), "a system that does not say its boot");
    }
}
