//! The way to a machine's agent: vsock where the machine has it and its agent answers there, else the first port that nobody
//! else uses.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;
use winstead_agent_client::{Alive, Connection, port::Session};
use winstead_process::ProcessId;
use winstead_protocol::port::Nonce;

use super::{
    HandError, HandFailure,
    vsock::{self, Vsock},
};
use crate::socket;

/// How often a free port is looked for while others have all.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Which part of a limit the agent's kernel has at vsock before a port is tried: it answers at once, also that nobody listens;
/// only one without its driver says nothing.
const KERNELS_PART: u32 = 6;
/// Which part of it the agent has then, to say that it knows us: in an emulated guest that does much else a second.
const AGENTS_PART: u32 = 3;
/// A guest may be held for minutes while its disk or the host's memory is full, as ssh's keep-alive has it too.
const ALIVE: Alive = Alive(Some((Duration::from_secs(30), Duration::from_secs(300))));

/// Where a machine's agent is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The machine's name, for errors.
    pub machine: String,
    /// QEMU's sockets, in the order in which they are tried.
    pub sockets: Vec<PathBuf>,
    /// A folder that only we write to: a socket serves one client, and locks there say whose turn it is.
    pub locks: PathBuf,
    /// The process that must listen at the sockets: their folder is not ours alone.
    pub qemu: Option<ProcessId>,
    /// The machine's place at vsock, if it has one.
    pub vsock: Option<Vsock>,
}

/// A connection to a machine's agent. Its port, if it has one, is free for others when it is dropped.
#[derive(Debug)]
pub struct Hand {
    pub(super) machine: String,
    agent: Connection,
    turn: Option<fs_err::File>,
}

impl Ports {
    /// Connects, and waits for the agent's answer; `limit` is for all of it.
    ///
    /// # Errors
    /// See [`HandFailure`]. Cancel safe.
    pub async fn reach(&self, limit: Duration) -> Result<Hand, HandError> {
        let until = Instant::now() + limit;
        if let Some(vsock) = &self.vsock {
            match self.call(vsock, limit).await {
                Ok(agent) => return Ok(self.hand(agent, None)),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(
                        machine = self.machine,
                        error,
                        "by a port, because vsock does not answer"
                    );
                }
            }
        }
        let reached = async {
            let (turn, socket) = self.turn(until, limit).await?;
            let left = until.saturating_duration_since(Instant::now());
            let agent = timeout(left, self.connect(&socket, left)).await;
            Ok(self.hand(agent.map_err(|_| HandFailure::Silent(limit))??, Some(turn)))
        };
        reached.await.map_err(|failure| self.error("be answered", failure))
    }

    fn hand(&self, agent: Connection, turn: Option<fs_err::File>) -> Hand {
        Hand { machine: self.machine.clone(), agent, turn }
    }

    /// By vsock. Whose number it is, the kernel says: QEMU's, if it still lives when the connection is there. Before that is
    /// known, nobody hears the password.
    async fn call(&self, vsock: &Vsock, limit: Duration) -> Result<Connection, HandFailure> {
        let name = format!("vsock:{}", vsock.cid);
        let (kernels, agents) = (limit / KERNELS_PART, limit / AGENTS_PART);
        let key = fs_err::read(&vsock.key).map_err(HandFailure::io(&vsock.key))?;
        let opened = timeout(kernels, vsock::open(vsock.cid)).await;
        let mut stream =
            opened.map_err(|_| HandFailure::Silent(kernels))?.map_err(HandFailure::io(name.as_ref()))?;
        if self.qemu.is_some_and(|qemu| !qemu.is_alive()) {
            return Err(HandFailure::io(name.as_ref())(io::ErrorKind::NotConnected.into()));
        }
        let known = timeout(agents, vsock::introduce(&mut stream, &key)).await;
        known.map_err(|_| HandFailure::Silent(agents))?.map_err(HandFailure::io(name.as_ref()))?;
        Ok(Connection::over(stream, &name, &ALIVE).await?)
    }

    /// The first port that nobody uses.
    async fn turn(&self, until: Instant, limit: Duration) -> Result<(fs_err::File, PathBuf), HandFailure> {
        loop {
            for (number, socket) in self.sockets.iter().enumerate() {
                let path = self.locks.join(format!("hand-{number}.lock"));
                if let Some(turn) = winstead_process::try_lock(&path).map_err(HandFailure::io(&path))? {
                    return Ok((turn, socket.clone()));
                }
            }
            if Instant::now() >= until {
                return Err(HandFailure::Busy(self.sockets.len(), limit));
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    async fn connect(&self, socket: &Path, limit: Duration) -> Result<Connection, HandFailure> {
        let stream = socket::open(socket).await.map_err(HandFailure::io(socket))?;
        if let Some(qemu) = self.qemu {
            qemu.confirm_peer(&stream).map_err(HandFailure::io(socket))?;
        }
        let nonce = Nonce(Uuid::new_v4().as_u128());
        let session = Session::begin(stream, nonce, limit).await?;
        Ok(Connection::over(session, &socket.display().to_string(), &ALIVE).await?)
    }

    fn error(&self, what: &str, failure: HandFailure) -> HandError {
        HandError { machine: self.machine.clone(), what: what.to_owned(), failure }
    }
}

impl Hand {
    /// The agent.
    #[must_use]
    pub const fn agent(&self) -> &Connection {
        &self.agent
    }

    /// By which way it is reached, for people.
    #[must_use]
    pub const fn way(&self) -> &'static str {
        if self.turn.is_some() { "a port" } else { "vsock" }
    }

    pub(super) fn error(&self, what: String, failure: impl Into<HandFailure>) -> HandError {
        HandError { machine: self.machine.clone(), what, failure: failure.into() }
    }
}
