//! The agent's own protocol, version 1.

mod agent;

pub use agent::AgentService;

use tonic::{Request, Status};

use crate::access::{Caller, Denied};

/// Who sent this request: the door put it there.
///
/// # Errors
/// When no door did, which is a bug of ours and must not let anybody in.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<&Caller, Status> {
    request.extensions().get().ok_or_else(|| Status::unauthenticated("it is not known who calls"))
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoRule { .. } | Denied::NeedsDigest => Self::permission_denied(denied.to_string()),
            Denied::TooLong { .. } => Self::invalid_argument(denied.to_string()),
            Denied::Unaudited => Self::unavailable(denied.to_string()),
        }
    }
}
