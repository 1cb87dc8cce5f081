//! What Windows does not have yet: old clients.

use std::{io, sync::Arc};

use tokio_util::sync::CancellationToken;
use tonic::transport::Error;
use winstead_protocol::v1::DoorStatus;
use winstead_spec::Agent;

use super::{Own, Places, ServeError};
use crate::{
    access::Access,
    door::{GuestDoor, Lobby},
};

/// Old clients, who are not served here yet.
#[derive(Debug)]
pub(super) struct OldClients;

impl OldClients {
    /// Nothing.
    ///
    /// # Errors
    /// When the document names one of their doors: it would be a promise.
    pub(super) fn open(places: &Places, agent: &Agent, _: &Own, _: &Lobby) -> Result<Self, ServeError> {
        if agent.doors.wins.is_none() && agent.doors.wins_proxy.is_none() {
            return Ok(Self);
        }
        let source = io::Error::new(io::ErrorKind::Unsupported, "old clients are not served on Windows yet");
        Err(ServeError::Door { path: places.runtime.clone(), source })
    }

    /// Nothing.
    pub(super) const fn described(&self) -> Vec<DoorStatus> {
        Vec::new()
    }

    /// Nobody comes.
    #[expect(clippy::unused_async, reason = "as on other systems")]
    pub(super) async fn serve(self, _: &Arc<Access>, _: usize, _: &CancellationToken) -> Result<(), Error> {
        Ok(())
    }
}

/// From the host, where this computer is a guest.
pub(super) fn guest_door() -> GuestDoor {
    GuestDoor::open()
}
