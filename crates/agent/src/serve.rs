//! Serves the doors until somebody asks to stop.

use std::{io, path::PathBuf, sync::Arc};

use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use winstead_protocol::v1::agent_server::AgentServer;

use crate::{access::Access, door, services::AgentService};

/// Enough for a fast local stream, as the client has it.
const WINDOW: u32 = 4 * 1024 * 1024;

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
    let door = door::local(&places.runtime)
        .map_err(|source| ServeError::Door { path: places.runtime.clone(), source })?;
    let visitors = tokio_stream::iter(std::iter::repeat(())).then(|()| door.accept());
    Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(AgentServer::new(AgentService::new(Arc::clone(&access))))
        .serve_with_incoming_shutdown(visitors, stop.cancelled())
        .await?;
    Ok(())
}
