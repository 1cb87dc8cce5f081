//! Which agent a command speaks with.

use std::path::PathBuf;

use clap::Args;
use winstead_agent_client::{Address, ConnectError, Connection};

/// The agent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// The agent's socket.
    #[arg(long, value_name = "SOCKET", default_value = "/run/winstead-agent/agent.sock")]
    address: PathBuf,
}

impl Reach {
    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or we may not.
    pub(crate) async fn open(&self) -> Result<Connection, ConnectError> {
        Connection::open(&Address::Unix(self.address.clone())).await
    }
}
