//! vsock in a Windows guest: not built. virtio-win's driver `viosock` brings an address family and a library of its own,
//! which no Windows has from the start; there the host comes by the serial ports.

use tokio::{io::DuplexStream, sync::mpsc};

use super::{GuestVisitor, Lobby};

/// Nobody's.
pub(super) type Connection = DuplexStream;

/// Ends at once: nobody comes.
pub(super) async fn serve(_: Lobby, _: mpsc::Sender<GuestVisitor>) {}
