//! Serves the doors until somebody asks to stop.

#[cfg_attr(unix, path = "serve/unix.rs")]
#[cfg_attr(windows, path = "serve/windows.rs")]
mod platform;
mod processes;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use processes::Own;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};
use tonic_health::{ServingStatus, server::health_reporter};
use tower::layer::util::{Identity, Stack};
use winstead_agent_client::flow::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW};
use winstead_protocol::v1::{DoorStatus, agent_server::AgentServer, files_server::FilesServer};
use winstead_spec::{AgentDoor, AgentLimits, AgentTcpDoor};

use crate::{
    access::{Access, Audit, AuditError, Door, Policy},
    configuration::{Configuration, ConfigurationError},
    door::{self, Keys, KeysError, Lobby, Seats, SystemDoor, TcpDoor},
    folder::{Readers, guard, lock_down},
    metrics::{CountCalls, EndpointError, Metrics, MetricsEndpoint},
    services::{AgentService, FilesService, TunnelsService},
    status::Overview,
    tunnel::{Registry, TunnelLimits},
};

/// Calls at the same time on one connection: a tunnel is one, and a client may have a thousand.
const CALLS: u32 = 4096;

/// How long calls under way may take to end when the agent stops.
const GRACE: Duration = Duration::from_secs(10);

/// All services together.
pub(crate) type Serving = Router<Stack<CountCalls, Identity>>;

/// Where an agent keeps what.
#[derive(Clone, Debug)]
pub struct Places {
    /// Sockets. Everybody may look into it.
    pub runtime: PathBuf,
    /// What outlives the agent. Nobody else may look into it.
    pub state: PathBuf,
}

impl Places {
    /// Makes them folders that only the agent writes, and returns them without links; everybody may look for its sockets.
    ///
    /// # Errors
    /// Which of them is not the agent's alone, and why.
    pub(crate) fn locked_down(&self) -> Result<Self, (PathBuf, io::Error)> {
        let lock =
            |path: &PathBuf, readers| lock_down(path, readers).map_err(|source| (path.clone(), source));
        let runtime = lock(&self.runtime, Readers::Everybody)?;
        Ok(Self { runtime, state: lock(&self.state, Readers::Nobody)? })
    }
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where what is kept.
    pub places: Places,
    /// Files with an `Agent` and `AgentPolicy` documents; none: the defaults.
    pub files: Vec<PathBuf>,
}

/// What an agent and its system tell each other, outside of its doors. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// To stop.
    pub stop: CancellationToken,
    /// To read its files again.
    pub reload: Arc<Notify>,
    /// Cancelled by the agent, when it serves: services tell their system.
    pub ready: CancellationToken,
}

