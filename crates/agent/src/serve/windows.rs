//! What Windows does not have yet: processes, and a guest's ports.

use std::{io, sync::Arc};

use tokio_stream::{Stream, pending};
use tokio_util::sync::CancellationToken;
use winstead_spec::Agent;

use super::{Places, ServeError, Serving};
use crate::{access::Access, door::PipeVisitor};

/// Nothing.
#[derive(Clone, Debug)]
pub(super) struct Own;

impl Own {
    /// Nothing has to be taken over.
    #[expect(clippy::unused_async, reason = "as on other systems")]
    pub(super) async fn open(_: &Places, _: &Agent, _: &Arc<Access>) -> Result<Self, ServeError> {
        Ok(Self)
    }

    /// Nothing more is served.
    pub(super) fn add(&self, serving: Serving, _: usize) -> Serving {
        serving
    }

    /// Until it is to stop.
    pub(super) async fn leave(&self, stop: &CancellationToken) {
        stop.cancelled().await;
    }
}

/// Nobody comes in by one.
pub(super) fn guest_door() -> impl Stream<Item = io::Result<PipeVisitor>> {
    pending()
}
