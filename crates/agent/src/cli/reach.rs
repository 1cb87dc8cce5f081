//! Which agent a command speaks with.

use std::path::PathBuf;

use clap::Args;
use winstead_agent_client::{Address, ConnectError, Connection};

use crate::cli::platform;

/// The agent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// The agent's socket; on Windows its pipe.
    #[arg(long, value_name = "SOCKET", default_value = platform::ADDRESS)]
    address: PathBuf,
}

impl Reach {
    /// Where it listens.
    pub(crate) fn address(&self) -> Address {
        platform::address(&self.address)
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or we may not.
    pub(crate) async fn open(&self) -> Result<Connection, ConnectError> {
        Connection::open(&self.address()).await
    }
}
