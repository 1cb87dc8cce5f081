//! Serves the doors until somebody asks to stop.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use winstead_protocol::v1::agent_server::AgentServer;

use crate::{access::Access, door, service::Control, services::AgentService};

/// Enough for a fast local stream, as the client has it.
const WINDOW: u32 = 4 * 1024 * 1024;

/// How long clients may take to go when the agent ends: one that is stuck must not keep it.
const GOING: Duration = Duration::from_secs(3);

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
    serve_as(places, &Control { stop: stop.clone(), ..Control::default() }).await
}

/// As [`serve`], for whoever wants to know when it serves: then `ready` is cancelled.
///
/// # Errors
/// As [`serve`].
pub async fn serve_as(places: &Places, control: &Control) -> Result<(), ServeError> {
    let access = Arc::new(Access::default());
    let door = door::local(&places.runtime)
        .map_err(|source| ServeError::Door { path: places.runtime.clone(), source })?;
    control.ready.cancel();
    let visitors = tokio_stream::iter(std::iter::repeat(())).then(|()| door.accept());
    let serving = Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(AgentServer::new(AgentService::new(Arc::clone(&access))))
        .serve_with_incoming_shutdown(visitors, control.stop.cancelled());
    tokio::select! {
        outcome = serving => outcome?,
        () = late(&control.stop) => tracing::warn!("clients that did not go in time are cut off"),
    }
    Ok(())
}

/// Until a client that was asked to go has had its time.
async fn late(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GOING).await;
}
