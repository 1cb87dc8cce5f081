//! The doors of old clients, as far as the `Agent` document names them.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tonic::transport::Error;
use winstead_agent_client::wins_door;
use winstead_protocol::v1::DoorStatus;
use winstead_spec::Agent;

use super::{Places, ServeError, described, open};
use crate::{
    access::{Access, Door},
    door::{Lobby, SystemDoor},
    supervision::Supervisor,
    wins::{self, process::OnExit},
};

/// What old clients call by the names of two pipes.
#[derive(Debug)]
pub(super) struct OldClients {
    services: Option<(SystemDoor, wins::process::ProcessService)>,
    tunnels: Option<SystemDoor>,
}

impl OldClients {
    /// Opens them.
    ///
    /// # Errors
    /// When one cannot be opened.
    pub(super) fn open(
        places: &Places,
        agent: &Agent,
        supervisor: Supervisor,
        lobby: &Lobby,
    ) -> Result<Self, ServeError> {
        let open = |door, told: &Option<_>, pipe| {
            let path = wins_door(&places.runtime, pipe);
            told.as_ref().map(|told| open(door, told, &path, lobby.clone())).transpose()
        };
        let services = open(Door::Wins, &agent.doors.wins, "rancher_wins")?;
        let tunnels = open(Door::WinsProxy, &agent.doors.wins_proxy, "rancher_wins_proxy")?;
        let processes = || {
            let access = Arc::clone(&lobby.access);
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
