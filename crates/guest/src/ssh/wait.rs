//! Waits until a guest's SSH server answers, without loading the guest.
//!
//! A guest under emulation pays more than a second of CPU for each connection that its server accepts, and OpenSSH
//! since 9.8 punishes those who come often without logging in. So there is one connection at a time, and once the
//! guest may have accepted it, it is read for a whole minute.
//!
//! QEMU's `user` network makes this harder: it accepts at once, long before the guest listens. Observed with QEMU 7.2:
//! while the guest has no address yet, QEMU asks for it (ARP) when the connection is made and then after 6, 19, 32, 45,
//! 59 and 72 seconds, and closes after 82. A connection that was made too early would thus notice the guest up to 13 s
//! late. And QEMU goes on with a connection that we have given up: its request still reaches the guest, and the server pays.
//! So QEMU is asked what became of the one connection while it is silent ([`Handshake`]). While the guest's network card is
//! down it is kept. Once the card is up, one that the guest has not answered within half a second is made anew, which asks
//! for the guest's address again. One that the guest has accepted is read.
//!
//! Where QEMU cannot be asked, early connections are given up after 2.5 s. As soon as the guest itself has refused one
//! (QEMU closes ours within 10 ms then), it has an address, and from then on silence means that the server has accepted
//! and is slow.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::ssh::{Banner, BannerError, BannerReader};

/// An end of waiting without a banner: the wait was stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wait for SSH on {address}: stopped after {connections} connections; last seen: {last_seen}")]
pub struct SshWait {
    /// Where the guest should answer.
    pub address: SocketAddr,
    /// What the last finished or the pending connection came to.
    pub last_seen: String,
    /// How many connections were tried, one after the other.
    pub connections: u32,
}

/// How long what is waited for.
#[derive(Clone, Copy, Debug)]
struct Patience {
    connect: Duration,
    /// How often QEMU is asked about a silent connection.
    ask: Duration,
    /// For the guest's answer to the connection request that QEMU hands on.
    pending: Duration,
    /// For the first byte, while nothing shows that the guest has an address.
    early: Duration,
    /// So often `early`, then half as long again each time, until it is `read`.
    early_attempts: u32,
    /// For more bytes, once the guest may have accepted.
    read: Duration,
    /// After a connection that was nobody's work.
    refused: Duration,
    first_pause: Duration,
    last_pause: Duration,
}

const PATIENCE: Patience = Patience {
    // Within this, the kernel repeats an unanswered request after 1 and 3 s.
    connect: Duration::from_secs(5),
    ask: Duration::from_millis(250),
    pending: Duration::from_millis(500),
    early: Duration::from_millis(2500),
    early_attempts: 8,
    read: Duration::from_secs(60),
    refused: Duration::from_millis(200),
    first_pause: Duration::from_millis(250),
    last_pause: Duration::from_secs(2),
};

/// What became of a connection that somebody else, QEMU's user network, has accepted in the guest's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// Nobody can say.
    Unknown,
    /// The guest's network card is not up: it can answer nobody, and another connection would change nothing.
    Absent,
    /// The guest has not answered yet.
    Pending,
    /// The guest's kernel has accepted.
    Accepted,
}

/// Waits until the SSH server at `address` has sent its banner. While a connection to a loopback address is silent,
/// `handshake` is asked about it; anywhere else the guest's kernel itself has accepted.
///
/// Has no deadline of its own: the caller cancels `stop` when time is up, and learns what was last seen.
/// Cancel safety: dropping the future closes the connection; nothing is left.
///
/// # Errors
/// [`SshWait`] when `stop` is cancelled.
pub async fn wait_for_banner<F: Future<Output = Handshake>>(
    address: SocketAddr,
    handshake: impl Fn() -> F,
    stop: &CancellationToken,
) -> Result<Banner, SshWait> {
    wait_with(address, PATIENCE, handshake, stop).await
}

