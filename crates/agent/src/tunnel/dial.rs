//! Reaching a port, within a time, and saying why not.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UdpSocket, lookup_host},
    time::timeout,
};
use tonic::Status;

use crate::access::Port;

/// A port that cannot be reached. Display is for the caller, who knows which.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// It refused, or there is no way to it, or no such name.
    #[error("{}", reason(.0))]
    Unreachable(io::Error),
    /// Nothing came back.
    #[error("no answer within {} ms", .0.as_millis())]
    NoAnswer(Duration),
}

/// A connection to it. Every address of its name is tried in turn.
///
/// # Errors
/// When there is none within the time.
pub async fn tcp(port: &Port, within: Duration) -> Result<TcpStream, DialError> {
    bounded(within, TcpStream::connect((port.host.as_str(), port.number))).await
}

/// A socket that sends to it and hears from nobody else: the first address of its name that the system has a way to.
///
/// # Errors
/// When there is none within the time. Whether anybody listens there, nobody knows before something comes back.
pub async fn udp(port: &Port, within: Duration) -> Result<UdpSocket, DialError> {
    bounded(within, async {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in lookup_host((port.host.as_str(), port.number)).await? {
            match connected(address).await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    })
    .await
}

async fn connected(address: SocketAddr) -> io::Result<UdpSocket> {
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(address).await?;
    Ok(socket)
}

async fn bounded<T>(within: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, DialError> {
    match timeout(within, work).await {
        Ok(outcome) => outcome.map_err(DialError::Unreachable),
        Err(_) => Err(DialError::NoAnswer(within)),
    }
}

/// The same words on every system for what happens every day.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "no way to this host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "no way to this network".to_owned(),
        _ => error.to_string(),
    }
}

impl From<DialError> for Status {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Unreachable(_) => Self::unavailable(error.to_string()),
            DialError::NoAnswer(_) => Self::deadline_exceeded(error.to_string()),
        }
    }
}
