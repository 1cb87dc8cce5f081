//! The connection: one question, one answer, always in step.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    agent::{AgentError, AgentFailure, Decoder, Frame, Info, answers, codec::DELIMITER},
    socket::open,
};

/// What is read at once.
const BUFFER: usize = 16 * 1024;

/// How much an agent may take of time and memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For connecting, and for the first answer: an agent that is not started yet does not answer.
    pub connect: Duration,
    /// For each answer.
    pub answer: Duration,
    /// Longest answer. What we ask has answers of some KiB.
    pub line: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(10), answer: Duration::from_secs(30), line: 1024 * 1024 }
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
    buffer: Box<[u8]>,
    decoder: Decoder,
    limits: Limits,
    stop: CancellationToken,
    /// Numbers the synchronisations; an answer with an older number is somebody else's.
    sync: u32,
    in_step: bool,
    pub(super) info: Option<Info>,
}

impl Agent {
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
        let stream = bounded(limits.connect, stop, open(socket)).await.map_err(failed)?;
        let mut agent = Self::over(stream, socket, limits, stop);
        bounded(limits.connect, stop, agent.synchronise()).await.map_err(failed)?;
        Ok(agent)
    }

    pub(super) fn over(stream: UnixStream, socket: &Path, limits: Limits, stop: &CancellationToken) -> Self {
        Self {
            socket: socket.to_owned(),
            stream,
            buffer: vec![0; BUFFER].into(),
            decoder: Decoder::new(limits.line),
            limits,
            stop: stop.clone(),
            // Differs from the numbers of an earlier client whose answers may still be on their way.
            sync: std::process::id().wrapping_mul(1009),
            in_step: false,
            info: None,
        }
    }

    /// Asks, and reads the answer straight into the wanted type: what else a guest puts into it takes no memory.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: &Value,
    ) -> Result<T, AgentError> {
        let (limit, stop) = (self.limits.answer, self.stop.clone());
        let asked = bounded(limit, &stop, self.exchange(command, arguments)).await;
        asked.map_err(|failure| self.error(command, failure))
    }

    pub(super) fn error(&self, command: &str, failure: AgentFailure) -> AgentError {
        AgentError { socket: self.socket.clone(), command: command.to_owned(), failure }
    }

    async fn exchange<T: DeserializeOwned>(
        &mut self,
        command: &str,
        arguments: &Value,
    ) -> Result<T, AgentFailure> {
        if !self.in_step {
            self.synchronise().await?;
        }
        // Until the answer is there, whatever happens leaves one on its way.
        self.in_step = false;
        self.stream.write_all(&question(command, arguments)).await?;
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
        // A flood of frames that have come already must not keep time-outs and stops waiting.
        tokio::task::coop::consume_budget().await;
        loop {
            let next = self.decoder.next_frame();
            if let Some(frame) = next.map_err(|error| AgentFailure::TooLong { limit: error.limit })? {
                return Ok(frame);
            }
            match self.stream.read(&mut self.buffer).await? {
                0 => return Err(AgentFailure::Closed),
                length => self.decoder.feed(&self.buffer[..length]),
            }
        }
    }
}

async fn bounded<T, E: Into<AgentFailure>>(
    limit: Duration,
    stop: &CancellationToken,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, AgentFailure> {
    tokio::select! {
        done = timeout(limit, work) => done.map_or(Err(AgentFailure::Silent(limit)), |done| done.map_err(Into::into)),
        () = stop.cancelled() => Err(AgentFailure::Cancelled),
    }
}

fn question(command: &str, arguments: &Value) -> Vec<u8> {
    let mut line = json!({"execute": command, "arguments": arguments}).to_string().into_bytes();
    line.push(b'\n');
    line
}

fn is_number(line: &[u8], number: u32) -> bool {
    answers::answer::<u32>(line).is_ok_and(|found| found == number)
}
