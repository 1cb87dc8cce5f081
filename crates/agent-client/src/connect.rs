//! The ways to an agent.

use std::{fmt, io, path::PathBuf};

use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;
use winstead_protocol::v1::{
    agent_client::AgentClient, files_client::FilesClient, processes_client::ProcessesClient,
    tunnels_client::TunnelsClient,
};

use crate::{error::ConnectError, platform::stream};

/// Enough for a fast local stream: HTTP/2's own 64 KiB would stop it for an answer again and again.
const WINDOW: u32 = 4 * 1024 * 1024;

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket of this computer.
    Unix(PathBuf),
    /// A named pipe of this computer, which runs Windows: `\\\\.\\pipe\\winstead_agent`.
    Pipe(String),
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "{}", path.display()),
            Self::Pipe(name) => out.write_str(name),
        }
    }
}

/// A connection; cheap to clone, and each clone can be used at the same time.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, we may not, or the other side speaks something else.
    pub async fn open(address: &Address) -> Result<Self, ConnectError> {
        let stream = stream(address)
            .await
            .map_err(|source| ConnectError::Unreachable { address: address.to_string(), source })?;
        // The one connection: when it ends, calls fail, and whoever wants another one opens it.
        let mut once = Some(stream);
        let connector = service_fn(move |_| {
            let stream = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { stream.map(TokioIo::new) }
        });
        // The name is in each request and means nothing.
        let channel = Endpoint::from_static("http://agent")
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .connect_with_connector(connector)
            .await
            .map_err(|source| ConnectError::Handshake { address: address.to_string(), source })?;
        Ok(Self { channel })
    }

    /// The connection itself, for services that are not ours.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Who is there.
    #[must_use]
    pub fn agent(&self) -> AgentClient<Channel> {
        AgentClient::new(self.channel.clone())
    }

    /// Its processes.
    #[must_use]
    pub fn processes(&self) -> ProcessesClient<Channel> {
        ProcessesClient::new(self.channel.clone())
    }

    /// Its ports.
    #[must_use]
    pub fn tunnels(&self) -> TunnelsClient<Channel> {
        TunnelsClient::new(self.channel.clone())
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel.clone())
    }
}
