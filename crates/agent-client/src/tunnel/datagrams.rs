//! Datagrams that come in here, carried to the agent: a tunnel for each sender.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use tokio::{
    net::UdpSocket,
    sync::mpsc::{self, error::TrySendError},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;

use crate::{
    chain,
    tunnel::{Target, link::Link, stream::CarryError},
};

/// The longest datagram there is.
const LONGEST: usize = 65_507;
/// Datagrams of one sender that wait for their tunnel; more are lost, as on a network.
const WAITING: usize = 64;
/// Senders at the same time; a new one beyond that is not heard until another was idle for long enough.
const SENDERS: usize = 1024;

/// A socket with those who send to it.
pub(super) struct Datagrams {
    link: Arc<Link>,
    target: Target,
    socket: Arc<UdpSocket>,
    senders: HashMap<SocketAddr, mpsc::Sender<Bytes>>,
    tunnels: JoinSet<SocketAddr>,
}

impl Datagrams {
    /// Nobody has sent anything yet.
    pub(super) fn new(link: Arc<Link>, target: Target, socket: Arc<UdpSocket>) -> Self {
        Self { link, target, socket, senders: HashMap::new(), tunnels: JoinSet::new() }
    }

    /// Carries them until it is dropped.
    pub(super) async fn serve(mut self) {
        let mut buffer = BytesMut::new();
        loop {
            buffer.reserve(LONGEST);
            tokio::select! {
                received = self.socket.recv_buf_from(&mut buffer) => match received {
                    Ok((_, sender)) => self.hand_on(sender, buffer.split().freeze()),
                    // The answer to a datagram that we sent to somebody who is gone.
                    Err(error) => tracing::debug!(%error, "no datagram"),
                },
                Some(ended) = self.tunnels.join_next() => match ended {
                    Ok(sender) => drop(self.senders.remove(&sender)),
                    Err(error) => tracing::error!(%error, "a tunnel's task ended"),
                },
            }
        }
    }

    fn hand_on(&mut self, sender: SocketAddr, bytes: Bytes) {
        let known = self.senders.len();
        let waiting = match self.senders.get(&sender) {
            Some(waiting) => waiting,
            None if known >= SENDERS => {
                tracing::debug!(%sender, "too many senders; a datagram is lost");
                return;
            }
            None => {
                let (waiting, inbox) = mpsc::channel(WAITING);
                self.tunnels.spawn(carry_or_say(
                    Arc::clone(&self.link),
                    self.target.clone(),
                    Arc::clone(&self.socket),
                    (sender, inbox),
                ));
                self.senders.entry(sender).or_insert(waiting)
            }
        };
        match waiting.try_send(bytes) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                tracing::debug!(%sender, "a datagram is lost");
            }
        }
    }
}

async fn carry_or_say(
    link: Arc<Link>,
    target: Target,
    socket: Arc<UdpSocket>,
    (sender, inbox): (SocketAddr, mpsc::Receiver<Bytes>),
) -> SocketAddr {
    if let Err(error) = carry(&link, &target, &socket, (sender, inbox)).await {
        tracing::warn!("datagrams of {sender} are lost: failed to {}", chain(&error));
    }
    sender
}

/// Carries one sender's datagrams until the agent finds the tunnel idle.
async fn carry(
    link: &Link,
    target: &Target,
    socket: &UdpSocket,
    (sender, inbox): (SocketAddr, mpsc::Receiver<Bytes>),
) -> Result<(), CarryError> {
    let (tunnel, _seat) = link.open(target).await?;
    let mut incoming = tunnel.start(ReceiverStream::new(inbox).map(Ok));
    while let Some(bytes) = incoming.next().await? {
        if let Err(error) = socket.send_to(&bytes, sender).await {
            tracing::debug!(%error, %sender, "a datagram is lost");
        }
    }
    Ok(())
}
