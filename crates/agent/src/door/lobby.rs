//! What all doors share.

use std::{sync::Arc, time::Duration};

use crate::{
    access::{Access, Caller},
    door::{Seats, Visitor},
};

/// What all doors share.
#[derive(Clone, Debug)]
pub struct Lobby {
    /// How many may be there.
    pub seats: Arc<Seats>,
    /// Says whether calling programs must be hashed.
    pub access: Arc<Access>,
    /// How long a client may take to its first words.
    pub handshake: Duration,
}

impl Lobby {
    /// Gives somebody a seat. Where there is none, their stream comes back, so that they can be told.
    pub(super) fn take_in<S>(&self, stream: S, caller: Caller) -> Result<Visitor<S>, S> {
        match self.seats.take(&caller) {
            Ok(seat) => {
                tracing::debug!(%caller, "came in");
                Ok(Visitor::new(stream, caller, seat, self.handshake))
            }
            Err(full) => {
                tracing::warn!(%caller, reason = %full, "turned away");
                Err(stream)
            }
        }
    }
}
