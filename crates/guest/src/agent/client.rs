//! The connection: one question, one answer, always in step.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::agent::{AgentError, AgentFailure, Decoder, Frame, Info, answers, codec::DELIMITER};

/// How much an agent may take of time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For connecting, and for the first answer: an agent that is not started yet does not answer.
    pub connect: Duration,
    /// For each answer.
    pub answer: Duration,
    /// Longest answer. The agent keeps 16 MiB of each output of a command, 43 MiB of text for both.
    pub line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(30), line: 64 * 1024 * 1024 }
    }
}

/// A connection to a guest agent.
///
/// Each call is bounded by [`Limits`] and ends when the token given to [`Agent::connect_within`] is cancelled. A call that is
/// given up (time-out, dropped future) does not spoil the next one: that begins by getting into step again.
///
/// The writing side is never closed before the end: QEMU drops the answer of a half-closed connection.
#[derive(Debug)]
pub struct Agent {
    socket: PathBuf,
    stream: UnixStream,
    decoder: Decoder,
    limits: Limits,
    stop: CancellationToken,
    /// Numbers the synchronisations; an answer with an older number is somebody else's.
    sync: u32,
    in_step: bool,
    pub(super) info: Option<Info>,
}

impl Agent {
    /// Connects and gets into step with the agent, within the usual [`Limits`].
    ///
    /// # Errors
    /// As [`Agent::connect_within`].
    pub async fn connect(socket: &Path) -> Result<Self, AgentError> {
        Self::connect_within(socket, Limits::default(), &CancellationToken::new()).await
    }

    /// Connects and gets into step with the agent. `stop` ends this and all later calls.
    ///
    /// # Errors
    /// [`AgentFailure::Io`] when the socket is not there, [`AgentFailure::Silent`] when no agent answers.
    pub async fn connect_within(
        socket: &Path,
        limits: Limits,
        stop: &CancellationToken,
    ) -> Result<Self, AgentError> {
        let failed = |failure| AgentError { socket: socket.to_owned(), command: "connect".into(), failure };
        let connecting = timeout(limits.connect, open(socket));
        let stream = tokio::select! {
            connected = connecting => match connected {
                Ok(stream) => stream.map_err(|error| failed(error.into()))?,
                Err(_) => return Err(failed(AgentFailure::Silent(limits.connect))),
            },
            () = stop.cancelled() => return Err(failed(AgentFailure::Cancelled)),
        };
        let mut agent = Self {
            socket: socket.to_owned(),
            stream,
            decoder: Decoder::new(limits.line),
            limits,
            stop: stop.clone(),
            // Differs from the numbers of an earlier client whose answers may still be on their way.
            sync: std::process::id().wrapping_mul(1009),
            in_step: false,
            info: None,
        };
        let synchronised = agent.bounded(limits.connect, Job::Sync).await;
        synchronised.map_err(failed)?;
        Ok(agent)
    }

    /// Asks and returns the value of the answer.
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn call(&mut self, command: &str, arguments: Value) -> Result<Value, AgentError> {
        let asked = self.bounded(self.limits.answer, Job::Ask(question(command, &arguments))).await;
        asked.map_err(|failure| self.error(command, failure))
    }

    /// Asks what has no answer when it succeeds, and returns after `grace` or with the connection's end.
    pub(super) async fn call_without_answer(
        &mut self,
        command: &str,
        arguments: Value,
        grace: Duration,
    ) -> Result<(), AgentError> {
        match self.bounded(grace, Job::Ask(question(command, &arguments))).await {
            Ok(_) | Err(AgentFailure::Silent(_) | AgentFailure::Closed) => Ok(()),
            Err(failure) => Err(self.error(command, failure)),
        }
    }

    pub(super) fn error(&self, command: &str, failure: AgentFailure) -> AgentError {
        AgentError { socket: self.socket.clone(), command: command.to_owned(), failure }
    }

    pub(super) const fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    async fn bounded(&mut self, limit: Duration, job: Job) -> Result<Value, AgentFailure> {
        let stop = self.stop.clone();
        tokio::select! {
            done = timeout(limit, self.run(job)) => done.unwrap_or(Err(AgentFailure::Silent(limit))),
            () = stop.cancelled() => Err(AgentFailure::Cancelled),
        }
    }

    async fn run(&mut self, job: Job) -> Result<Value, AgentFailure> {
        if !self.in_step {
            self.synchronise().await?;
        }
        let Job::Ask(question) = job else { return Ok(Value::Null) };
        // Until the answer is there, whatever happens leaves one on its way.
        self.in_step = false;
        self.stream.write_all(&question).await?;
        let answer = loop {
            if let Frame::Line(line) = self.frame().await? {
                break answers::answer(&line);
            }
        };
        self.in_step = !matches!(answer, Err(AgentFailure::Malformed(_)));
        answer
    }

    /// The delimiter before the question ends a half line that an earlier client may have left in the agent; the one in
    /// the answer voids what is still on its way to us.
    async fn synchronise(&mut self) -> Result<(), AgentFailure> {
        self.sync = self.sync.wrapping_add(1);
        let mut question_ = vec![DELIMITER];
        question_.extend(question("guest-sync-delimited", &json!({"id": self.sync})));
        self.stream.write_all(&question_).await?;
        let mut delimited = false;
        loop {
            match self.frame().await? {
                Frame::Delimiter => delimited = true,
                // Errors and older numbers are answers to earlier questions, or to the half line.
                Frame::Line(line) if delimited && is_number(&line, self.sync) => break,
                Frame::Line(_) => {}
            }
        }
        self.in_step = true;
        Ok(())
    }

    /// Cancel safe: what was read stays in the decoder.
    async fn frame(&mut self) -> Result<Frame, AgentFailure> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let next = self.decoder.next_frame();
            if let Some(frame) = next.map_err(|error| AgentFailure::TooLong { limit: error.limit })? {
                return Ok(frame);
            }
            match self.stream.read(&mut buffer).await? {
                0 => return Err(AgentFailure::Closed),
                length => self.decoder.feed(&buffer[..length]),
            }
        }
    }
}

/// Longest path that a socket's address holds (unix(7): 108 bytes with the end).
const ADDRESS_LIMIT: usize = 107;

/// A longer path is reached through an open descriptor of its folder.
async fn open(socket: &Path) -> io::Result<UnixStream> {
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return UnixStream::connect(socket).await;
    };
    if socket.as_os_str().len() <= ADDRESS_LIMIT {
        return UnixStream::connect(socket).await;
    }
    let folder = fs_err::File::open(folder)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    UnixStream::connect(short.join(name)).await
}

enum Job {
    Sync,
    Ask(Vec<u8>),
}

fn question(command: &str, arguments: &Value) -> Vec<u8> {
    let mut line = json!({"execute": command, "arguments": arguments}).to_string().into_bytes();
    line.push(b'\n');
    line
}

fn is_number(line: &[u8], number: u32) -> bool {
    answers::answer(line).is_ok_and(|value| value.as_u64() == Some(u64::from(number)))
}
