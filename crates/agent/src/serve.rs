//! Serves the doors until somebody asks to stop.

use std::{io, path::PathBuf, sync::Arc};

use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use winstead_protocol::v1::{
    agent_server::AgentServer, files_server::FilesServer, processes_server::ProcessesServer,
};

use crate::{
    access::{Access, Door},
    door::{GuestDoor, UnixDoor},
    services::{AgentService, FilesService, ProcessService},
    supervision::{Settings, SupervisionError, Supervisor, Vault},
};

/// Enough for a fast local stream, as the client has it.
const WINDOW: u32 = 4 * 1024 * 1024;
/// What comes in one piece of HTTP/2, as far as we take it: 16 KiB, its default, cost more than what is in them.
const FRAME: u32 = 512 * 1024;

/// Where an agent keeps what.
#[derive(Clone, Debug)]
pub struct Places {
    /// Sockets.
    pub runtime: PathBuf,
    /// What outlives the agent.
    pub state: PathBuf,
}

/// The agent cannot serve. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A door cannot be opened.
    #[error("listen at {}", path.display())]
    Door {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// What outlives it cannot be used.
    #[error("use {}", path.display())]
    State {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Processes cannot be kept.
    #[error("take over processes")]
    Supervision(#[from] SupervisionError),
    /// The transport.
    #[error("serve")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves until `stop` is cancelled.
///
/// # Errors
/// When a door cannot be opened, or breaks.
pub async fn serve(places: &Places, stop: &CancellationToken) -> Result<(), ServeError> {
    let access = Arc::new(Access::default());
    let supervisor = Supervisor::open(settings(places)?).await?;
    let vault_folder = places.state.join("vault");
    let vault = Vault::open(&vault_folder)
        .map_err(|source| ServeError::State { path: vault_folder.clone(), source })?;
    let path = places.runtime.join("agent.sock");
    let door =
        UnixDoor::open(Door::Local, &path, 0o666).map_err(|source| ServeError::Door { path, source })?;
    let visitors = tokio_stream::iter(std::iter::repeat(())).then(|()| door.accept());
    let processes = ProcessService::new(Arc::clone(&access), supervisor.clone(), vault);
    let services = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(FRAME)
        .add_service(AgentServer::new(AgentService::new(Arc::clone(&access))))
        .add_service(FilesServer::new(FilesService::new(access)))
        .add_service(ProcessesServer::new(processes));
    let served = tokio::try_join!(
        services.clone().serve_with_incoming_shutdown(visitors, stop.cancelled()),
        services.serve_with_incoming_shutdown(GuestDoor::open(), stop.cancelled()),
    );
    supervisor.close().await;
    served?;
    Ok(())
}

/// Processes are kept by this very executable.
fn settings(places: &Places) -> Result<Settings, ServeError> {
    let keeper = std::env::current_exe()
        .map_err(|source| ServeError::State { path: "/proc/self/exe".into(), source })?;
    Ok(Settings::new(places.state.join("processes"), keeper))
}
