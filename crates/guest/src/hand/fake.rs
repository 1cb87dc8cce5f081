//! An agent for tests, where a machine's QEMU is: a socket with a port behind it.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    net::UnixListener,
    task::JoinSet,
};
use tonic::transport::server::Router;
use winstead_agent_client::port::{PortReader, inward, outward};
use winstead_protocol::port::{Mark, put_mark};

use super::{Hand, Ports};

/// Longer than anything takes that ends.
const LONG: Duration = Duration::from_secs(20);

/// The only port of a fake in this folder.
pub(super) fn ports(folder: &Path) -> Ports {
    Ports {
        machine: "liar-0".to_owned(),
        sockets: vec![folder.join("hand.sock")],
        locks: folder.to_owned(),
        qemu: None,
        vsock: None,
    }
}

/// A connection to an agent that answers with these services, once.
pub(super) async fn hand(folder: &Path, server: Router, tasks: &mut JoinSet<()>) -> Hand {
    let listener = UnixListener::bind(folder.join("hand.sock")).unwrap();
    tasks.spawn(serve(listener, server));
    ports(folder).reach(LONG).await.unwrap()
}

async fn serve(listener: UnixListener, server: Router) {
    let (stream, _) = listener.accept().await.unwrap();
    let (reader, mut writer) = tokio::io::split(stream);
    let mut port = PortReader::new(reader);
    let Some(Mark::Begin(nonce)) = port.mark().await.unwrap() else { panic!("no beginning") };
    let mut mark = Vec::new();
    put_mark(Mark::Accept(nonce), &mut mark);
    writer.write_all(&mark).await.unwrap();
    let (near, far) = tokio::io::duplex(1 << 16);
    let (near_reader, near_writer) = tokio::io::split(near);
    let incoming = tokio_stream::once(Ok::<DuplexStream, io::Error>(far));
    let _over = tokio::join!(
        inward(&mut port, near_writer),
        outward(near_reader, writer),
        server.serve_with_incoming(incoming)
    );
}
