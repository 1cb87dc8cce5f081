//! Why there is no connection.

use std::io;

use crate::identity::IdentityError;

/// No connection. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or we may not.
    #[error("reach the agent at {address}")]
    Unreachable {
        /// Where.
        address: String,
        /// The system's words.
        source: io::Error,
    },
    /// Our own certificate is no use.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// Somebody listens, and does not speak our protocol.
    #[error("speak with the agent at {address}")]
    Handshake {
        /// Where.
        address: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
}
