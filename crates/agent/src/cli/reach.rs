//! Which agent a command speaks with.

use std::path::PathBuf;

use clap::Args;
use winstead_agent::folder::guard_secret;
use winstead_agent_client::{Address, Connection, identity::Identity};

use crate::cli::{Failure, platform};

/// What a place on the network begins with.
const NETWORK: &str = "tcp://";

/// The agent.
#[derive(Clone, Debug, Args)]
pub(crate) struct Reach {
    /// The agent's socket; on Windows its pipe; tcp://HOST:PORT for one on another computer.
    #[arg(long, value_name = "ADDRESS", default_value = platform::ADDRESS)]
    #[arg(env = "WINSTEAD_AGENT_ADDRESS", hide_env_values = true)]
    address: PathBuf,
    /// Your certificate, for tcp:// (PEM).
    #[arg(long, value_name = "FILE", env = "WINSTEAD_AGENT_CERT", hide_env_values = true)]
    cert: Option<PathBuf>,
    /// The key of your certificate (PEM). Nobody else may be able to read it.
    #[arg(long, value_name = "FILE", env = "WINSTEAD_AGENT_KEY", hide_env_values = true)]
    key: Option<PathBuf>,
    /// The authority that the agent's certificate comes from (PEM).
    #[arg(long, value_name = "FILE", env = "WINSTEAD_AGENT_CA", hide_env_values = true)]
    ca: Option<PathBuf>,
}

/// There is no way there. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
enum ReachError {
    /// Both sides show certificates.
    #[error("reach {place} without --cert, --key and --ca (or WINSTEAD_AGENT_CERT, _KEY and _CA)")]
    Incomplete {
        /// Where.
        place: String,
    },
    /// Others could be us.
    #[error("trust the key")]
    Unsafe(#[source] std::io::Error),
}

impl Reach {
    /// Where it listens.
    ///
    /// # Errors
    /// When it is on the network, and a file is not named, or others can read the key.
    pub(crate) fn address(&self) -> Result<Address, Failure> {
        match self.address.to_str().filter(|address| address.starts_with(NETWORK)) {
            Some(place) => Ok(Address::Tcp(place.parse()?, self.identity(place)?)),
            None => Ok(platform::address(&self.address)),
        }
    }

    fn identity(&self, place: &str) -> Result<Identity, ReachError> {
        let (Some(certificate), Some(key), Some(authority)) = (&self.cert, &self.key, &self.ca) else {
            return Err(ReachError::Incomplete { place: place.to_owned() });
        };
        guard_secret(key).map_err(ReachError::Unsafe)?;
        let (certificate, authority) = (certificate.clone(), authority.clone());
        Ok(Identity { certificate, key: key.clone(), authority })
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens there, or we may not.
    pub(crate) async fn open(&self) -> Result<Connection, Failure> {
        Ok(Connection::open(&self.address()?).await?)
    }
}
