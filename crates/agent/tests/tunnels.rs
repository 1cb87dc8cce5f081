//! Tunnels over a real Unix socket, to real ports of this computer.

#![cfg(unix)]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use winstead_agent::{
    access::{Access, Door},
    door::{Lobby, Seats, UnixDoor},
    metrics::Metrics,
    services::TunnelsService,
    tunnel::{Registry, TunnelLimits},
};
use winstead_agent_client::{
    Address, Connection,
    flow::{CALLS_APART, CONNECTION_WINDOW, FRAME, STREAM_WINDOW},
    tunnel::{Mapping, OpenError, Protocol, PublishError, Publisher, Refusal, Target},
};
use winstead_protocol::v1::{TunnelListRequest, TunnelStatus};
use winstead_spec::Connect;

/// Nothing here takes longer, unless it hangs.
const LONG: Duration = Duration::from_secs(20);
const MEBIBYTE: usize = 1024 * 1024;

/// An agent of a test's own, as far as tunnels go.
struct Agent {
    address: Address,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Agent {
    fn start(folder: &Path, door: Door, limits: TunnelLimits) -> Self {
        let path = folder.join("agent.sock");
        let access = Arc::new(Access::default());
        let lobby = Lobby { seats: Seats::new(4096), access: Arc::clone(&access), handshake: LONG };
        let door = UnixDoor::open(door, &path, &Connect::Administrators, lobby).expect("it listens");
        let stop = CancellationToken::new();
        let registry = Registry::new(limits, Metrics::default());
        let tunnels = TunnelsService::new(access, registry, stop.clone());
        let asked = stop.clone();
        let task = tokio::spawn(async move {
            Server::builder()
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_frame_size(FRAME)
                .add_service(tunnels)
                .serve_with_incoming_shutdown(door, asked.cancelled())
                .await
                .expect("it serves");
        });
        Self { address: Address::Unix(path), stop, task }
    }

    async fn connect(&self) -> Connection {
        Connection::open(&self.address).await.expect("it listens")
    }

    async fn stop(self) {
        self.stop.cancel();
        soon(self.task).await.expect("it ends");
    }
}

/// A usual one, with its folder.
fn agent() -> (TempDir, Agent) {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Agent::start(folder.path(), Door::Local, TunnelLimits::default());
    (folder, agent)
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.expect("it does not hang")
}

async fn until<T>(mut look: impl AsyncFnMut() -> Option<T>) -> T {
    soon(async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
}

async fn open_tunnels(connection: &Connection) -> Vec<TunnelStatus> {
    connection.tunnels().list(TunnelListRequest {}).await.expect("it answers").into_inner().tunnels
}

fn target(protocol: Protocol, address: SocketAddr) -> Target {
    Target { protocol, host: address.ip().to_string(), port: address.port() }
}

/// A port where `serve` does something with each connection.
async fn port<F: Future<Output = io::Result<()>> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (Target, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let target = target(Protocol::Tcp, listener.local_addr().expect("it has one"));
    let task = tokio::spawn(async move {
        let mut open = JoinSet::new();
        while let Ok((connection, _)) = listener.accept().await {
            open.spawn(serve(connection));
        }
    });
    (target, task)
}

async fn echo(mut connection: TcpStream) -> io::Result<()> {
    let (mut read, mut write) = connection.split();
    tokio::io::copy(&mut read, &mut write).await?;
    write.shutdown().await
}

/// Answers only when all has come: without a half-close there is none.
async fn echo_at_the_end(mut connection: TcpStream) -> io::Result<()> {
    let mut all = Vec::new();
    connection.read_to_end(&mut all).await?;
    all.reverse();
    connection.write_all(&all).await?;
    connection.shutdown().await
}

fn every_byte(length: usize) -> Vec<u8> {
    (0..length).map(|place| u8::try_from((place * 7 + place / 251) % 256).expect("a byte")).collect()
}

fn refusal(outcome: Result<impl std::fmt::Debug, OpenError>) -> (Refusal, String) {
    match outcome {
        Err(OpenError::Refused { refusal, reason, .. }) => (refusal, reason),
        other => panic!("it was to be refused: {other:?}"),
    }
}

/// What leads to `target`, and the task that serves it.
async fn published(agent: &Agent, target: &Target) -> (SocketAddr, JoinHandle<()>) {
    let mapping = Mapping { listen: 0, target: target.clone() };
    let publisher = Publisher::bind(agent.address.clone(), &[mapping], &[IpAddr::V4(Ipv4Addr::LOCALHOST)])
        .await
        .expect("a free port");
    let local = publisher.published().next().expect("one").local;
    (local, tokio::spawn(publisher.serve()))
}

#[tokio::test]
async fn bytes_of_every_value_go_there_and_back_and_each_direction_ends_by_itself() {
    let (_folder, agent) = agent();
    let (target, port) = port(echo_at_the_end).await;
    let sent = every_byte(5 * MEBIBYTE + 3);
    let pieces: Vec<_> = sent.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let tunnel = agent.connect().await.open_tunnel(&target).await.expect("it opens");
    let mut incoming = tunnel.start(stream::iter(pieces));
    let mut came = Vec::new();
    while let Some(bytes) = soon(incoming.next()).await.expect("it holds") {
        came.extend_from_slice(&bytes);
    }
    soon(incoming.finish()).await.expect("it ends well");
    came.reverse();
    assert!(came == sent, "{} bytes came of {}", came.len(), sent.len());
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn a_published_port_carries_connections_with_their_half_close() {
    let (_folder, agent) = agent();
    let (target, port) = port(echo_at_the_end).await;
    let (local, publisher) = published(&agent, &target).await;
    let mut sent = every_byte(3 * MEBIBYTE);
    let mut connection = TcpStream::connect(local).await.expect("it is published");
    connection.write_all(&sent).await.expect("it takes all");
    connection.shutdown().await.expect("it is open");
    let mut came = Vec::new();
    soon(connection.read_to_end(&mut came)).await.expect("it holds");
    sent.reverse();
    assert!(came == sent, "{} bytes came of {}", came.len(), sent.len());
    publisher.abort();
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn a_refusal_says_who_may_not_do_what() {
    let folder = tempfile::tempdir().expect("a folder");
    let agent = Agent::start(folder.path(), Door::Wins, TunnelLimits::default());
    let (target, port) = port(echo).await;
    let connection = agent.connect().await;
    let (kind, reason) = refusal(connection.open_tunnel(&target).await);
    assert_eq!(kind, Refusal::NotAllowed);
    assert!(reason.starts_with(&format!("a tunnel to {target} is not allowed for ")), "{reason}");
    assert_eq!(refusal(connection.check_tunnel(&target).await), (kind, reason.clone()));

    let (mappings, own) = ([Mapping { listen: 0, target }], [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    let publisher = Publisher::bind(agent.address.clone(), &mappings, &own).await.expect("a free port");
    let refused = publisher.check().await.expect("it answers");
    assert_eq!(refused.len(), 1);
    assert!(refused[0].to_string().ends_with(&reason), "{}", refused[0]);
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn a_port_that_cannot_be_reached_says_how() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = TunnelLimits { dial: Duration::from_millis(300), ..TunnelLimits::default() };
    let agent = Agent::start(folder.path(), Door::Local, limits);
    let connection = agent.connect().await;

    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let closed = target(Protocol::Tcp, free.local_addr().expect("it has one"));
    drop(free);
    let (kind, reason) = refusal(connection.open_tunnel(&closed).await);
    assert_eq!((kind, reason.as_str()), (Refusal::Unreachable, "connection refused"));

    // A queue for one, and nobody who takes from it: Linux answers no further greeting.
    let full = TcpSocket::new_v4().expect("a socket");
    full.bind((Ipv4Addr::LOCALHOST, 0).into()).expect("a port");
    let full = full.listen(0).expect("it listens");
    let address = full.local_addr().expect("it has one");
    let _first = TcpStream::connect(address).await.expect("there is room for one");
    let silent = target(Protocol::Tcp, address);
    let (kind, reason) = refusal(soon(connection.open_tunnel(&silent)).await);
    assert_eq!((kind, reason.as_str()), (Refusal::NoAnswer, "no answer within 300 ms"));

    let nobody = Target { host: "no such host".to_owned(), ..closed };
    assert_eq!(refusal(connection.open_tunnel(&nobody).await).0, Refusal::Other);
    agent.stop().await;
}

#[tokio::test]
async fn a_limit_is_kept_and_a_place_comes_free_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = TunnelLimits { all: 3, per_caller: 2, ..TunnelLimits::default() };
    let agent = Agent::start(folder.path(), Door::Local, limits);
    let (target, port) = port(echo).await;
    // Another connection is the same caller.
    let (one, other) = (agent.connect().await, agent.connect().await);
    let first = one.open_tunnel(&target).await.expect("there is room");
    let _second = other.open_tunnel(&target).await.expect("there is room");
    let (kind, reason) = refusal(other.open_tunnel(&target).await);
    assert_eq!(kind, Refusal::TooMany);
    assert_eq!(reason, "this caller has 2 tunnels open, and no more are allowed");
    drop(first);
    until(async || other.open_tunnel(&target).await.ok()).await;
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn datagrams_keep_their_edges_and_an_idle_tunnel_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let limits = TunnelLimits { datagrams_idle: Duration::from_millis(400), ..TunnelLimits::default() };
    let agent = Agent::start(folder.path(), Door::Local, limits);
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let target = target(Protocol::Udp, socket.local_addr().expect("it has one"));
    let port = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            socket.send_to(&buffer[..length], from).await.expect("it is sent");
        }
    });
    let (local, publisher) = published(&agent, &target).await;
    let connection = agent.connect().await;

    let senders = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)));
    for (number, sender) in senders.into_iter().enumerate() {
        let sender = sender.await.expect("a port");
        sender.connect(local).await.expect("it has an address");
        for length in [1, 0, 1400 + number, 60_000] {
            let sent = every_byte(length);
            sender.send(&sent).await.expect("it is sent");
            let mut came = vec![0; 65_536];
            let length = soon(sender.recv(&mut came)).await.expect("an echo comes");
            assert!(came[..length] == sent, "{length} bytes came of {}", sent.len());
        }
    }
    let open = open_tunnels(&connection).await;
    assert_eq!(open.len(), 2, "each sender has a tunnel of its own: {open:?}");
    let open = until(async || Some(open_tunnels(&connection).await).filter(Vec::is_empty)).await;
    assert!(open.is_empty());
    publisher.abort();
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn who_does_not_read_stops_the_sender_and_nobody_else() {
    let (_folder, agent) = agent();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let (endless, first) = port(move |mut connection| {
        let counted = Arc::clone(&counted);
        async move {
            let piece = vec![7; MEBIBYTE / 16];
            loop {
                connection.write_all(&piece).await?;
                counted.fetch_add(piece.len(), Ordering::Relaxed);
            }
        }
    })
    .await;
    let (echoing, second) = port(echo).await;
    let connection = agent.connect().await;
    let mut stalled = Vec::new();
    for _ in 1..CALLS_APART {
        let tunnel = connection.open_tunnel(&endless).await.expect("it opens");
        stalled.push(tunnel.start(stream::pending()));
    }
    let full = until(async || {
        let before = sent.load(Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
        (before > 0 && before == sent.load(Ordering::Relaxed)).then_some(before)
    })
    .await;
    // The window, what the sending side of HTTP/2 takes in advance, and the system's own buffers of a connection.
    assert!(full / stalled.len() < 12 * MEBIBYTE, "{full} bytes are under way in {}", stalled.len());

    let tunnel = connection.open_tunnel(&echoing).await.expect("it opens");
    let mut incoming = tunnel.start(stream::iter([Ok(Bytes::from_static(b"still here"))]));
    let came = soon(incoming.next()).await.expect("it holds").expect("something comes");
    assert_eq!(came, "still here");
    drop(stalled);
    first.abort();
    second.abort();
    agent.stop().await;
}

#[tokio::test]
async fn a_port_that_does_not_read_stops_the_caller() {
    let (_folder, agent) = agent();
    let (deaf, port) = port(|connection| async move {
        sleep(LONG).await;
        drop(connection);
        Ok(())
    })
    .await;
    let connection = agent.connect().await;
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    let endless = stream::repeat_with(move || {
        counted.fetch_add(MEBIBYTE / 16, Ordering::Relaxed);
        Ok(Bytes::from(vec![7; MEBIBYTE / 16]))
    });
    let _incoming = connection.open_tunnel(&deaf).await.expect("it opens").start(endless);
    let full = until(async || {
        let before = sent.load(Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
        (before > 0 && before == sent.load(Ordering::Relaxed)).then_some(before)
    })
    .await;
    assert!(full < 16 * MEBIBYTE, "{full} bytes were taken");
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn bytes_are_counted_for_each_tunnel() {
    let (_folder, agent) = agent();
    let (target, port) = port(|mut connection| async move {
        let mut asked = [0; 1000];
        connection.read_exact(&mut asked).await?;
        connection.write_all(&[1; 70_000]).await?;
        connection.read_exact(&mut asked[..1]).await?;
        Ok(())
    })
    .await;
    let connection = agent.connect().await;
    let (pieces, inbox) = tokio::sync::mpsc::channel(4);
    let tunnel = connection.open_tunnel(&target).await.expect("it opens");
    let id = tunnel.id();
    let mut incoming = tunnel.start(ReceiverStream::new(inbox));
    pieces.send(Ok(Bytes::from(vec![0; 1000]))).await.expect("it is open");
    let mut came = 0;
    while came < 70_000 {
        came += soon(incoming.next()).await.expect("it holds").expect("more comes").len();
    }
    let open = open_tunnels(&connection).await;
    let [only] = open.as_slice() else { panic!("one is open: {open:?}") };
    assert_eq!((only.id, only.bytes_in, only.bytes_out), (id, 1000, 70_000));
    assert_eq!(only.target.as_ref().map(|target| target.port), Some(u32::from(target.port)));
    drop((incoming, pieces));
    until(async || Some(open_tunnels(&connection).await).filter(Vec::is_empty)).await;
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn a_caller_who_goes_away_breaks_the_connection_instead_of_ending_it() {
    let (_folder, agent) = agent();
    let (seen, mut saw) = tokio::sync::mpsc::channel(1);
    let (target, port) = port(move |mut connection| {
        let seen = seen.clone();
        async move {
            let mut all = Vec::new();
            let ended = connection.read_to_end(&mut all).await.map_err(|error| error.kind());
            seen.send((ended, all.len())).await.expect("the test looks");
            Ok(())
        }
    })
    .await;
    let half = || stream::iter([Ok(Bytes::from_static(b"half"))]);

    // Gone with its connection.
    let connection = agent.connect().await;
    let tunnel = connection.open_tunnel(&target).await.expect("it opens");
    let incoming = tunnel.start(half().chain(stream::pending()));
    until(async || open_tunnels(&connection).await.first().filter(|status| status.bytes_in == 4).map(drop))
        .await;
    drop((incoming, connection));
    assert_eq!(soon(saw.recv()).await.expect("it is said").0, Err(io::ErrorKind::ConnectionReset));

    // Its source broke.
    let connection = agent.connect().await;
    let tunnel = connection.open_tunnel(&target).await.expect("it opens");
    let broken = stream::iter([Err(io::ErrorKind::ConnectionReset.into())]);
    let mut incoming = tunnel.start(half().chain(broken));
    soon(incoming.next()).await.expect_err("nothing was ended");
    assert_eq!(soon(saw.recv()).await.expect("it is said").0, Err(io::ErrorKind::ConnectionReset));

    // And the other way round, when it was ended.
    let tunnel = connection.open_tunnel(&target).await.expect("it opens");
    let _incoming = tunnel.start(half());
    assert_eq!(soon(saw.recv()).await.expect("it is said"), (Ok(4), 4));
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn connections_wait_for_an_agent_that_is_restarted_and_old_ones_break() {
    let (folder, agent) = agent();
    let (target, port) = port(echo).await;
    let (local, publisher) = published(&agent, &target).await;
    let mut old = TcpStream::connect(local).await.expect("it is published");
    let mut came = [0; 3];
    old.write_all(b"one").await.expect("it is open");
    soon(old.read_exact(&mut came)).await.expect("an echo comes");
    agent.stop().await;
    let broke = soon(old.read_exact(&mut came)).await.expect_err("it leads nowhere");
    assert_eq!(broke.kind(), io::ErrorKind::ConnectionReset);

    let mut new = TcpStream::connect(local).await.expect("it is still published");
    new.write_all(b"two").await.expect("it is open");
    sleep(Duration::from_millis(100)).await;
    let agent = Agent::start(folder.path(), Door::Local, TunnelLimits::default());
    soon(new.read_exact(&mut came)).await.expect("an echo comes");
    assert_eq!(&came, b"two");
    publisher.abort();
    port.abort();
    agent.stop().await;
}

#[tokio::test]
async fn a_port_here_that_is_taken_is_named() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let address = taken.local_addr().expect("it has one");
    let target = target(Protocol::Tcp, address);
    let mapping = Mapping { listen: address.port(), target };
    let nowhere = Address::Unix("/nowhere".into());
    let error = Publisher::bind(nowhere, &[mapping], &[address.ip()]).await.expect_err("it is taken");
    assert_eq!(error.to_string(), format!("listen at tcp/{address}"));
    let PublishError::Listen { source, .. } = error;
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn a_thousand_connections_at_once_all_get_their_own_bytes_back() {
    const CONNECTIONS: u64 = 1000;
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX);
    if files < CONNECTIONS * 4 + 200 {
        winstead_testing::skip(&format!("{files} open files are too few for {CONNECTIONS} connections"));
        return;
    }
    let (_folder, agent) = agent();
    let (target, port) = port(echo).await;
    let (local, publisher) = published(&agent, &target).await;
    let mut connections = Vec::new();
    for number in 0..CONNECTIONS {
        let mut connection = soon(TcpStream::connect(local)).await.expect("it is published");
        connection.write_all(&number.to_le_bytes()).await.expect("it is open");
        connections.push(connection);
    }
    for (number, connection) in connections.iter_mut().enumerate() {
        let mut came = [0; 8];
        soon(connection.read_exact(&mut came)).await.expect("an echo comes");
        assert_eq!(u64::from_le_bytes(came), number as u64);
    }
    let open = open_tunnels(&agent.connect().await).await;
    assert_eq!(open.len() as u64, CONNECTIONS);
    assert!(open.iter().all(|status| (status.bytes_in, status.bytes_out) == (8, 8)));
    drop(connections);
    publisher.abort();
    port.abort();
    agent.stop().await;
}
