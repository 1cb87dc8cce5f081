//! A connection that came in here, carried to the agent.

use std::io;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::net::TcpStream;

use crate::{
    socket::{self, Reader},
    tunnel::{OpenError, Target, TunnelError, link::Link},
};

/// A connection that ended before its time. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub(super) enum CarryError {
    /// There is no tunnel.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There was one.
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
    /// The one who came in here went away.
    #[error("hand on what came from the agent")]
    Local(#[from] io::Error),
}

/// Carries it to its end. Where that fails, the connection is broken, not ended: whoever came in must not take half of the
/// bytes for all of them.
///
/// # Errors
/// When there is no tunnel, or either side broke.
pub(super) async fn carry(link: &Link, target: &Target, connection: TcpStream) -> Result<(), CarryError> {
    let (reader, mut writer) = socket::split(connection)?;
    let (tunnel, _seat) = link.open(target).await?;
    let mut incoming = tunnel.start(pieces(reader));
    while let Some(bytes) = incoming.next().await? {
        writer.write(&bytes).await?;
    }
    writer.end().await?;
    Ok(incoming.finish().await?)
}

fn pieces(reader: Reader) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold(
        reader,
        |mut reader| async move { Ok(reader.next().await?.map(|bytes| (bytes, reader))) },
    )
}
