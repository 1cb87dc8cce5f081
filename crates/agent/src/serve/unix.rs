//! What only Unix computers have so far: processes, and a guest's ports.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use winstead_protocol::v1::processes_server::ProcessesServer;
use winstead_spec::Agent;

use super::{Places, ServeError, Serving};
use crate::{
    access::Access,
    door::GuestDoor,
    services::ProcessService,
    supervision::{Settings, Supervisor, Vault},
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
    ) -> Result<Self, ServeError> {
        let supervisor = Supervisor::open(keeping(places, agent)?).await;
        let supervisor = supervisor.map_err(|error| ServeError::Supervision(error.into()))?;
        let processes = ProcessService::new(Arc::clone(access), supervisor.clone(), vault(places)?);
        Ok(Self { supervisor, processes })
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

/// From the host, where this computer is a guest.
pub(super) fn guest_door() -> GuestDoor {
    GuestDoor::open()
}

/// Processes are kept by this very executable.
fn keeping(places: &Places, agent: &Agent) -> Result<Settings, ServeError> {
    let keeper = std::env::current_exe()
        .map_err(|source| ServeError::State { path: "/proc/self/exe".into(), source })?;
    let mut keeping = Settings::new(places.state.join("processes"), keeper);
    // A process has two outputs.
    keeping.spool.file = agent.spool.bytes() / 2;
    Ok(keeping)
}

/// Where programs are taken to before they are compared with a policy.
fn vault(places: &Places) -> Result<Vault, ServeError> {
    let path = places.state.join("vault");
    Vault::open(&path).map_err(|source| ServeError::State { path, source })
}
