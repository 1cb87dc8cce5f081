//! What a running service and its system tell each other.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// What the system asks of a running service. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Control {
    /// Cancelled when it is to end.
    pub stop: CancellationToken,
    /// Notified when it is to read its configuration again.
    pub reload: Arc<Notify>,
    /// Cancelled by the service itself, when it serves.
    pub ready: CancellationToken,
}
