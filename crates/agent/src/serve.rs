//! Serves the doors until somebody asks to stop.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use winstead_agent_client::flow::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW};
use winstead_protocol::v1::agent_server::AgentServer;

use crate::{
    access::{Access, Door},
    door::UnixDoor,
    services::{AgentService, TunnelsService},
    tunnel::TunnelLimits,
};

/// How long calls may take to end after the agent was asked to.
const GRACE: Duration = Duration::from_secs(5);

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
    let path = places.runtime.join("agent.sock");
    let door =
        UnixDoor::open(Door::Local, &path, 0o666).map_err(|source| ServeError::Door { path, source })?;
    let visitors = tokio_stream::iter(std::iter::repeat(())).then(|()| door.accept());
    let served = Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME)
        .add_service(AgentServer::new(AgentService::new(Arc::clone(&access))))
        .add_service(TunnelsService::new(access, TunnelLimits::default(), stop.clone()))
        .serve_with_incoming_shutdown(visitors, stop.cancelled());
    // A caller who does not read the end of a call would keep us for ever.
    let patience = async {
        stop.cancelled().await;
        sleep(GRACE).await;
    };
    tokio::select! {
        outcome = served => Ok(outcome?),
        () = patience => {
            tracing::warn!("calls are cut off that did not end within {} s", GRACE.as_secs());
            Ok(())
        }
    }
}