/// The agent cannot serve. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Its files are no use.
    #[error(transparent)]
    Configuration(#[from] ConfigurationError),
    /// A folder is not ours alone.
    #[error("lock down {}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Decisions cannot be written down.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// A door cannot be opened.
    #[error("listen at {}", path.display())]
    Door {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What is shown to those who come in by TCP is no use.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// A port cannot be listened at.
    #[error("listen at {address}")]
    Port {
        /// Which.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Metrics cannot be read.
    #[error(transparent)]
    Metrics(#[from] EndpointError),
    /// What outlives it cannot be used.
    #[error("use {}", path.display())]
    State {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no firewall that the agent makes rules in.
    #[error("make firewall rules, as `firewall: true` says: on this system it makes none")]
    Firewall,
    /// Processes cannot be kept.
    #[error("take over processes")]
    Supervision(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The transport.
    #[error("serve")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until it is asked to stop.
///
/// # Errors
/// When its files are wrong, a folder is not ours alone, or a door cannot be opened, or breaks.
pub async fn serve(settings: &Settings, signals: &Signals) -> Result<(), ServeError> {
    let Configuration { agent, policy } = Configuration::read(&settings.files)?;
    let places = settings.places.locked_down();
    let places = places.map_err(|(path, source)| ServeError::Folder { path, source })?;
    let (metrics, audit) = (Metrics::default(), Audit::open(&places.state)?);
    let access = Arc::new(Access::new(policy, audit, agent.limits.arguments, metrics.decisions.clone()));
    let seats = Seats::new(agent.limits.clients);
    let lobby = Lobby {
        seats: Arc::clone(&seats),
        access: Arc::clone(&access),
        handshake: agent.limits.handshake.duration(),
    };
    let own = Own::open(&places, &agent, &access, &metrics).await?;
    let old_clients = platform::OldClients::open(&places, &agent, &own, &lobby)?;
    let mut overview = Overview::new(access, seats, metrics);
    let network = agent.doors.tcp.as_ref().map(|told| listen(told, lobby.clone())).transpose()?;
    let keys = network.as_ref().map(TcpDoor::keys);
    let door = open(Door::Local, &agent.doors.local, &door::address(&places.runtime), lobby)?;
    overview.doors.push(described(&door));
    overview.doors.extend(network.as_ref().map(TcpDoor::described));
    overview.doors.extend(old_clients.described());
    let endpoint = match agent.metrics {
        Some(address) => Some(MetricsEndpoint::open(address).await?),
        None => None,
    };
    overview.metrics_address = endpoint.as_ref().and_then(|endpoint| endpoint.address().ok());
    let overview = Arc::new(overview);
    let serving = router(&overview, message_limit(&agent.limits), &signals.stop).await;
    let serving = own.add(serving, message_limit(&agent.limits));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), door = %door.path().display(), "serves");
    signals.ready.cancel();
    let outcome = tokio::select! {
        served = async { tokio::try_join!(
            // Three times all services: large for whoever waits for this.
            Box::pin(at_all(serving, (door, network), signals, &own)),
            old_clients.serve(&overview.access, message_limit(&agent.limits), &signals.stop),
        ) } => served.map(drop),
        () = follow((&settings.files, keys.as_deref()), &overview, &signals.reload) => Ok(()),
        () = publish(endpoint, &overview) => Ok(()),
        () = patience(&signals.stop) => {
            tracing::warn!("stops, though calls are still under way");
            Ok(())
        }
    };
    Ok(outcome?)
}

/// At its own door, at that of the network if there is one, and at that of its host if it is in a guest.
async fn at_all(
    serving: Serving,
    (door, network): (SystemDoor, Option<TcpDoor>),
    signals: &Signals,
    own: &Own,
) -> Result<(), tonic::transport::Error> {
    let host = serving.clone().serve_with_incoming_shutdown(platform::guest_door(), signals.stop.cancelled());
    let others = serving.clone();
    let others = async {
        match network {
            Some(door) => others.serve_with_incoming_shutdown(door, signals.stop.cancelled()).await,
            None => Ok(()),
        }
    };
    let served = serving.serve_with_incoming_shutdown(door, own.leave(&signals.stop));
    tokio::try_join!(served, others, host).map(drop)
}

/// All services of the agent's own protocol, and that of health.
async fn router(overview: &Arc<Overview>, largest: usize, stop: &CancellationToken) -> Serving {
    let tunnels = Registry::new(TunnelLimits::default(), overview.metrics.clone());
    about(overview, largest)
        .await
        .add_service(FilesServer::new(FilesService::new(Arc::clone(&overview.access))))
        .add_service(TunnelsService::new(Arc::clone(&overview.access), tunnels, stop.clone()))
}

/// What an agent says of itself: its status and its health.
pub(crate) async fn about(overview: &Arc<Overview>, largest: usize) -> Serving {
    let (health, health_service) = health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    let agent = AgentServer::new(AgentService::new(Arc::clone(overview))).max_decoding_message_size(largest);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(CALLS)
        .layer(CountCalls(overview.metrics.calls.clone()))
        .add_service(health_service)
        .add_service(agent)
}

/// Opens a door at its own path, in a folder where others cannot write, or where it is by default.
fn open(door: Door, told: &AgentDoor, by_default: &Path, lobby: Lobby) -> Result<SystemDoor, ServeError> {
    let path = told.path.as_deref().unwrap_or(by_default);
    let opened = door::folder(path).map_or(Ok(()), guard);
    let opened = opened.and_then(|()| SystemDoor::open(door, path, &told.connect, lobby));
    opened.map_err(|source| ServeError::Door { path: path.to_owned(), source })
}

/// Opens the door to the network.
fn listen(told: &AgentTcpDoor, lobby: Lobby) -> Result<TcpDoor, ServeError> {
    let keys = Arc::new(Keys::open(told)?);
    let address = told.address;
    TcpDoor::open(told, keys, lobby).map_err(|source| ServeError::Port { address, source })
}

/// What a door is, for those who may see it.
pub(crate) fn described(door: &SystemDoor) -> DoorStatus {
    let permissions = door.permissions().unwrap_or_else(|error| error.to_string());
    DoorStatus { name: door.door().to_string(), address: door.path().display().to_string(), permissions }
}

/// The largest message that is read, in bytes.
pub(crate) fn message_limit(limits: &AgentLimits) -> usize {
    usize::try_from(limits.message.bytes()).unwrap_or(usize::MAX)
}

/// Reads the files again whenever that is asked for, for ever. What is wrong changes nothing, and is said.
async fn follow(files: (&[PathBuf], Option<&Keys>), overview: &Overview, reload: &Notify) {
    loop {
        reload.notified().await;
        match read_again(files) {
            Ok(policy) => {
                overview.access.replace(policy);
                overview.policy_read(Ok(()));
                tracing::info!(
                    "follows policy and certificates as they are now; an Agent document counts from the next start on"
                );
            }
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "keeps the old policy and certificates"
                );
                overview.policy_read(Err(&error));
            }
        }
    }
}

/// The policy and the keys as they are now; when one of them is wrong, both stay as they are.
fn read_again((files, keys): (&[PathBuf], Option<&Keys>)) -> Result<Option<Policy>, ServeError> {
    let read = Configuration::read(files)?;
    if let Some(keys) = keys {
        keys.read_again()?;
    }
    Ok(read.policy)
}

/// Until calls have had enough time to end after somebody asked to stop.
pub(crate) async fn patience(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Answers Prometheus for ever, if anybody wants that.
pub(crate) async fn publish(endpoint: Option<MetricsEndpoint>, overview: &Overview) {
    match endpoint {
        Some(endpoint) => {
            let clients = |metrics: &Metrics| _ = metrics.clients.set(i64::from(overview.seats.taken()));
            match endpoint.serve(overview.metrics.clone(), clients).await {}
        }
        None => std::future::pending().await,
    }
}