async fn wait_with<F: Future<Output = Handshake>>(
    address: SocketAddr,
    patience: Patience,
    handshake: impl Fn() -> F,
    stop: &CancellationToken,
) -> Result<Banner, SshWait> {
    let mut attempts = Attempts::new(address, patience, handshake);
    tokio::select! {
        banner = attempts.run() => return Ok(banner),
        () = stop.cancelled() => {}
    }
    Err(SshWait { address, last_seen: attempts.last_seen.to_string(), connections: attempts.connections })
}

/// What the last connection came to.
#[derive(Debug, thiserror::Error)]
enum Seen {
    #[error("nothing yet")]
    Nothing,
    #[error("connecting")]
    Connecting,
    #[error("no answer to the connection request within {0:?}")]
    ConnectTimedOut(Duration),
    #[error("connection refused")]
    Refused,
    #[error("no way to the guest's address")]
    Unreachable,
    #[error("connection failed: {0}")]
    ConnectFailed(io::Error),
    #[error("connected, no banner yet")]
    Silent,
    #[error("connected to QEMU, no answer from the guest yet")]
    Pending,
    #[error("connected, half a banner")]
    Half,
    #[error("connected, closed without a banner")]
    Closed,
    #[error("connected, but it sent {0}")]
    NoSsh(BannerError),
}

struct Attempts<A> {
    address: SocketAddr,
    patience: Patience,
    ask: A,
    last_seen: Seen,
    connections: u32,
    silent: u32,
    pause: Duration,
    /// Whether somebody accepts in the guest's place.
    forwarded: bool,
    /// What is known of this connection; `None` until somebody was asked.
    handshake: Option<Handshake>,
    /// Whether silence means a slow server and not a guest without an address.
    has_address: bool,
}

impl<A: Fn() -> F, F: Future<Output = Handshake>> Attempts<A> {
    fn new(address: SocketAddr, patience: Patience, ask: A) -> Self {
        Self {
            address,
            patience,
            ask,
            last_seen: Seen::Nothing,
            connections: 0,
            silent: 0,
            pause: patience.first_pause,
            // QEMU forwards from a loopback address; anywhere else it is the guest's kernel that accepts.
            forwarded: address.ip().is_loopback(),
            handshake: None,
            has_address: false,
        }
    }

    async fn run(&mut self) -> Banner {
        loop {
            if let Some(banner) = self.once().await {
                return banner;
            }
            self.rest().await;
        }
    }

    /// Pauses before the next connection, as the last one deserves.
    async fn rest(&mut self) {
        let refused = matches!(self.handshake, None | Some(Handshake::Absent | Handshake::Pending));
        match self.last_seen {
            // The time-out was the pause.
            Seen::Silent | Seen::Pending | Seen::ConnectTimedOut(_) => self.pause = self.patience.first_pause,
            // Nobody had to work for that connection.
            Seen::Unreachable | Seen::Closed if refused => sleep(self.patience.refused).await,
            _ => {
                sleep(self.pause).await;
                self.pause = (self.pause * 3 / 2).min(self.patience.last_pause);
            }
        }
    }

    async fn once(&mut self) -> Option<Banner> {
        self.connections += 1;
        (self.last_seen, self.handshake) = (Seen::Connecting, None);
        let connected = timeout(self.patience.connect, TcpStream::connect(self.address)).await;
        match connected {
            Ok(Ok(stream)) => self.read(stream).await,
            Ok(Err(error)) => {
                self.last_seen = match error.kind() {
                    io::ErrorKind::ConnectionRefused => Seen::Refused,
                    io::ErrorKind::HostUnreachable => Seen::Unreachable,
                    _ => Seen::ConnectFailed(error),
                };
                None
            }
            Err(_) => {
                self.last_seen = Seen::ConnectTimedOut(self.patience.connect);
                None
            }
        }
    }

    /// Nothing is sent, and the connection is dropped before the next one is made.
    async fn read(&mut self, mut stream: TcpStream) -> Option<Banner> {
        let mut reader = BannerReader::default();
        let mut buffer = [0; 512];
        self.last_seen = Seen::Silent;
        self.handshake = (!self.forwarded).then_some(Handshake::Accepted);
        if !self.speaks(&stream).await {
            return None;
        }
        loop {
            match timeout(self.patience.read, stream.read(&mut buffer)).await.ok()? {
                Ok(0) | Err(_) => {
                    self.last_seen = Seen::Closed;
                    self.has_address = true;
                    return None;
                }
                Ok(length) => match reader.feed(&buffer[..length]) {
                    Ok(Some(banner)) => return Some(banner),
                    Ok(None) => self.last_seen = Seen::Half,
                    Err(error) => {
                        self.last_seen = Seen::NoSsh(error);
                        return None;
                    }
                },
            }
        }
    }

