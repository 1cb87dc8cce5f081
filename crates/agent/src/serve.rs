//! Serves the doors until somebody asks to stop.

mod doors;
mod processes;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use doors::Doors;
use processes::Own;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Router};
use tonic_health::{ServingStatus, server::health_reporter};
use tower::layer::util::{Identity, Stack};
use winstead_agent_client::flow::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW};
use winstead_protocol::v1::{agent_server::AgentServer, files_server::FilesServer};
use winstead_spec::{Agent, AgentLimits};

use crate::{
    access::{Access, Audit, AuditError, Policy},
    configuration::{Configuration, ConfigurationError, Source},
    door::{GuestDoor, Keys, KeysError, Lobby, Seats, SystemDoor, TcpDoor},
    folder::{Readers, lock_down},
    metrics::{CountCalls, EndpointError, Metrics, MetricsEndpoint},
    services::{AgentService, FilesService, TunnelsService},
    status::Overview,
    tunnel::{Registry, TunnelLimits},
    wins,
};

/// Calls at the same time on one connection: a tunnel is one, and a client may have a thousand.
const CALLS: u32 = 4096;

/// How long calls under way may take to end when the agent stops.
const GRACE: Duration = Duration::from_secs(10);

/// All services together.
type Serving = Router<Stack<CountCalls, Identity>>;

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

/// Where, in the folder of what outlives it, an agent keeps its processes.
#[must_use]
pub fn processes(state: &Path) -> PathBuf {
    state.join("processes")
}

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where what is kept.
    pub places: Places,
    /// What it goes by.
    pub source: Source,
    /// The executable whose command `keeper` keeps processes: the agent's own.
    pub program: PathBuf,
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
    let Configuration { agent, policy, on_exit, host } = settings.source.read()?;
    let places = settings.places.locked_down();
    let places = places.map_err(|(path, source)| ServeError::Folder { path, source })?;
    let (metrics, audit) = (Metrics::default(), Audit::open(&places.state)?);
    let access = Arc::new(Access::new(policy, audit, agent.limits.arguments, metrics.decisions.clone()));
    let lobby = Lobby {
        seats: Seats::new(agent.limits.clients),
        access: Arc::clone(&access),
        handshake: agent.limits.handshake.duration(),
    };
    let doors = Doors::open(&places.runtime, &agent.doors, &lobby)?;
    let own = Own::open((&places, &settings.program), &agent, &access, &metrics).await?;
    let mut overview = Overview::new(Arc::clone(&access), Arc::clone(&lobby.seats), metrics);
    overview.doors = doors.described();
    let endpoint = endpoint(&agent, &mut overview).await?;
    let (overview, message) = (Arc::new(overview), message_limit(&agent.limits));
    let serving = own.add(router(&overview, message, &signals.stop).await, message);
    let Doors { local, network, wins, wins_proxy } = doors;
    let services =
        wins.map(|door| Ok::<_, ServeError>((door, own.for_old_clients(&access, &places, on_exit)?)));
    let (services, keys) = (services.transpose()?, network.as_ref().map(TcpDoor::keys));
    tracing::info!(version = env!("CARGO_PKG_VERSION"), door = %local.path().display(), "serves");
    signals.ready.cancel();
    let guest = host.then(|| GuestDoor::open(lobby));
    let outcome = tokio::select! {
        served = async { tokio::try_join!(
            // Three times all services: large for whoever waits for this.
            Box::pin(at_all(serving, (local, network, guest), signals, &own)),
            wins::serve(services, wins_proxy, (&access, message), &signals.stop),
        ) } => served.map(drop),
        () = follow((&settings.source, keys.as_deref()), &overview, &signals.reload) => Ok(()),
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
    (local, network, host): (SystemDoor, Option<TcpDoor>, Option<GuestDoor>),
    signals: &Signals,
    own: &Own,
) -> Result<(), tonic::transport::Error> {
    let (at_network, at_host) = (serving.clone(), serving.clone());
    let network = async {
        let Some(door) = network else { return Ok(()) };
        at_network.serve_with_incoming_shutdown(door, signals.stop.cancelled()).await
    };
    let host = async {
        let Some(door) = host else { return Ok(()) };
        at_host.serve_with_incoming_shutdown(door, signals.stop.cancelled()).await
    };
    let local = serving.serve_with_incoming_shutdown(local, own.leave(&signals.stop));
    tokio::try_join!(local, network, host).map(drop)
}

/// All services of the agent's own protocol but those of processes, and that of health.
async fn router(overview: &Arc<Overview>, largest: usize, stop: &CancellationToken) -> Serving {
    let (health, health_service) = health_reporter();
    health.set_service_status("", ServingStatus::Serving).await;
    let agent = AgentServer::new(AgentService::new(Arc::clone(overview))).max_decoding_message_size(largest);
    let tunnels = Registry::new(TunnelLimits::default(), overview.metrics.clone());
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .max_concurrent_streams(CALLS)
        .layer(CountCalls(overview.metrics.calls.clone()))
        .add_service(health_service)
        .add_service(agent)
        .add_service(FilesServer::new(FilesService::new(Arc::clone(&overview.access))))
        .add_service(TunnelsService::new(Arc::clone(&overview.access), tunnels, stop.clone()))
}

/// Where Prometheus reads the numbers, if anybody wants that.
async fn endpoint(agent: &Agent, overview: &mut Overview) -> Result<Option<MetricsEndpoint>, EndpointError> {
    let Some(address) = agent.metrics else { return Ok(None) };
    let endpoint = MetricsEndpoint::open(address).await?;
    overview.metrics_address = endpoint.address().ok();
    Ok(Some(endpoint))
}

/// The largest message that is read, in bytes.
fn message_limit(limits: &AgentLimits) -> usize {
    usize::try_from(limits.message.bytes()).unwrap_or(usize::MAX)
}

/// Reads the files again whenever that is asked for, for ever. What is wrong changes nothing, and is said.
async fn follow(told: (&Source, Option<&Keys>), overview: &Overview, reload: &Notify) {
    loop {
        reload.notified().await;
        match read_again(told) {
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
fn read_again((source, keys): (&Source, Option<&Keys>)) -> Result<Option<Policy>, ServeError> {
    let read = source.read()?;
    if let Some(keys) = keys {
        keys.read_again()?;
    }
    Ok(read.policy)
}

/// Until calls have had enough time to end after somebody asked to stop.
async fn patience(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

/// Answers Prometheus for ever, if anybody wants that.
async fn publish(endpoint: Option<MetricsEndpoint>, overview: &Overview) {
    match endpoint {
        Some(endpoint) => {
            let clients = |metrics: &Metrics| _ = metrics.clients.set(i64::from(overview.seats.taken()));
            match endpoint.serve(overview.metrics.clone(), clients).await {}
        }
        None => std::future::pending().await,
    }
}
