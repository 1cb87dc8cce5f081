//! The processes of an agent that serves.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use winstead_protocol::v1::processes_server::ProcessesServer;
use winstead_spec::Agent;

use super::{Places, ServeError, Serving};
use crate::{
    access::Access,
    metrics::Metrics,
    services::ProcessService,
    supervision::{Settings, Supervisor, Vault, firewall, keeper_program},
};

/// Processes.
#[derive(Clone, Debug)]
pub(super) struct Own {
    supervisor: Supervisor,
    processes: ProcessService,
}

impl Own {
    /// Takes over the processes that an earlier agent left.
    ///
    /// # Errors
    /// When what is kept of them cannot be used.
    pub(super) async fn open(
        places: &Places,
        agent: &Agent,
        access: &Arc<Access>,
        metrics: &Metrics,
    ) -> Result<Self, ServeError> {
        let supervisor = Supervisor::open(keeping(places, agent, metrics)?).await;
        let supervisor = supervisor.map_err(|error| ServeError::Supervision(error.into()))?;
        let processes = ProcessService::new(Arc::clone(access), supervisor.clone(), vault(places)?);
        Ok(Self { supervisor, processes })
    }

    /// What looks after them.
    #[cfg_attr(windows, expect(dead_code, reason = "old clients ask for it, who are not served here yet"))]
    pub(super) fn supervisor(&self) -> Supervisor {
        self.supervisor.clone()
    }

    /// Adds them to what is served.
    pub(super) fn add(&self, serving: Serving, largest: usize) -> Serving {
        let processes = ProcessesServer::new(self.processes.clone());
        serving.add_service(processes.max_decoding_message_size(largest))
    }

    /// Leaves the processes to the next agent as soon as this one is to stop, so that nobody who listens to one holds it.
    pub(super) async fn leave(&self, stop: &CancellationToken) {
        stop.cancelled().await;
        self.supervisor.close().await;
    }
}

/// How processes are kept.
fn keeping(places: &Places, agent: &Agent, metrics: &Metrics) -> Result<Settings, ServeError> {
    let keeper = keeper_program(&places.state)
        .map_err(|source| ServeError::State { path: places.state.clone(), source })?;
    let mut keeping = Settings::new(places.state.join("processes"), keeper);
    // A process has two outputs.
    keeping.spool.file = agent.spool.bytes() / 2;
    keeping.running = metrics.processes.clone();
    keeping.firewall = firewall(agent.firewall.unwrap_or(true));
    // It would be a promise.
    if keeping.firewall.is_none() && agent.firewall == Some(true) {
        return Err(ServeError::Firewall);
    }
    Ok(keeping)
}

/// Where programs are taken to before they are compared with a policy.
fn vault(places: &Places) -> Result<Vault, ServeError> {
    let path = places.state.join("vault");
    Vault::open(&path).map_err(|source| ServeError::State { path, source })
}
