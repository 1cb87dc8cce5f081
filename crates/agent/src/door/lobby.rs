//! What all doors share.

use std::{sync::Arc, time::Duration};

use crate::{access::Access, door::Seats};

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
