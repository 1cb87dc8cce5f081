//! vsock, from here into a machine: a connection of our own, where a serial port is one of four.

use std::{
    io,
    os::fd::{AsRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{
        AddressFamily, SockFlag, SockType, VsockAddr, bind, connect, getsockopt, socket, sockopt::SocketError,
    },
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_vsock::{VMADDR_CID_ANY, VsockStream};
use uuid::Uuid;
use winstead_protocol::vsock::{ACCEPTED, LAST_RESERVED_PORT, PORT, password};

/// Our side's ports, as rresvport(3) has them: only who may bind a reserved one is let in, and the lower half is left to
/// services that everybody knows.
const FIRST_PORT: u32 = LAST_RESERVED_PORT.div_ceil(2);
const PORTS: u32 = LAST_RESERVED_PORT - FIRST_PORT + 1;

/// A machine's place at vsock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vsock {
    /// Its number. As long as its QEMU lives, it is nobody else's.
    pub cid: u32,
    /// The file of the key by which it is known on SSH: its agent listens to nobody who does not have that.
    pub key: PathBuf,
}

/// Whether machines can be called by vsock from here: the system has it, and we may have a reserved port.
#[must_use]
pub fn may_call_by_vsock() -> bool {
    reserved().inspect_err(|error| tracing::debug!(%error, "machines cannot be called by vsock")).is_ok()
}

/// A connection to the agent of the machine with this number, which does not know us yet.
///
/// # Errors
/// When it has no such driver, nobody listens there, or we may not. Waits as long as the machine says nothing. Cancel safe.
pub(super) async fn open(cid: u32) -> io::Result<VsockStream> {
    let socket = reserved()?;
    match connect(socket.as_raw_fd(), &VsockAddr::new(cid, PORT)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    let mut stream = VsockStream::new(vsock::VsockStream::from(socket))?;
    // Nothing can be written as soon as the connection is there, or has failed.
    if let Err(error) = stream.write(&[]).await {
        let why = getsockopt(&stream, SocketError)?;
        return Err(if why == 0 { error } else { io::Error::from_raw_os_error(why) });
    }
    Ok(stream)
}

/// Says the password, and hears that it was the right one.
///
/// # Errors
/// When the agent began with another key, is gone, or speaks before it is spoken to. Waits as long as it says nothing.
/// Not cancel safe: the answer is lost.
pub(super) async fn introduce(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    key: &[u8],
) -> io::Result<()> {
    stream.write_all(&password(key)).await?;
    let mut answer = [0];
    if stream.read(&mut answer).await? == 1 && answer == [ACCEPTED] {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::PermissionDenied, "its agent knows another key than we do"))
}

/// A socket at a reserved port that nobody else has; one at random, so that two commands seldom try the same.
fn reserved() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Vsock, SockType::Stream, flags, None)?;
    for port in ports(Uuid::new_v4().as_fields().0) {
        match bind(socket.as_raw_fd(), &VsockAddr::new(VMADDR_CID_ANY, port)) {
            Err(Errno::EADDRINUSE) => {}
            bound => return Ok(bound.map(|()| socket)?),
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "all reserved ports of vsock are taken"))
}

/// All of our side's ports, each once, beginning anywhere.
fn ports(random: u32) -> impl Iterator<Item = u32> {
    (0..PORTS).map(move |step| FIRST_PORT + (random % PORTS + step) % PORTS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[tokio::test]
    async fn who_is_hung_up_on_or_hears_another_word_is_not_let_in() {
        for (answer, let_in) in [(&[ACCEPTED][..], true), (b"", false), (b"\0\0\x18", false)] {
            // It ends after the answer.
            let mut said = Vec::new();
            let mut stream = tokio::io::join(answer, &mut said);
            assert_eq!(introduce(&mut stream, b"key").await.is_ok(), let_in, "{answer:?}");
            assert_eq!(said, password(b"key"));
        }
    }

    #[test]
    fn every_reserved_port_of_the_upper_half_is_tried_once_wherever_it_begins() {
        for random in [0, 1, 511, 512, 1023, u32::MAX] {
            let tried: Vec<u32> = ports(random).collect();
            assert_eq!(tried.iter().copied().collect::<BTreeSet<_>>(), (512..=1023).collect());
            assert_eq!(tried.len(), 512, "{random}");
        }
        assert_ne!(ports(7).next(), ports(8).next());
    }
}
