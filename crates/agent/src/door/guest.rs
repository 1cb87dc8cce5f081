//! From the host into its guest: sessions on serial ports ([`winstead_protocol::port`]), one caller at a time on each, and
//! connections by vsock.
//!
//! Nobody but the host is at the other end of such a port, and it can do everything with its guest anyway.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream},
    sync::mpsc,
    task::JoinSet,
};
use tokio_stream::Stream;
use tokio_util::either::Either;
use winstead_agent_client::port::{PortReader, SessionEnd, inward, outward};
use winstead_protocol::port::{Mark, Nonce, PORTS, port_name, put_mark};

use crate::door::{Lobby, Visitor, virtio, vsock};

/// What waits between a port and its session.
const BUFFER: usize = 128 * 1024;
/// How often, and how many times, ports are looked for that are not there yet: an agent may be started before the
/// system has found them all, and a port whose driver is restarted comes back. Later nobody looks: a guest at rest must
/// stay at rest.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(500);
pub(super) const LOOKS: usize = 60;

/// All ports of this guest, and its vsock.
#[derive(Debug)]
pub struct GuestDoor {
    visitors: mpsc::Receiver<GuestVisitor>,
    _porters: JoinSet<()>,
}

impl GuestDoor {
    /// Opens the ports that are there, and those that appear within half a minute; vsock, too. On a computer that is no guest,
    /// none. To be called in a runtime of tokio.
    #[must_use]
    pub fn open(lobby: Lobby) -> Self {
        let (sender, visitors) = mpsc::channel(1);
        let mut porters = JoinSet::new();
        porters.spawn(vsock::serve(lobby, sender.clone()));
        porters.spawn(open_ports(virtio::find, sender));
        Self { visitors, _porters: porters }
    }
}

/// Who comes in, one after the other; ends where there is neither port nor vsock.
impl Stream for GuestDoor {
    type Item = io::Result<GuestVisitor>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.visitors.poll_recv(context).map(|visitor| visitor.map(Ok))
    }
}

