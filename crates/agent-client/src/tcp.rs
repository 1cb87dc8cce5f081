//! The way to an agent over the network: TCP, and TLS with certificates on both sides.

use std::{fmt, io, str::FromStr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::pki_types::{InvalidDnsNameError, ServerName},
};

use crate::{connect::Alive, error::ConnectError, identity::Identity};

/// To be there: the connection, the handshake, and the agent's first word.
const ARRIVAL: Duration = Duration::from_secs(20);

/// While calls are under way, an agent that says nothing for the first time is asked, and given up after the second.
pub(crate) const ALIVE: Alive = Alive(Some((Duration::from_secs(30), Duration::from_secs(20))));

/// A connection on which the agent has spoken.
pub(crate) type TcpConnection = Box<BufReader<TlsStream<TcpStream>>>;

/// Where an agent listens on the network. Its certificate must have this very name or address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    host: String,
    port: u16,
}

/// A text that names no place. Display is a fragment after "failed to".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("find a host and a port in {0:?}: write tcp://node7.example.org:9796 or tcp://[::1]:9796")]
pub struct PlaceError(String);

impl Place {
    fn name(&self) -> Result<ServerName<'static>, InvalidDnsNameError> {
        ServerName::try_from(self.host.clone())
    }
}

impl FromStr for Place {
    type Err = PlaceError;
    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let place = || {
            let (host, port) = text.strip_prefix("tcp://")?.rsplit_once(':')?;
            let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let place = Self { host: inner.unwrap_or(host).to_owned(), port: port.parse().ok()? };
            let brackets = place.host.contains(':') == inner.is_some();
            (brackets && place.port > 0 && place.name().is_ok()).then_some(place)
        };
        place().ok_or_else(|| PlaceError(text.to_owned()))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(out, "tcp://[{}]:{}", self.host, self.port),
            false => write!(out, "tcp://{}:{}", self.host, self.port),
        }
    }
}

/// Connects, and waits for the agent's first word: with TLS 1.3 a client is through with its handshake before the agent
/// has looked at its certificate, and hears only then that it is not let in.
///
/// # Errors
/// When nobody listens there in time, one side does not believe the other, or the files are no use. Cancel safe.
pub(crate) async fn stream(place: &Place, identity: &Identity) -> Result<TcpConnection, ConnectError> {
    let theirs = identity.clone();
    let config = tokio::task::spawn_blocking(move || theirs.client()).await;
    let config = config.map_err(|error| unreachable(place, io::Error::other(error)))??;
    let reached = timeout(ARRIVAL, reach(place, TlsConnector::from(Arc::new(config)))).await;
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {ARRIVAL:?}"));
    reached.unwrap_or_else(|_| Err(late())).map_err(|source| unreachable(place, source))
}

async fn reach(place: &Place, connector: TlsConnector) -> io::Result<TcpConnection> {
    let stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
    stream.set_nodelay(true)?;
    let name = place.name().map_err(io::Error::other)?;
    let mut stream = BufReader::new(connector.connect(name, stream).await?);
    if stream.fill_buf().await?.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it hangs up without a word"));
    }
    Ok(Box::new(stream))
}

fn unreachable(place: &Place, source: io::Error) -> ConnectError {
    ConnectError::Unreachable { address: place.to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_and_shows_the_same_text() {
        for text in ["tcp://node7.example.org:9796", "tcp://10.0.0.1:1", "tcp://[::1]:65535"] {
            assert_eq!(text.parse::<Place>().expect(text).to_string(), text);
        }
        for text in
            ["10.0.0.1:1", "tcp://x", "tcp://:1", "tcp://::1:1", "tcp://x:0", "tcp://a b:1", "tcp://[x]:1"]
        {
            assert_eq!(text.parse::<Place>(), Err(PlaceError(text.to_owned())));
        }
    }
}