    /// Waits for the first byte or the end; false when the connection is not worth waiting for any longer.
    async fn speaks(&mut self, stream: &TcpStream) -> bool {
        let begun = Instant::now();
        while !self.is_given_up(begun.elapsed()) {
            if timeout(self.patience.ask, stream.readable()).await.is_ok() {
                return true;
            }
            if !self.forwarded {
                continue;
            }
            let answer = tokio::select! {
                answer = (self.ask)() => answer,
                _ = stream.readable() => return true,
            };
            self.handshake = Some(answer);
            self.last_seen = match answer {
                Handshake::Absent | Handshake::Pending => Seen::Pending,
                Handshake::Unknown | Handshake::Accepted => Seen::Silent,
            };
        }
        self.silent += u32::from(matches!(self.handshake, Some(Handshake::Unknown)));
        false
    }

    fn is_given_up(&self, silent: Duration) -> bool {
        silent
            >= match self.handshake {
                Some(Handshake::Pending) => self.patience.pending,
                Some(Handshake::Absent | Handshake::Accepted) => self.patience.read,
                Some(Handshake::Unknown) | None => self.silence(),
            }
    }

    /// How long to wait for the first byte when nobody says what became of the connection.
    fn silence(&self) -> Duration {
        let Patience { early, early_attempts, read, .. } = self.patience;
        if self.has_address {
            return read;
        }
        let longer = self.silent.saturating_sub(early_attempts - 1);
        (0..longer.min(32)).fold(early, |limit, _| (limit * 3 / 2).min(read))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use tokio::{io::AsyncWriteExt, net::TcpListener, task::JoinHandle};

    use super::*;

    const QUICK: Patience = Patience {
        connect: Duration::from_secs(10),
        ask: Duration::from_millis(5),
        pending: Duration::from_millis(20),
        early: Duration::from_millis(60),
        early_attempts: 2,
        read: Duration::from_secs(30),
        refused: Duration::from_millis(5),
        first_pause: Duration::from_millis(5),
        last_pause: Duration::from_millis(20),
    };

    /// What a server does with one connection.
    #[derive(Clone, Copy)]
    enum Does {
        Close,
        Silence,
        Say(&'static [u8]),
        SayForEver(&'static [u8]),
        SayLate(Duration, &'static [u8]),
    }

    /// Serves one connection after the other: whoever has two at once waits for ever.
    struct Server {
        address: SocketAddr,
        connections: Arc<AtomicU32>,
        task: JoinHandle<()>,
    }

    impl Server {
        /// Plays the list, one entry per connection and the last one again and again.
        async fn start(plays: &'static [Does]) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let connections = Arc::new(AtomicU32::new(0));
            let counted = Arc::clone(&connections);
            let task = tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let number = counted.fetch_add(1, Ordering::SeqCst) as usize;
                    serve(&mut stream, plays[number.min(plays.len() - 1)]).await;
                }
            });
            Self { address, connections, task }
        }

        fn connections(&self) -> u32 {
            self.connections.load(Ordering::SeqCst)
        }

        /// Ends it; fails when a rule was broken.
        async fn end(self) {
            self.task.abort();
            let ended = self.task.await.unwrap_err();
            assert!(ended.is_cancelled(), "{ended}");
        }
    }

    /// Returns when the other side has closed, or at once for `Close`.
    async fn serve(stream: &mut TcpStream, play: Does) {
        match play {
            Does::Close => return,
            Does::Silence => {}
            // Whoever has seen enough has gone.
            Does::Say(text) => drop(stream.write_all(text).await),
            Does::SayForEver(text) => {
                while stream.write_all(text).await.is_ok() {}
                return;
            }
            Does::SayLate(delay, text) => {
                let mut nothing = [0; 1];
                tokio::select! {
                    () = sleep(delay) => drop(stream.write_all(text).await),
                    read = stream.read(&mut nothing) => {
                        assert!(matches!(read, Ok(0) | Err(_)), "the waiting side said something");
                        return;
                    }
                }
            }
        }
        assert!(matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)), "the waiting side said something");
    }

    const GOOD: Does = Does::Say(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    /// Longer than anything takes that ends.
    const FOR_EVER: Duration = Duration::from_secs(60);

    fn unknown() -> std::future::Ready<Handshake> {
        std::future::ready(Handshake::Unknown)
    }

    /// The banner's text and the number of connections that it took.
    async fn found<F: Future<Output = Handshake>>(
        plays: &'static [Does],
        patience: Patience,
        ask: impl Fn() -> F,
    ) -> (String, u32) {
        let (server, stop) = (Server::start(plays).await, CancellationToken::new());
        let waited = timeout(FOR_EVER, wait_with(server.address, patience, ask, &stop)).await.unwrap();
        let connections = server.connections();
        server.end().await;
        (waited.unwrap().text, connections)
    }

    #[tokio::test]
    async fn a_guest_that_refuses_and_is_silent_first_is_found_with_one_connection_at_a_time() {
        let plays = &[Does::Silence, Does::Silence, Does::Close, Does::Close, GOOD];
        // What is closed at once must not be given up before.
        let slow = Patience { early: Duration::from_secs(1), ..QUICK };
        assert_eq!(found(plays, slow, unknown).await, ("SSH-2.0-OpenSSH_9.2p1".to_owned(), 5));
    }

    #[tokio::test]
    async fn a_slow_server_is_waited_for_once_the_guest_is_known_to_be_there() {
        // Longer than an early connection is given, and shorter than a late one.
        const SLOW: Does = Does::SayLate(Duration::from_millis(200), b"SSH-2.0-slow\n");
        assert_eq!(found(&[Does::Close, SLOW], QUICK, unknown).await, ("SSH-2.0-slow".to_owned(), 2));
    }

    #[tokio::test]
    async fn a_connection_that_the_guest_has_accepted_is_never_made_anew() {
        const SLOW: Does = Does::SayLate(Duration::from_millis(300), b"SSH-2.0-slow\n");
        let accepted = || std::future::ready(Handshake::Accepted);
        assert_eq!(found(&[SLOW], QUICK, accepted).await, ("SSH-2.0-slow".to_owned(), 1));
    }

    #[tokio::test]
    async fn a_connection_that_the_guest_does_not_answer_is_made_anew_long_before_the_early_limit() {
        let patient = Patience { early: FOR_EVER * 2, ..QUICK };
        let pending = || std::future::ready(Handshake::Pending);
        let plays = &[Does::Silence, Does::Silence, Does::Silence, GOOD];
        let (text, connections) = found(plays, patient, pending).await;
        // On a busy computer the good one may come too late for once.
        assert!(text == "SSH-2.0-OpenSSH_9.2p1" && connections >= 4, "{connections}");
    }

    #[tokio::test]
    async fn a_connection_is_kept_while_the_guests_card_is_down_and_made_anew_when_it_is_up() {
        let asked = std::cell::Cell::new(0);
        let ask = || {
            asked.set(asked.get() + 1);
            std::future::ready(if asked.get() < 60 { Handshake::Absent } else { Handshake::Pending })
        };
        let (text, connections) = found(&[Does::Silence, GOOD], QUICK, ask).await;
        assert_eq!(text, "SSH-2.0-OpenSSH_9.2p1");
        // 60 questions took longer than any limit but that for reading.
        assert!(asked.get() >= 60 && (2..5).contains(&connections), "{connections}");
    }

    #[tokio::test]
    async fn a_question_that_hangs_does_not_hide_the_banner() {
        const SLOW: Does = Does::SayLate(Duration::from_millis(50), b"SSH-2.0-slow\n");
        let hangs = std::future::pending::<Handshake>;
        assert_eq!(found(&[SLOW], Patience { early: FOR_EVER * 2, ..QUICK }, hangs).await.1, 1);
    }

    fn attempts(address: &str) -> Attempts<fn() -> std::future::Ready<Handshake>> {
        Attempts::new(address.parse().unwrap(), PATIENCE, unknown)
    }

    #[test]
    fn early_connections_get_more_time_until_a_slow_server_fits() {
        let mut attempts = attempts("127.0.0.1:22");
        let mut given = Vec::new();
        for silent in 0..20 {
            attempts.silent = silent;
            given.push(attempts.silence().as_millis());
        }
        assert_eq!(given[..10], [2500, 2500, 2500, 2500, 2500, 2500, 2500, 2500, 3750, 5625]);
        assert_eq!(given[19], 60_000);
        attempts.has_address = true;
        assert_eq!(attempts.silence(), PATIENCE.read);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_are_asked_again_soon_and_servers_that_hang_up_ever_later() {
        let cases = [
            (None, Seen::Closed, [200, 200, 200]),
            (Some(Handshake::Pending), Seen::Closed, [200, 200, 200]),
            (None, Seen::Unreachable, [200, 200, 200]),
            (Some(Handshake::Accepted), Seen::Closed, [250, 375, 562]),
            (Some(Handshake::Unknown), Seen::Closed, [250, 375, 562]),
            (None, Seen::Refused, [250, 375, 562]),
            (Some(Handshake::Pending), Seen::Pending, [0, 0, 0]),
            (None, Seen::ConnectTimedOut(PATIENCE.connect), [0, 0, 0]),
        ];
        for (handshake, seen, expected) in cases {
            let mut attempts = attempts("127.0.0.1:22");
            let what = format!("{handshake:?} {seen}");
            (attempts.handshake, attempts.last_seen) = (handshake, seen);
            for milliseconds in expected {
                let begun = Instant::now();
                attempts.rest().await;
                let rested = begun.elapsed().as_millis();
                assert!((milliseconds..=milliseconds + 2).contains(&rested), "{what}: {rested}");
            }
        }
    }

    #[tokio::test]
    async fn every_hostile_server_is_given_up_and_named() {
        for (play, last_seen) in [
            (Does::Silence, "connected, no banner yet"),
            (Does::Close, "connected, closed without a banner"),
            (Does::Say(b"SSH-2.0-half"), "connected, half a banner"),
            (Does::Say(b"\xff\0garbage"), "connected, half a banner"),
            (Does::SayForEver(b"endless"), "connected, but it sent a line of more than 255 bytes"),
            (Does::SayForEver(b"\n"), "connected, but it sent more than 32 lines without an SSH banner"),
            (Does::Say(b"SSH-1.5-x\n"), "connected, but it sent a banner of no usable SSH version"),
        ] {
            let plays: &'static [Does] = Box::leak(Box::new([play]));
            let server = Server::start(plays).await;
            let early = if matches!(play, Does::Silence) { QUICK.early } else { FOR_EVER };
            let patience = Patience { early, read: Duration::from_millis(200), ..QUICK };
            let mut attempts = Attempts::new(server.address, patience, unknown);
            assert_eq!(timeout(FOR_EVER * 2, attempts.once()).await.unwrap(), None);
            assert_eq!(attempts.last_seen.to_string(), last_seen);
            server.end().await;
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_with_pauses_and_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let stop = CancellationToken::new();
        let (waited, ()) = tokio::join!(wait_with(address, QUICK, unknown, &stop), async {
            sleep(Duration::from_millis(200)).await;
            stop.cancel();
        });
        let error = waited.unwrap_err();
        assert!(
            ["connection refused", "connecting"].contains(&error.last_seen.as_str()),
            "{}",
            error.last_seen
        );
        assert!((1..30).contains(&error.connections), "{}", error.connections);
    }

    #[tokio::test]
    async fn a_wait_that_is_stopped_beforehand_ends_at_once() {
        let stop = CancellationToken::new();
        stop.cancel();
        let far = "192.0.2.1:22".parse().unwrap();
        assert!(timeout(FOR_EVER, wait_for_banner(far, unknown, &stop)).await.unwrap().is_err());
    }
}
