//! Ports here that lead to ports of the agent's computer.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::Semaphore,
    task::JoinSet,
    time::sleep,
};

use crate::{
    Address, chain, socket,
    tunnel::{Mapping, OpenError, Protocol, Target, datagrams::Datagrams, link::Link, stream::carry},
};

/// How long a new connection waits for an agent that is being restarted.
const PATIENCE: Duration = Duration::from_secs(15);
/// Connections of one port at the same time; more wait in the system's queue.
const CONNECTIONS: usize = 4096;
/// After the system had no connection for us (most often: no more open files), so that we do not ask in a circle.
const BREATH: Duration = Duration::from_millis(100);

/// Nothing is published. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// A port here cannot be had.
    #[error("listen at {protocol}/{address}")]
    Listen {
        /// Which kind.
        protocol: Protocol,
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
}

/// What leads where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// The port here, with the number that the system chose for a 0.
    pub local: SocketAddr,
    /// The port at the agent.
    pub target: Target,
}

/// Listens here, and opens a tunnel for each connection and each sender of datagrams.
///
/// When the agent is restarted, connections break, and new ones wait for it a bounded time.
#[derive(Debug)]
pub struct Publisher {
    link: Arc<Link>,
    ports: Vec<(Published, Door)>,
}

#[derive(Debug)]
enum Door {
    Stream(TcpListener),
    Datagrams(Arc<UdpSocket>),
}

impl Publisher {
    /// Listens for each of `mappings` at each of `listen`. The agent is not asked yet, and nobody is served.
    ///
    /// # Errors
    /// When a port cannot be had; then none is.
    pub async fn bind(
        address: Address,
        mappings: &[Mapping],
        listen: &[IpAddr],
    ) -> Result<Self, PublishError> {
        let mut ports = Vec::with_capacity(mappings.len() * listen.len());
        for mapping in mappings {
            for own in listen {
                ports.push(port(mapping, SocketAddr::new(*own, mapping.listen)).await?);
            }
        }
        Ok(Self { link: Arc::new(Link::new(address, PATIENCE)), ports })
    }

    /// What leads where.
    pub fn published(&self) -> impl Iterator<Item = &Published> {
        self.ports.iter().map(|(published, _)| published)
    }

    /// Asks the agent once for each target whether it would let us; returns the answers that were no.
    ///
    /// # Errors
    /// When there is no agent.
    pub async fn check(&self) -> Result<Vec<OpenError>, OpenError> {
        let mut targets: Vec<&Target> = self.published().map(|published| &published.target).collect();
        targets.sort();
        targets.dedup();
        let mut refused = Vec::new();
        for target in targets {
            match self.link.check(target).await {
                Ok(()) => {}
                Err(error @ OpenError::Refused { .. }) => refused.push(error),
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// Serves all ports. Ends only by being dropped, and every connection with it.
    pub async fn serve(self) {
        let mut doors = JoinSet::new();
        for (published, door) in self.ports {
            let link = Arc::clone(&self.link);
            match door {
                Door::Stream(listener) => doors.spawn(connections(link, published.target, listener)),
                Door::Datagrams(socket) => {
                    doors.spawn(Datagrams::new(link, published.target, socket).serve())
                }
            };
        }
        while let Some(ended) = doors.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a port is served no more");
            }
        }
    }
}

async fn port(mapping: &Mapping, address: SocketAddr) -> Result<(Published, Door), PublishError> {
    let protocol = mapping.target.protocol;
    let listened = match protocol {
        Protocol::Tcp => listen(address),
        Protocol::Udp => receive(address).await,
    };
    let (local, door) = listened.map_err(|source| PublishError::Listen { protocol, address, source })?;
    Ok((Published { local, target: mapping.target.clone() }, door))
}

fn listen(address: SocketAddr) -> io::Result<(SocketAddr, Door)> {
    let listener = socket::listen(address)?;
    Ok((listener.local_addr()?, Door::Stream(listener)))
}

async fn receive(address: SocketAddr) -> io::Result<(SocketAddr, Door)> {
    let socket = UdpSocket::bind(address).await?;
    Ok((socket.local_addr()?, Door::Datagrams(Arc::new(socket))))
}

async fn connections(link: Arc<Link>, target: Target, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut open = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((connection, from)) => {
                let carried = carry_or_say(Arc::clone(&link), target.clone(), connection, from);
                open.spawn(async move {
                    carried.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%target, %error, "no connection");
                sleep(BREATH).await;
            }
        }
        while let Some(ended) = open.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%target, %error, "a connection's task ended");
            }
        }
    }
}

async fn carry_or_say(link: Arc<Link>, target: Target, connection: TcpStream, from: SocketAddr) {
    if let Err(error) = carry(&link, &target, connection).await {
        tracing::warn!("the connection of {from} broke: failed to {}", chain(&error));
    }
}
