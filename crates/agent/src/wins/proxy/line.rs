//! One connection of a session: between the client's messages and a port of this computer.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::AsyncWriteExt as _,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{OwnedSemaphorePermit, mpsc, watch},
    time::timeout,
};

use crate::wins::remotedialer::{END, Message};

/// How long a port may take to answer: the old server waited a minute.
const DIAL: Duration = Duration::from_secs(10);
/// How long a port may take to read what waits for it, as the old server had it.
const WRITE: Duration = Duration::from_secs(60);
/// As much as Go copies at a time, and old clients expect in a message.
const PIECE: usize = 32 * 1024;

/// The client is asked to pause when more waits than this, and to go on below that: remotedialer's own numbers.
const PAUSE_ABOVE: usize = 1 << 21;
const RESUME_BELOW: usize = 1 << 18;

/// Bytes that wait for the port, with the session's room that they take.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) data: Bytes,
    pub(super) room: OwnedSemaphorePermit,
}

/// Where a session's messages to its client go.
#[derive(Clone, Debug)]
pub(super) struct Outbox {
    /// Data and ends, in their order; waits while the client does not read.
    pub(super) data: mpsc::Sender<Message>,
    /// What must not wait behind data.
    pub(super) control: mpsc::Sender<Message>,
}

/// How much waits for the port, and whether the client was asked to pause.
#[derive(Debug, Default)]
struct Gauge {
    waiting: AtomicUsize,
    paused: AtomicBool,
}

/// The end of a connection that is on this computer.
#[derive(Debug)]
pub(super) enum End {
    /// To be connected to: a port of localhost.
    Port(u16),
    /// Somebody connected to us.
    Accepted(TcpStream),
}

/// The session's end of a connection. Dropped: what waits is still written, then the port's connection is closed.
#[derive(Debug)]
pub(super) struct Line {
    inbox: mpsc::UnboundedSender<Piece>,
    gauge: Arc<Gauge>,
    go: watch::Sender<bool>,
}

/// The connection's own task.
#[derive(Debug)]
pub(super) struct Talk {
    id: i64,
    end: End,
    inbox: mpsc::UnboundedReceiver<Piece>,
    gauge: Arc<Gauge>,
    go: watch::Receiver<bool>,
    outbox: Outbox,
}

/// Both ends of a new connection.
pub(super) fn line(id: i64, end: End, outbox: Outbox) -> (Line, Talk) {
    let (inbox, pieces) = mpsc::unbounded_channel();
    let (go, going) = watch::channel(true);
    let gauge = Arc::new(Gauge::default());
    let line = Line { inbox, gauge: Arc::clone(&gauge), go };
    (line, Talk { id, end, inbox: pieces, gauge, go: going, outbox })
}

impl Line {
    /// Hands bytes on. Returns whether the client is to be asked to pause.
    pub(super) fn push(&self, piece: Piece) -> bool {
        let length = piece.data.len();
        let waiting = self.gauge.waiting.fetch_add(length, Ordering::Relaxed) + length;
        if self.inbox.send(piece).is_err() {
            // It has ended, and its end is on the way to the client.
            return false;
        }
        waiting > PAUSE_ABOVE && !self.gauge.paused.swap(true, Ordering::Relaxed)
    }

    /// Whether the port's bytes may go to the client.
    pub(super) fn go(&self, go: bool) {
        self.go.send_replace(go);
    }
}

impl Talk {
    /// Connects to the port and moves bytes until one side is done, then tells the client so. Returns the id.
    pub(super) async fn run(mut self) -> i64 {
        let end = std::mem::replace(&mut self.end, End::Port(0));
        let text = match self.connect_and_move(end).await {
            Ok(()) => END.to_owned(),
            Err(error) => error.to_string(),
        };
        // Nobody there: the session is over.
        self.outbox.data.send(Message::Error(self.id, text)).await.unwrap_or_default();
        self.id
    }

    async fn connect_and_move(&mut self, end: End) -> io::Result<()> {
        let stream = match end {
            End::Port(port) => timeout(DIAL, TcpStream::connect(("localhost", port))).await??,
            End::Accepted(stream) => stream,
        };
        stream.set_nodelay(true)?;
        let (from_port, to_port) = stream.into_split();
        let reader = (self.id, self.go.clone(), self.outbox.data.clone());
        tokio::select! {
            outcome = self.write(to_port) => outcome,
            outcome = read(reader, from_port) => outcome,
        }
    }

    async fn write(&mut self, mut port: OwnedWriteHalf) -> io::Result<()> {
        while let Some(piece) = self.inbox.recv().await {
            timeout(WRITE, port.write_all(&piece.data)).await??;
            let length = piece.data.len();
            drop(piece.room);
            let waiting = self.gauge.waiting.fetch_sub(length, Ordering::Relaxed) - length;
            if waiting < RESUME_BELOW && self.gauge.paused.swap(false, Ordering::Relaxed) {
                self.outbox.control.send(Message::Resume(self.id)).await.unwrap_or_default();
            }
        }
        port.shutdown().await
    }
}

async fn read(
    (id, mut go, client): (i64, watch::Receiver<bool>, mpsc::Sender<Message>),
    port: OwnedReadHalf,
) -> io::Result<()> {
    loop {
        let Ok(_) = go.wait_for(|go| *go).await.map(|_| ()) else { return Ok(()) };
        // Memory only once there is something to put into it: most connections wait most of the time.
        port.readable().await?;
        let mut piece = BytesMut::with_capacity(PIECE);
        match port.try_read_buf(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        if client.send(Message::Data(id, piece.freeze())).await.is_err() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpListener, sync::Semaphore};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_port_that_does_not_read_for_a_minute_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (near, far) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (near, _deaf) = (near.expect("it listens"), far.expect("somebody comes"));
        let (data, mut said) = mpsc::channel(8);
        let (control, _words) = mpsc::channel(8);
        let (line, talk) = line(7, End::Accepted(near), Outbox { data, control });
        let room = Arc::new(Semaphore::new(1 << 26));
        // More than the system holds for a port.
        for _ in 0..1024 {
            let data = Bytes::from(vec![0; PIECE]);
            let room = Arc::clone(&room).acquire_many_owned(32 * 1024).await.expect("there is room");
            line.push(Piece { data, room });
        }
        let before = tokio::time::Instant::now();
        assert_eq!(talk.run().await, 7);
        assert!(before.elapsed() >= WRITE);
        let Some(Message::Error(7, why)) = said.recv().await else { panic!("the client is told") };
        assert_ne!(why, END);
    }
}
