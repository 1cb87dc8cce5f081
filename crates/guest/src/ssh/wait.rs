//! Waits until a guest's SSH server answers, without loading the guest.
//!
//! A guest under emulation pays more than a second of CPU for each connection that its server accepts, and OpenSSH
//! since 9.8 punishes those who come often without logging in. So there is one connection at a time, and once the
//! guest may have accepted it, it is read for a whole minute.
//!
//! QEMU's `user` network makes this harder: it accepts at once, long before the guest listens. Observed with QEMU 7.2:
//! while the guest has no address yet, QEMU asks for it (ARP) when the connection is made and then after 6, 19, 32, 45,
//! 59 and 72 seconds, and closes after 82. A connection that was made too early would thus notice the guest up to 13 s
//! late. Those early connections cost the guest nothing, so they are given up after 2.5 s. As soon as the guest itself
//! has refused one (QEMU closes ours within 10 ms then), it has an address, and from then on silence means that the server has
//! accepted and is slow.

use std::{io, net::SocketAddr, time::Duration};

use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{sleep, timeout},
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
    /// For the first byte, while nothing shows that the guest has an address.
    early: Duration,
    /// So often `early`, then half as long again each time, until it is `read`.
    early_attempts: u32,
    /// For more bytes, once the guest may have accepted.
    read: Duration,
    first_pause: Duration,
    last_pause: Duration,
}

const PATIENCE: Patience = Patience {
    // Within this, the kernel repeats an unanswered request after 1 and 3 s.
    connect: Duration::from_secs(5),
    early: Duration::from_millis(2500),
    early_attempts: 8,
    read: Duration::from_secs(60),
    first_pause: Duration::from_millis(250),
    last_pause: Duration::from_secs(2),
};

/// Waits until the SSH server at `address` has sent its banner.
///
/// Has no deadline of its own: the caller cancels `stop` when time is up, and learns what was last seen.
/// Cancel safety: dropping the future closes the connection; nothing is left.
///
/// # Errors
/// [`SshWait`] when `stop` is cancelled.
pub async fn wait_for_banner(address: SocketAddr, stop: &CancellationToken) -> Result<Banner, SshWait> {
    wait_with(address, PATIENCE, stop).await
}

async fn wait_with(
    address: SocketAddr,
    patience: Patience,
    stop: &CancellationToken,
) -> Result<Banner, SshWait> {
    let mut attempts = Attempts::new(address, patience);
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
    #[error("connection failed: {0}")]
    ConnectFailed(io::Error),
    #[error("connected, no banner yet")]
    Silent,
    #[error("connected, half a banner")]
    Half,
    #[error("connected, closed without a banner")]
    Closed,
    #[error("connected, but it sent {0}")]
    NoSsh(BannerError),
}

struct Attempts {
    address: SocketAddr,
    patience: Patience,
    last_seen: Seen,
    connections: u32,
    silent: u32,
    pause: Duration,
    /// Whether silence means a slow server and not a guest without an address.
    has_address: bool,
}

impl Attempts {
    fn new(address: SocketAddr, patience: Patience) -> Self {
        Self {
            address,
            patience,
            last_seen: Seen::Nothing,
            connections: 0,
            silent: 0,
            pause: patience.first_pause,
            // QEMU forwards from a loopback address; anywhere else it is the guest's kernel that accepts.
            has_address: !address.ip().is_loopback(),
        }
    }

    async fn run(&mut self) -> Banner {
        loop {
            if let Some(banner) = self.once().await {
                return banner;
            }
            match self.last_seen {
                // The time-out was the pause.
                Seen::Silent | Seen::ConnectTimedOut(_) => self.pause = self.patience.first_pause,
                _ => {
                    sleep(self.pause).await;
                    self.pause = (self.pause * 3 / 2).min(self.patience.last_pause);
                }
            }
        }
    }

