//! The daemon for old clients alone, by the old configuration: what `srv app run` is.

use std::{io, path::PathBuf, sync::Arc};

use tokio_util::sync::CancellationToken;
use winstead_agent_client::wins_socket;
use winstead_spec::{AgentLimits, Connect, WinsConfig};

use crate::{
    access::{Access, Audit, AuditError, Door, Paths, Policy},
    door::{Lobby, Seats, UnixDoor},
    metrics::Decisions,
    serve::{Places, message_limit},
    supervision::{Settings, SupervisionError, Supervisor},
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
    /// The transport.
    #[error("serve")]
    Transport(#[from] tonic::transport::Error),
}

impl Daemon {
    /// Serves until `stop` is cancelled; processes go on.
    ///
    /// # Errors
    /// When a door cannot be opened, or breaks.
    pub async fn serve(&self, stop: &CancellationToken) -> Result<(), DaemonError> {
        let limits = AgentLimits::default();
        let places = self.places.locked_down();
        let places = places.map_err(|(path, source)| DaemonError::Folder { path, source })?;
        let policy = Policy::new(rules(&self.config), Paths::HERE);
        let audit = Audit::open(&places.state)?;
        let access = Arc::new(Access::new(Some(policy), audit, limits.arguments, Decisions::default()));
        let folder = places.state.join("processes");
        let supervisor = Supervisor::open(Settings::new(folder, self.keeper.clone())).await?;
        let processes =
            ProcessService::open(Arc::clone(&access), supervisor.clone(), &self.places.state, self.on_exit);
        let failed = |source| DaemonError::Folder { path: places.state.clone(), source };
        let processes = processes.map_err(failed)?;
        let lobby = Lobby {
            seats: Seats::new(limits.clients),
            access: Arc::clone(&access),
            handshake: limits.handshake.duration(),
        };
        let services = self.door(Door::Wins, &self.config.listen, lobby.clone())?;
        let tunnels = self.door(Door::WinsProxy, &self.config.proxy, lobby)?;
        let message = message_limit(&limits);
        let served = serve(Some((services, processes)), Some(tunnels), (&access, message), stop).await;
        supervisor.close().await;
        Ok(served?)
    }

    /// As the old pipe of gRPC had it, and for both: only for those who can do everything anyway.
    fn door(&self, door: Door, pipe: &str, lobby: Lobby) -> Result<UnixDoor, DaemonError> {
        let path = wins_socket(&self.places.runtime, pipe);
        UnixDoor::open(door, &path, &Connect::Administrators, lobby)
            .map_err(|source| DaemonError::Door { path, source })
    }
}
