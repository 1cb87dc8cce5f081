//! Virtio-serial ports of a Windows guest, as the driver `vioserial` shows them: devices that are called like the port.
//!
//! What is known of the driver is known from its source; no real one has been seen yet:
//! - it lets one program open a port, so reading and writing share one handle, and both must be overlapped;
//! - as long as no host is connected, reading fails at once, and nothing tells that one has come without a window or a
//!   callback of the device manager: so it is looked at a few times in a second;
//! - it takes 32 KiB at once and says how much that was.
//!
//! To tokio an overlapped handle is a named pipe: it reads and writes by completions, and asks for nothing that only pipes
//! have. Crates for serial ports do the same.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::windows::named_pipe::{ClientOptions, NamedPipeClient},
    time::{Sleep, sleep},
};
use windows_sys::Win32::Foundation::ERROR_NO_SYSTEM_RESOURCES;
use winstead_protocol::port::{Mark, port_name};

/// Where devices are called by their names: for the whole computer, and for this session, if need be.
const PLACES: [&str; 2] = [r"\\.\Global\", r"\\.\"];
/// What the driver answers to who reads while no host is connected (`STATUS_INSUFFICIENT_RESOURCES`).
const NO_HOST: i32 = ERROR_NO_SYSTEM_RESOURCES.cast_signed();
/// How often it is looked whether a host has come: QEMU's own agent does it ten times a second.
const REST: Duration = Duration::from_millis(250);
/// What the driver takes at once.
const MOST: usize = 32 * 1024;

/// Opens one of the host's ports; nothing where there is none, or it cannot be opened now.
pub(crate) fn find(number: usize) -> Option<VirtioPort> {
    PLACES.into_iter().find_map(|place| VirtioPort::open(&format!("{place}{}", port_name(number))))
}

/// A port, read and written by one task.
#[derive(Debug)]
pub(crate) struct VirtioPort {
    handle: NamedPipeClient,
    /// What is said before all else, until it is said: a host that speaks with an agent that was killed learns by it that
    /// this is over. Without a host it goes nowhere.
    first: Option<Vec<u8>>,
    /// Until when nothing is read, because no host was there.
    rest: Option<Pin<Box<Sleep>>>,
    /// Whether the reader knows that no host is there.
    away: bool,
}

impl VirtioPort {
    fn open(name: &str) -> Option<Self> {
        let handle = ClientOptions::new().open(name);
        let handle = handle.inspect_err(|error| tracing::debug!(name, %error, "a port cannot be opened now"));
        Some(Self { handle: handle.ok()?, first: Some(Mark::End.bytes()), rest: None, away: false })
    }

    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(first) = &self.first {
            if let Err(error) = ready!(Pin::new(&mut self.handle).poll_write(context, first)) {
                tracing::debug!(%error, "nobody is there");
            }
            self.first = None;
        }
        Poll::Ready(())
    }
}

impl AsyncRead for VirtioPort {
    /// A host that goes away is a [`Mark::End`], and then it is waited for the next one. It ends when the driver does.
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        // Whoever only listens says it, too. It need not have gone before something is heard.
        _ = this.poll_first(context).is_ready();
        loop {
            if let Some(rest) = &mut this.rest {
                ready!(rest.as_mut().poll(context));
                this.rest = None;
            }
            match ready!(Pin::new(&mut this.handle).poll_read(context, buffer)) {
                Err(error) if error.raw_os_error() == Some(NO_HOST) => {
                    this.rest = Some(Box::pin(sleep(REST)));
                    if !std::mem::replace(&mut this.away, true) {
                        buffer.put_slice(&Mark::End.bytes());
                        return Poll::Ready(Ok(()));
                    }
                }
                done => {
                    this.away = false;
                    return Poll::Ready(done);
                }
            }
        }
    }
}

impl AsyncWrite for VirtioPort {
    /// What could not be written is told by the next call: then the port is opened anew, and the host hears that all is
    /// over.
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_first(context));
        let most = bytes.len().min(MOST);
        Pin::new(&mut self.handle).poll_write(context, &bytes[..most])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.handle).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::windows::named_pipe::{NamedPipeServer, ServerOptions},
        sync::mpsc,
    };
    use winstead_agent_client::port::Session;
    use winstead_protocol::port::Nonce;

    use super::*;
    use crate::door::guest::open_ports;

    /// A pipe that plays the port: opened, read and written by the same calls.
    async fn port(what: &str) -> (NamedPipeServer, VirtioPort) {
        let name = format!(r"\\.\pipe\winstead-test-port-{what}-{}", std::process::id());
        let host = ServerOptions::new().create(&name).expect("a pipe");
        let port = VirtioPort::open(&name).expect("it is there");
        host.connect().await.expect("it has come");
        (host, port)
    }

    #[tokio::test]
    async fn a_port_is_read_while_it_is_written_and_begins_by_ending_what_was_before() {
        let (mut host, port) = port("both").await;
        let (mut reader, mut writer) = tokio::io::split(port);
        let mut first = Mark::End.bytes();
        first.fill(0);
        let (mut heard, listening) = ([0], async { host.read_exact(&mut first).await });
        tokio::select! {
            read = reader.read(&mut heard) => panic!("nobody has said anything: {read:?}"),
            read = listening => drop(read.expect("read")),
        }
        assert_eq!(first, Mark::End.bytes());
        let large = vec![7_u8; 300_000];
        let (mut there, mut back) = (vec![0; large.len()], vec![0; large.len()]);
        let (mut from_guest, mut to_guest) = tokio::io::split(host);
        let done = tokio::try_join!(
            writer.write_all(&large),
            to_guest.write_all(&large),
            reader.read_exact(&mut back),
            from_guest.read_exact(&mut there),
        );
        done.expect("both ways at once");
        assert!(there == large && back == large);
    }

    #[tokio::test]
    async fn sessions_go_over_a_port_and_on_when_its_driver_is_restarted() {
        let name = format!(r"\\.\pipe\winstead-test-port-session-{}", std::process::id());
        let (sender, mut visitors) = mpsc::channel(1);
        let device = name.clone();
        let find = move |number| (number == 0).then(|| VirtioPort::open(&device)).flatten();
        let served = tokio::spawn(open_ports(find, sender));
        for nonce in [Nonce(1), Nonce(2)] {
            let host = ServerOptions::new().create(&name).expect("a pipe");
            host.connect().await.expect("the agent looks for it");
            let begun = Session::begin(host, nonce, Duration::from_secs(20));
            let (session, visitor) = tokio::join!(begun, visitors.recv());
            let (mut session, mut visitor) = (session.expect("a session"), visitor.expect("a visitor"));
            let words = [0xf5; 100_000];
            session.write_all(&words).await.expect("written");
            let mut heard = vec![0; words.len()];
            visitor.read_exact(&mut heard).await.expect("read");
            assert!(heard == words);
        }
        served.abort();
    }

    #[tokio::test]
    async fn a_port_ends_with_its_driver() {
        let (host, mut port) = port("end").await;
        drop(host);
        assert_eq!(port.read(&mut [0; 8]).await.expect("its end"), 0);
    }

    #[test]
    fn where_there_is_no_port_nothing_is_found() {
        assert!(find(0).is_none());
    }
}
