//! Why there is no connection.

use std::{error::Error, io};

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

/// An error with its causes in one line, for logs and messages that have no other place for them.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    std::iter::successors(Some(error), |error: &&dyn Error| (*error).source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
