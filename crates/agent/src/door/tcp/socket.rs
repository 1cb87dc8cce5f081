//! A port that is listened at. Anybody can reach it: until somebody has shown a certificate, they get little, and not for
//! long.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_stream::{Stream, StreamExt as _};
use tonic::transport::server::TcpIncoming;
use winstead_agent_client::socket::listen;
use winstead_protocol::v1::DoorStatus;
use winstead_spec::AgentTcpDoor;

use super::keys::{Keys, certificate};
use crate::{
    access::{Caller, Door},
    door::{Lobby, Seats, TURNED_AWAY, Visitor},
};

/// So many may be in their handshakes at the same time, a quarter of them from one place; others are hung up on.
const ARRIVING: u32 = 256;
/// When the system refuses a connection, the next one is not tried at once.
const REST: Duration = Duration::from_millis(100);
/// To be told that there is no seat.
const FAREWELL: Duration = Duration::from_secs(1);
/// A client that says nothing for so long is asked by TCP whether it is still there, then again, and gives up its seat.
const SILENCE: Duration = Duration::from_secs(60);
const ASK_AGAIN: Duration = Duration::from_secs(15);
const ASKED: u32 = 4;

/// Somebody who came in by TCP.
pub type TcpVisitor = Visitor<TlsStream<TcpStream>>;

/// A port that is listened at. As a stream it gives those who come in.
#[derive(Debug)]
pub struct TcpDoor {
    address: SocketAddr,
    keys: Arc<Keys>,
    told: AgentTcpDoor,
    visitors: mpsc::Receiver<TcpVisitor>,
    _porter: JoinSet<()>,
}

impl TcpDoor {
    /// Listens.
    ///
    /// # Errors
    /// When the port is taken, or the system refuses.
    pub fn open(told: &AgentTcpDoor, keys: Arc<Keys>, lobby: Lobby) -> io::Result<Self> {
        let listener = TcpIncoming::from(listen(told.address)?)
            .with_nodelay(Some(true))
            .with_keepalive(Some(SILENCE))
            .with_keepalive_interval(Some(ASK_AGAIN))
            .with_keepalive_retries(Some(ASKED));
        let address = listener.local_addr()?;
        let (sender, visitors) = mpsc::channel(1);
        let mut porter = JoinSet::new();
        porter.spawn(receive(listener, Arc::clone(&keys), lobby, sender));
        Ok(Self { address, keys, told: told.clone(), visitors, _porter: porter })
    }

    /// What it shows, and whom it believes.
    #[must_use]
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.keys)
    }

    /// Where it is, and who may come in.
    #[must_use]
    pub fn described(&self) -> DoorStatus {
        let permissions = format!("certificates from {}", self.told.client_authority.display());
        DoorStatus { name: Door::Tcp.to_string(), address: self.address.to_string(), permissions }
    }
}

impl Stream for TcpDoor {
    type Item = io::Result<TcpVisitor>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.visitors.poll_recv(context).map(|visitor| visitor.map(Ok))
    }
}

/// Takes in whoever comes, each in a task of their own, until nobody wants visitors any more.
async fn receive(
    mut listener: TcpIncoming,
    keys: Arc<Keys>,
    lobby: Lobby,
    visitors: mpsc::Sender<TcpVisitor>,
) {
    let (mut arriving, places) = (JoinSet::new(), Seats::new(ARRIVING));
    loop {
        let accepted = tokio::select! {
            accepted = listener.next() => accepted,
            Some(_) = arriving.join_next() => continue,
            () = visitors.closed() => return,
        };
        match accepted.map(|accepted| accepted.and_then(|stream| Ok((stream.peer_addr()?, stream)))) {
            Some(Ok((from, stream))) => {
                let Ok(place) = places.take_for(&neighbourhood(from.ip()), false) else {
                    tracing::debug!(%from, "hung up: too many arrive from there");
                    continue;
                };
                let acceptor = TlsAcceptor::from(keys.config());
                let (lobby, visitors) = (lobby.clone(), visitors.clone());
                arriving.spawn(async move {
                    let visitor = take_in(from, stream, &acceptor, &lobby).await;
                    drop(place);
                    if let Some(visitor) = visitor
                        && visitors.send(visitor).await.is_err()
                    {
                        tracing::debug!(%from, "hung up: the agent stops");
                    }
                });
            }
            Some(Err(error)) => {
                // No descriptors left, or a client that is gone: the next one may come in all the same.
                tracing::warn!(door = %Door::Tcp, %error, "nobody can come in at the moment");
                sleep(REST).await;
            }
            None => return,
        }
    }
}

/// Whose addresses count as one: an IPv6 network of 64 bits is as easily had as one IPv4 address.
fn neighbourhood(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).to_string(),
    }
}

/// The handshake, and a seat.
async fn take_in(
    from: SocketAddr,
    stream: TcpStream,
    acceptor: &TlsAcceptor,
    lobby: &Lobby,
) -> Option<TcpVisitor> {
    let mut stream = match timeout(lobby.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::info!(%from, %error, "somebody is not let in");
            return None;
        }
        Err(_) => {
            tracing::info!(%from, "somebody is not let in: their handshake takes too long");
            return None;
        }
    };
    let caller = caller(&stream)?;
    match lobby.seats.take(&caller) {
        Ok(seat) => {
            tracing::debug!(%caller, %from, "came in");
            Some(Visitor::new(stream, caller, seat, lobby.handshake))
        }
        Err(full) => {
            tracing::warn!(%caller, %from, reason = %full, "turned away");
            let farewell = async { stream.write_all(TURNED_AWAY).await.and(stream.shutdown().await) };
            if !matches!(timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
                tracing::debug!(%from, "who was turned away did not wait to hear it");
            }
            None
        }
    }
}

/// Who it is by the certificate that was just verified.
fn caller(stream: &TlsStream<TcpStream>) -> Option<Caller> {
    let shown = stream.get_ref().1.peer_certificates()?.first()?;
    match certificate(shown) {
        Ok(certificate) => {
            Some(Caller { door: Door::Tcp, account: certificate.into(), process: None, container: None })
        }
        Err(error) => {
            tracing::error!(%error, "a bug of ours: a verified certificate cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_one_can_have_by_the_thousand_count_as_one() {
        let of = |text: &str| neighbourhood(text.parse().expect("an address"));
        assert_eq!(of("2001:db8:1:2:3::4"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }
}
