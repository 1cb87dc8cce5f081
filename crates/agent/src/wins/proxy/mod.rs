//! Tunnels of old clients: a container publishes a port that only listens on this computer's `localhost`.
//!
//! ```text
//!  client ══ WebSocket ══ session ──┬── line ── localhost:9796
//!                                   └── line ── localhost:9796
//! ```
//! The session reads in one loop and writes in another, so that a full pipe in one direction stops nothing in the other.

mod line;
mod publish;
mod session;

pub use publish::{PublishError, listen_at, publish};
pub use session::{SessionError, serve};
