//! What only Unix computers have so far: processes, old clients, and a guest's ports.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::transport::Error;
use winstead_agent_client::wins_socket;
use winstead_protocol::v1::{DoorStatus, processes_server::ProcessesServer};
use winstead_spec::Agent;

use super::{Places, ServeError, Serving, described};
use crate::{
    access::{Access, Door},
    door::{GuestDoor, Lobby, UnixDoor},
    metrics::Metrics,
    services::ProcessService,
    supervision::{Settings, Supervisor, Vault},
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

/// The doors of old clients, as far as the `Agent` document names them.
#[derive(Debug)]
pub(super) struct OldClients {
    services: Option<(UnixDoor, wins::process::ProcessService)>,
    tunnels: Option<UnixDoor>,
}

impl OldClients {
    /// Opens them.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(super) fn open(places: &Places, agent: &Agent, own: &Own, lobby: &Lobby) -> Result<Self, ServeError> {
        let open = |door, told: &Option<_>, pipe| {
            let path = wins_socket(&places.runtime, pipe);
            told.as_ref().map(|told| super::open(door, told, &path, lobby.clone())).transpose()
        };
        let services = open(Door::Wins, &agent.doors.wins, "rancher_wins")?;
        let tunnels = open(Door::WinsProxy, &agent.doors.wins_proxy, "rancher_wins_proxy")?;
        let processes = || {
            let (access, supervisor) = (Arc::clone(&lobby.access), own.supervisor.clone());
            wins::process::ProcessService::open(access, supervisor, &places.state, OnExit::Tell)
                .map_err(|source| ServeError::State { path: places.state.clone(), source })
        };
        let services = services.map(|door| Ok::<_, ServeError>((door, processes()?))).transpose()?;
        Ok(Self { services, tunnels })
    }

    /// What they are, for those who may see it.
    pub(super) fn described(&self) -> Vec<DoorStatus> {
        let services = self.services.iter().map(|(door, _)| door);
        services.chain(&self.tunnels).map(described).collect()
    }

    /// Serves whoever comes in, until `stop` is cancelled.
    ///
    /// # Errors
    /// When the transport breaks.
    pub(super) async fn serve(
        self,
        access: &Arc<Access>,
        message: usize,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        wins::serve(self.services, self.tunnels, (access, message), stop).await
    }
}

/// From the host, where this computer is a guest.
pub(super) fn guest_door() -> GuestDoor {
    GuestDoor::open()
}

/// Processes are kept by this very executable.
fn keeping(places: &Places, agent: &Agent, metrics: &Metrics) -> Result<Settings, ServeError> {
    let keeper = std::env::current_exe()
        .map_err(|source| ServeError::State { path: "/proc/self/exe".into(), source })?;
    let mut keeping = Settings::new(places.state.join("processes"), keeper);
    // A process has two outputs.
    keeping.spool.file = agent.spool.bytes() / 2;
    keeping.running = metrics.processes.clone();
    Ok(keeping)
}

/// Where programs are taken to before they are compared with a policy.
fn vault(places: &Places) -> Result<Vault, ServeError> {
    let path = places.state.join("vault");
    Vault::open(&path).map_err(|source| ServeError::State { path, source })
}
