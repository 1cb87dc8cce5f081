//! The processes of an agent that serves.

use std::{path::Path, sync::Arc};

use tokio_util::sync::CancellationToken;
use winstead_protocol::v1::processes_server::ProcessesServer;
use winstead_spec::Agent;

use super::{Places, ServeError, Serving};
use crate::{
    access::Access,
    metrics::Metrics,
    services::ProcessService,
    supervision::{Settings, Supervisor, Vault, firewall, keeper_program},
    wins::{self, process::OnExit},
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
        (places, program): (&Places, &Path),
        agent: &Agent,
        access: &Arc<Access>,
        metrics: &Metrics,
    ) -> Result<Self, ServeError> {
        let supervisor = Supervisor::open(keeping(places, program, agent, metrics)?).await;
        let supervisor = supervisor.map_err(|error| ServeError::Supervision(error.into()))?;
        let processes = ProcessService::new(Arc::clone(access), supervisor.clone(), vault(places)?);
        Ok(Self { supervisor, processes })
    }

    /// They, as old clients know them.
    ///
    /// # Errors
    /// When what is kept for them cannot be used.
    pub(super) fn for_old_clients(
        &self,
        access: &Arc<Access>,
        places: &Places,
        on_exit: OnExit,
    ) -> Result<wins::process::ProcessService, ServeError> {
        let (access, supervisor) = (Arc::clone(access), self.supervisor.clone());
        wins::process::ProcessService::open(access, supervisor, &places.state, on_exit)
            .map_err(|source| ServeError::State { path: places.state.clone(), source })
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
fn keeping(
    places: &Places,
    program: &Path,
    agent: &Agent,
    metrics: &Metrics,
) -> Result<Settings, ServeError> {
    let keeper = keeper_program(program, &places.state)
        .map_err(|source| ServeError::State { path: places.state.clone(), source })?;
    let mut keeping = Settings::new(super::processes(&places.state), keeper);
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