/// Opens ports as they appear, and serves them; those that end, too, when they appear again.
pub(super) async fn open_ports<P: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    find: impl Fn(usize) -> Option<P>,
    visitors: mpsc::Sender<GuestVisitor>,
) {
    let (mut open, mut served, mut looks) = ([false; PORTS], JoinSet::new(), 0);
    while !visitors.is_closed() {
        for number in (0..PORTS).filter(|number| !open[*number]).collect::<Vec<_>>() {
            let Some(port) = find(number) else { continue };
            open[number] = true;
            tracing::info!(port = port_name(number), "listening");
            served.spawn(serve_numbered(number, port, visitors.clone()));
        }
        let looking = looks < LOOKS && open.contains(&false);
        if !looking && served.is_empty() {
            return;
        }
        tokio::select! {
            Some(ended) = served.join_next() => {
                // A bug of ours has been told by its panic; which port it was is not known, so it stays closed.
                if let Ok(number) = ended {
                    (open[number], looks) = (false, 0);
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            () = tokio::time::sleep(LOOK_AGAIN), if looking => looks += 1,
        }
    }
}

/// Serves a port until it ends; returns its number.
async fn serve_numbered(
    number: usize,
    port: impl AsyncRead + AsyncWrite + Unpin,
    visitors: mpsc::Sender<GuestVisitor>,
) -> usize {
    let (reader, writer) = tokio::io::split(port);
    let ended = serve(reader, writer, &visitors).await;
    tracing::warn!(port = port_name(number), ?ended, "the port is not listened at any more");
    number
}

/// Serves one session after the other; ends when the port does, or when nobody wants visitors any more.
async fn serve(
    reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    visitors: &mpsc::Sender<GuestVisitor>,
) -> io::Result<()> {
    let (mut port, mut next) = (PortReader::new(reader), None);
    loop {
        let nonce = match next.take() {
            Some(nonce) => nonce,
            None => match port.mark().await? {
                Some(Mark::Begin(nonce)) => nonce,
                Some(Mark::Accept(_) | Mark::End) => continue,
                None => return Ok(()),
            },
        };
        let (inside, outside) = tokio::io::duplex(BUFFER);
        if visitors.send(Visitor::host(Either::Left(inside))).await.is_err() {
            return Ok(());
        }
        next = session(&mut port, &mut writer, nonce, outside).await?;
    }
}

/// One session; returns which one comes next if the host has begun it already.
async fn session<R: AsyncRead + Unpin>(
    port: &mut PortReader<R>,
    writer: &mut (impl AsyncWrite + Unpin),
    nonce: Nonce,
    outside: DuplexStream,
) -> io::Result<Option<Nonce>> {
    let (from_inside, to_inside) = tokio::io::split(outside);
    let talk = async {
        let mut accept = Vec::new();
        put_mark(Mark::Accept(nonce), &mut accept);
        writer.write_all(&accept).await?;
        outward(from_inside, &mut *writer).await
    };
    // Writing waits as long as no host reads: who comes next is heard all the same.
    tokio::select! {
        end = inward(port, to_inside) => Ok(match end? {
            SessionEnd::Begins(nonce) => Some(nonce),
            SessionEnd::Over | SessionEnd::Gone => None,
        }),
        said = talk => said.map(|()| None),
    }
}

/// A session of the host on a port, or its connection by vsock.
pub type GuestVisitor = Visitor<Either<DuplexStream, vsock::Connection>>;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use winstead_agent_client::port::Session;
    use winstead_protocol::port::put_data;

    use super::*;

    const LONG: Duration = Duration::from_secs(10);

    /// A port with the guest's side of it served; returns the host's side, and who comes in.
    fn port() -> (DuplexStream, mpsc::Receiver<GuestVisitor>, tokio::task::JoinHandle<io::Result<()>>) {
        let (host, guest) = tokio::io::duplex(1 << 20);
        let (sender, visitors) = mpsc::channel(1);
        let (reader, writer) = tokio::io::split(guest);
        (host, visitors, tokio::spawn(async move { serve(reader, writer, &sender).await }))
    }

    #[tokio::test]
    async fn a_host_that_is_cut_off_in_mid_word_leaves_a_port_for_the_next_one() {
        let (mut host, mut visitors, served) = port();
        let mut wire = Vec::new();
        put_mark(Mark::Begin(Nonce(1)), &mut wire);
        put_data(b"half a \xf5", &mut wire);
        // Killed between an escape and what belongs to it.
        wire.pop();
        host.write_all(&wire).await.expect("written");
        let mut first = visitors.recv().await.expect("a visitor");
        let mut words = [0; 7];
        first.read_exact(&mut words).await.expect("read");
        let (second, visitor) = tokio::join!(Session::begin(host, Nonce(2), LONG), visitors.recv());
        assert_eq!(first.read(&mut words).await.expect("read"), 0, "the first session has ended");
        let (mut second, mut visitor) = (second.expect("a session"), visitor.expect("a visitor"));
        second.write_all(b"whole").await.expect("written");
        let mut words = [0; 5];
        visitor.read_exact(&mut words).await.expect("read");
        assert_eq!(&words, b"whole");
        drop((second, visitor));
        served.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_port_that_ends_is_served_again_when_it_is_back() {
        let (hosts, guests) = std::sync::mpsc::channel();
        let (sender, mut visitors) = mpsc::channel(1);
        let find = move |number| (number == 2).then(|| guests.try_recv().ok()).flatten();
        let served = tokio::spawn(open_ports(find, sender));
        for nonce in [Nonce(1), Nonce(2)] {
            // It comes after a while, as a driver that is restarted does.
            tokio::time::sleep(LOOK_AGAIN * 3).await;
            let (host, guest) = tokio::io::duplex(1 << 10);
            hosts.send(guest).expect("it is looked for");
            let (session, visitor) = tokio::join!(Session::begin(host, nonce, LONG * 10), visitors.recv());
            drop((session.expect("a session"), visitor.expect("a visitor")));
        }
        // Nobody looks for ever.
        assert!(visitors.recv().await.is_none());
        served.await.expect("no panic");
    }

    #[tokio::test]
    async fn garbage_before_a_session_is_nobodys() {
        let (mut host, mut visitors, served) = port();
        host.write_all(b"\x00\xf5\x02zz\xf5\xf5\x09GET / HTTP/1.1\r\n\xf5\x01ff").await.expect("written");
        let (session, visitor) = tokio::join!(Session::begin(host, Nonce(3), LONG), visitors.recv());
        let (session, mut visitor) = (session.expect("a session"), visitor.expect("a visitor"));
        drop(session);
        let mut words = Vec::new();
        visitor.read_to_end(&mut words).await.expect("read");
        assert_eq!(words, b"");
        served.await.expect("no panic").expect("it ends with the port");
    }

    #[tokio::test]
    async fn a_host_that_does_not_read_does_not_keep_the_next_one_out() {
        let (host, guest) = tokio::io::duplex(64);
        let (sender, mut visitors) = mpsc::channel(1);
        let (reader, writer) = tokio::io::split(guest);
        let served = tokio::spawn(async move { serve(reader, writer, &sender).await });
        let (mut from_guest, mut to_guest) = tokio::io::split(host);
        let mut wire = Vec::new();
        put_mark(Mark::Begin(Nonce(1)), &mut wire);
        to_guest.write_all(&wire).await.expect("written");
        let mut first = visitors.recv().await.expect("a visitor");
        first.write_all(&[7; 100_000]).await.expect("taken for later");
        wire.clear();
        put_mark(Mark::Begin(Nonce(2)), &mut wire);
        to_guest.write_all(&wire).await.expect("written");
        tokio::time::timeout(LONG, visitors.recv()).await.expect("in time").expect("a visitor");
        let mut words = vec![0; 64];
        from_guest.read_exact(&mut words).await.expect("what the first one did not read");
        served.abort();
    }
}
