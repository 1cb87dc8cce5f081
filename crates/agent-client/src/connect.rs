//! The ways to an agent.

use std::{fmt, io, path::PathBuf, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;
use winstead_protocol::v1::{
    agent_client::AgentClient, files_client::FilesClient, processes_client::ProcessesClient,
    tunnels_client::TunnelsClient,
};

use crate::{
    error::ConnectError,
    flow::{CONNECTION_WINDOW, FRAME, STREAM_WINDOW, TUNNEL_MESSAGE},
    identity::Identity,
    platform::stream,
    tcp::{self, Place},
};

/// Where an agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket of this computer.
    Unix(PathBuf),
    /// A named pipe of this computer, which runs Windows: `\\\\.\\pipe\\winstead_agent`.
    Pipe(String),
    /// A port of another computer, with TLS: where, and who we are to it.
    Tcp(Place, Identity),
}

impl Address {
    /// Of a daemon that old wins clients call by the name of its pipe. On Linux that is a socket in the agent's folder, and
    /// what has a `/` is the socket's own path; on Windows a pipe's whole name is taken, too.
    #[must_use]
    pub fn wins(pipe: &str) -> Self {
        crate::platform::wins(pipe)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(out, "{}", path.display()),
            Self::Pipe(name) => out.write_str(name),
            Self::Tcp(place, _) => place.fmt(out),
        }
    }
}

/// Whether the other side is asked now and then if it is still there, while calls are under way: after the first time
/// without a word, for the second time. A local socket needs none of it; it ends with the other side.
#[derive(Clone, Copy, Debug, Default)]
pub struct Alive(pub Option<(Duration, Duration)>);

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
        if let Address::Tcp(place, identity) = address {
            // TLS is large, and every future that may connect would be.
            let stream = Box::pin(tcp::stream(place, identity)).await?;
            return Self::over(stream, &address.to_string(), &tcp::ALIVE).await;
        }
        let stream = stream(address)
            .await
            .map_err(|source| ConnectError::Unreachable { address: address.to_string(), source })?;
        Self::over(stream, &address.to_string(), &Alive::default()).await
    }

    /// Speaks over a stream that leads to an agent; `name` is for errors.
    ///
    /// # Errors
    /// When the other side speaks something else.
    pub async fn over<T>(stream: T, name: &str, alive: &Alive) -> Result<Self, ConnectError>
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        // The one connection: when it ends, calls fail, and whoever wants another one opens it.
        let mut once = Some(stream);
        let connector = service_fn(move |_: Uri| {
            let stream = once.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
            async move { stream.map(TokioIo::new) }
        });
        // The name is in each request and means nothing.
        let mut endpoint = Endpoint::from_static("http://agent")
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(FRAME);
        if let Some((ask, give_up)) = alive.0 {
            endpoint = endpoint.http2_keep_alive_interval(ask).keep_alive_timeout(give_up);
        }
        let channel = endpoint
            .connect_with_connector(connector)
            .await
            .map_err(|source| ConnectError::Handshake { address: name.to_owned(), source })?;
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
        TunnelsClient::new(self.channel.clone()).max_decoding_message_size(TUNNEL_MESSAGE)
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> FilesClient<Channel> {
        FilesClient::new(self.channel.clone())
    }
}