    async fn once(&mut self) -> Option<Banner> {
        self.connections += 1;
        self.last_seen = Seen::Connecting;
        let connected = timeout(self.patience.connect, TcpStream::connect(self.address)).await;
        match connected {
            Ok(Ok(stream)) => self.read(stream).await,
            Ok(Err(error)) => {
                self.last_seen = match error.kind() {
                    io::ErrorKind::ConnectionRefused => Seen::Refused,
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
        loop {
            let limit = if reader.has_bytes() { self.patience.read } else { self.silence() };
            let Ok(read) = timeout(limit, stream.read(&mut buffer)).await else {
                self.silent += u32::from(!reader.has_bytes());
                return None;
            };
            match read {
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

    /// How long to wait for the first byte.
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

    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    const QUICK: Patience = Patience {
        connect: Duration::from_millis(500),
        early: Duration::from_millis(60),
        early_attempts: 2,
        read: Duration::from_millis(400),
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

    #[derive(Default)]
    struct Count {
        open: AtomicU32,
        most: AtomicU32,
        all: AtomicU32,
    }

    /// Plays the list, one entry per connection and the last one again and again, and counts.
    async fn server(plays: &'static [Does]) -> (SocketAddr, Arc<Count>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let count = Arc::new(Count::default());
        let counted = Arc::clone(&count);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = counted.all.fetch_add(1, Ordering::SeqCst) as usize;
                let open = counted.open.fetch_add(1, Ordering::SeqCst) + 1;
                counted.most.fetch_max(open, Ordering::SeqCst);
                let (play, counted) = (plays[number.min(plays.len() - 1)], Arc::clone(&counted));
                tokio::spawn(async move {
                    serve(stream, play).await;
                    counted.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        (address, count)
    }

    /// Returns when the other side has closed, or at once for `Close`.
    async fn serve(mut stream: TcpStream, play: Does) {
        let said = match play {
            Does::Close => return,
            Does::Silence => Ok(()),
            Does::Say(text) => stream.write_all(text).await,
            Does::SayForEver(text) => {
                while stream.write_all(text).await.is_ok() {}
                return;
            }
            Does::SayLate(delay, text) => {
                sleep(delay).await;
                stream.write_all(text).await
            }
        };
        if said.is_ok() {
            // Data would be a fault: the waiting side says nothing.
            assert!(matches!(stream.read(&mut [0; 16]).await, Ok(0) | Err(_)));
        }
    }

    async fn wait(plays: &'static [Does], limit: Duration) -> (Result<Banner, SshWait>, Arc<Count>) {
        let (address, count) = server(plays).await;
        let stop = CancellationToken::new();
        let timer = stop.clone();
        let stopper = tokio::spawn(async move {
            sleep(limit).await;
            timer.cancel();
        });
        let waited = wait_with(address, QUICK, &stop).await;
        stopper.abort();
        (waited, count)
    }

    const GOOD: Does = Does::Say(b"SSH-2.0-OpenSSH_9.2p1\r\n");
    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn a_guest_that_refuses_and_is_silent_first_is_found_with_one_connection_at_a_time() {
        let (banner, count) =
            wait(&[Does::Silence, Does::Silence, Does::Close, Does::Close, GOOD], LONG).await;
        assert_eq!(banner.unwrap().text, "SSH-2.0-OpenSSH_9.2p1");
        assert_eq!((count.all.load(Ordering::SeqCst), count.most.load(Ordering::SeqCst)), (5, 1));
    }

    #[tokio::test]
    async fn a_slow_server_is_waited_for_once_the_guest_is_known_to_be_there() {
        // 200 ms is longer than an early connection is given, and shorter than a late one.
        const SLOW: Does = Does::SayLate(Duration::from_millis(200), b"SSH-2.0-slow\n");
        let (banner, count) = wait(&[Does::Close, SLOW], LONG).await;
        assert_eq!(banner.unwrap().text, "SSH-2.0-slow");
        assert_eq!(count.all.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn early_connections_get_more_time_until_a_slow_server_fits() {
        const SLOW: Does = Does::SayLate(Duration::from_millis(200), b"SSH-2.0-slow\n");
        let (banner, count) = wait(&[SLOW], LONG).await;
        assert_eq!(banner.unwrap().text, "SSH-2.0-slow");
        // 60, 60, 90, 135, 202, 303 ms: the fifth or sixth; a busy computer may need one or two more.
        let connections = count.all.load(Ordering::SeqCst);
        assert!((4..=8).contains(&connections), "{connections}");
    }

    #[tokio::test]
    async fn hostile_servers_are_survived_until_the_wait_is_stopped() {
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
            let (waited, count) = wait(plays, Duration::from_millis(350)).await;
            let error = waited.unwrap_err();
            // A stop may fall into the moment of a new connection.
            let seen =
                [last_seen, "connecting", "connected, no banner yet"].contains(&error.last_seen.as_str());
            assert!(seen, "{} instead of {last_seen}", error.last_seen);
            assert!(count.all.load(Ordering::SeqCst) >= 1);
            assert!(error.connections < 40, "busy polling: {} connections", error.connections);
        }
    }

    #[tokio::test]
    async fn a_closed_port_is_refused_with_pauses_and_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let stop = CancellationToken::new();
        let (waited, ()) = tokio::join!(wait_with(address, QUICK, &stop), async {
            sleep(Duration::from_millis(200)).await;
            stop.cancel();
        });
        let error = waited.unwrap_err();
        assert_eq!(error.last_seen, "connection refused");
        assert!((2..30).contains(&error.connections), "{}", error.connections);
    }

    #[tokio::test]
    async fn a_wait_that_is_stopped_beforehand_ends_at_once() {
        let stop = CancellationToken::new();
        stop.cancel();
        let far = "192.0.2.1:22".parse().unwrap();
        assert!(timeout(Duration::from_secs(2), wait_for_banner(far, &stop)).await.unwrap().is_err());
    }
}
