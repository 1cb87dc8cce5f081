//! The agent's own protocol, version 1.

mod agent;
mod event_stream;
mod files;
mod input;
pub(crate) mod order;
mod processes;
pub(crate) mod tunnels;

pub use agent::AgentService;
pub use files::FilesService;
pub use processes::ProcessService;
pub use tunnels::TunnelsService;

use tonic::{Request, Status};

use crate::access::{Caller, Denied};

/// Bytes in one message of a stream of a file: large enough that messages cost nothing beside the bytes, small enough that
/// several may wait.
pub(crate) const CHUNK: usize = 512 * 1024;

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
