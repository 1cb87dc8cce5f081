//! The daemon for old clients alone, by the old configuration: what `srv app run` is.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;
use winstead_agent_client::wins_socket;
use winstead_spec::{AgentLimits, Connect, WinsConfig};

use crate::{
    access::{Access, Audit, AuditError, Door, Paths, Policy},
    door::{self, Lobby, Seats, UnixDoor},
    metrics::{EndpointError, Metrics, MetricsEndpoint},
    serve::{Places, about, described, message_limit, patience, publish},
    status::Overview,
    supervision::{Settings, SupervisionError, Supervisor, firewall},
    wins::{
        process::{OnExit, ProcessService},
        rules::rules,
        serve::serve,
    },
};

/// How to serve old clients.
#[derive(Clone, Debug)]
pub struct Daemon {
    /// What the old configuration file says.
    pub config: WinsConfig,
    /// Where what is kept.
    pub places: Places,
    /// The executable whose command `keeper` keeps processes.
    pub keeper: PathBuf,
    /// What clients see of exit codes.
    pub on_exit: OnExit,
    /// Where Prometheus may read the numbers.
    pub metrics: Option<SocketAddr>,
}

/// Old clients cannot be served. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// A door cannot be opened.
    #[error("listen at {}", path.display())]
    Door {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A folder cannot be used.
    #[error("keep processes in {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Decisions cannot be written down.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// Processes cannot be kept.
    #[error(transparent)]
    Supervision(#[from] SupervisionError),
    /// Numbers cannot be read.
    #[error(transparent)]
    Metrics(#[from] EndpointError),
    /// The transport.
    #[error("serve")]
    Transport(#[from] tonic::transport::Error),
}

impl Daemon {
    /// Serves until `stop` is cancelled; processes go on. At the agent's own door, which only administrators open, it says
    /// how it is: the old configuration's rules allow nothing else there.
    ///
    /// # Errors
    /// When a door cannot be opened, or breaks.
    pub async fn serve(&self, stop: &CancellationToken) -> Result<(), DaemonError> {
        let (limits, metrics) = (AgentLimits::default(), Metrics::default());
        let places = self.places.locked_down();
        let places = places.map_err(|(path, source)| DaemonError::Folder { path, source })?;
        let policy = Policy::new(rules(&self.config), Paths::HERE);
        let audit = Audit::open(&places.state)?;
        let access = Access::new(Some(policy), audit, limits.arguments, metrics.decisions.clone());
        let (access, seats) = (Arc::new(access), Seats::new(limits.clients));
        let lobby = Lobby {
            seats: Arc::clone(&seats),
            access: Arc::clone(&access),
            handshake: limits.handshake.duration(),
        };
        // Before the processes, of which only one agent takes care.
        let own = Self::door(Door::Local, door::address(&places.runtime), lobby.clone())?;
        let (supervisor, processes) = self.processes(&places, &access, &metrics).await?;
        let place = |pipe: &str| wins_socket(&self.places.runtime, pipe);
        let services = Self::door(Door::Wins, place(&self.config.listen), lobby.clone())?;
        let tunnels = Self::door(Door::WinsProxy, place(&self.config.proxy), lobby)?;
        let mut overview = Overview::new(Arc::clone(&access), seats, metrics);
        overview.doors.extend([&own, &services, &tunnels].map(described));
        let endpoint = match self.metrics {
            Some(address) => Some(MetricsEndpoint::open(address).await?),
            None => None,
        };
        overview.metrics_address = endpoint.as_ref().and_then(|endpoint| endpoint.address().ok());
        let (overview, message) = (Arc::new(overview), message_limit(&limits));
        let about = about(&overview, message).await;
        let served = tokio::select! {
            served = async { tokio::try_join!(
                serve(Some((services, processes)), Some(tunnels), (&access, message), stop),
                about.serve_with_incoming_shutdown(own, stop.cancelled()),
            ) } => served.map(drop),
            () = publish(endpoint, &overview) => Ok(()),
            () = patience(stop) => Ok(()),
        };
        supervisor.close().await;
        Ok(served?)
    }

    /// Takes over the processes that an earlier daemon left.
    async fn processes(
        &self,
        places: &Places,
        access: &Arc<Access>,
        metrics: &Metrics,
    ) -> Result<(Supervisor, ProcessService), DaemonError> {
        let mut keeping = Settings::new(places.state.join("processes"), self.keeper.clone());
        keeping.running = metrics.processes.clone();
        keeping.firewall = firewall(true);
        let supervisor = Supervisor::open(keeping).await?;
        let processes =
            ProcessService::open(Arc::clone(access), supervisor.clone(), &self.places.state, self.on_exit);
        let failed = |source| DaemonError::Folder { path: places.state.clone(), source };
        Ok((supervisor, processes.map_err(failed)?))
    }

    /// As the old pipe of gRPC had it, and for all: only for those who can do everything anyway.
    fn door(door: Door, path: PathBuf, lobby: Lobby) -> Result<UnixDoor, DaemonError> {
        UnixDoor::open(door, &path, &Connect::Administrators, lobby)
            .map_err(|source| DaemonError::Door { path, source })
    }
}
