//! One program in a machine, its streams passed through as they are.

use std::{ffi::OsString, path::PathBuf};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::mpsc,
};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use winstead_agent_client::terminal::{Screen, lend};
use winstead_protocol::v1::{
    Input, OnDisconnect, Output, Received, RunRequest, StartRequest, TerminalSize, input,
    process_event::Message as Event, run_request::Message,
};

use super::{Hand, HandError, HandFailure, home::HOME};

/// Read of the standard input at once.
const CHUNK: usize = 64 * 1024;
/// Pieces of it on their way.
const WAITING: usize = 8;
/// After how many bytes the agent is told that it may forget them.
const ACKNOWLEDGED: u64 = 256 * 1024;
/// What a login by SSH has too: an agent's own environment is nobody's business.
const ENVIRONMENT: [&str; 5] = [
    "HOME=/root",
    "USER=root",
    "LOGNAME=root",
    "SHELL=/bin/sh",
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
];

/// The streams of a program, on this side.
#[derive(Debug)]
pub struct Streams<I, O, E> {
    /// What it reads.
    pub input: I,
    /// What it writes.
    pub output: O,
    /// Its complaints.
    pub errors: E,
}

impl Hand {
    /// Runs a program as root, and returns its exit code when it has ended; 128 and the signal's number when one ended it.
    /// It ends when this is dropped.
    ///
    /// # Errors
    /// See [`HandFailure`]. [`HandFailure::Output`] when a stream of this side cannot be written.
    pub async fn exec<I, O, E>(&self, argv: &[OsString], streams: Streams<I, O, E>) -> Result<i32, HandError>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let ended = self.run(argv, streams).await;
        ended.map_err(|failure| self.error("run a program".to_owned(), failure))
    }

    /// Runs a program as root at our own terminal, of the kind that `term` names, and returns its exit code as
    /// [`Hand::exec`] does. It ends when this is dropped, and the terminal is put back.
    ///
    /// # Errors
    /// See [`HandFailure`]. [`HandFailure::Terminal`] when it cannot be lent.
    pub async fn exec_at(
        &self,
        argv: &[OsString],
        screen: Screen,
        term: Option<&str>,
    ) -> Result<i32, HandError> {
        let ended = async {
            let start = at_terminal(start(argv)?, screen.size(), term);
            let mut listening = self.agent().run(start).await?;
            // Nobody leaves a program that would end then.
            let ended = lend(&mut listening, screen, false).await?;
            ended.ok_or(HandFailure::NoEnd)
        };
        ended.await.map_err(|failure| self.error("run a program".to_owned(), failure))
    }

    async fn run<I, O, E>(&self, argv: &[OsString], streams: Streams<I, O, E>) -> Result<i32, HandFailure>
    where
        I: AsyncRead + Unpin,
        O: AsyncWrite + Unpin,
        E: AsyncWrite + Unpin,
    {
        let Streams { input, output, errors } = streams;
        let (typed, stdin) = mpsc::channel(WAITING);
        let (heard, acknowledgements) = mpsc::channel(1);
        let inputs = ReceiverStream::new(stdin).merge(ReceiverStream::new(acknowledgements));
        let start = RunRequest { message: Some(Message::Start(start(argv)?)) };
        let messages = tokio_stream::once(start).chain(inputs.map(said));
        let call = async {
            let events = self.agent().processes().run(messages).await?.into_inner();
            listen(events, output, errors, heard).await
        };
        tokio::select! {
            ended = call => ended,
            failed = feed(input, typed) => Err(failed),
        }
    }
}

fn said(message: input::Message) -> RunRequest {
    RunRequest { message: Some(Message::Input(Input { message: Some(message) })) }
}

fn start(argv: &[OsString]) -> Result<StartRequest, HandFailure> {
    let text = |word: &OsString| {
        word.to_str().map(str::to_owned).ok_or_else(|| HandFailure::NotText(PathBuf::from(word)))
    };
    let mut words = argv.iter().map(text);
    let mut program = words.next().transpose()?.unwrap_or_default();
    // As a shell in the home folder has it: a name is looked for, a path begins there.
    if program.contains('/') && !program.starts_with('/') {
        program = format!("{HOME}/{}", program.trim_start_matches("./"));
    }
    Ok(StartRequest {
        program,
        arguments: words.collect::<Result<_, _>>()?,
        environment: ENVIRONMENT.map(str::to_owned).to_vec(),
        folder: HOME.to_owned(),
        on_disconnect: OnDisconnect::Stop.into(),
        stdin: true,
        ..StartRequest::default()
    })
}

/// The same at a terminal. What kind it is, is passed on as by SSH; the agent knows one that every program knows.
fn at_terminal(mut start: StartRequest, size: TerminalSize, term: Option<&str>) -> StartRequest {
    start.terminal = Some(size);
    start.environment.extend(term.map(|term| format!("TERM={term}")));
    start
}

/// Hands the standard input on to its end, and then waits for nothing: the program's end is somebody else's.
async fn feed(mut input: impl AsyncRead + Unpin, typed: mpsc::Sender<input::Message>) -> HandFailure {
    loop {
        let mut data = Vec::with_capacity(CHUNK);
        let message = match input.read_buf(&mut data).await {
            Ok(0) => input::Message::StdinEnd(true),
            Ok(_) => input::Message::Stdin(data.into()),
            Err(source) => return HandFailure::Input(source),
        };
        let last = matches!(message, input::Message::StdinEnd(_));
        if typed.send(message).await.is_err() || last {
            // The channel stays open: its end would be the end of the call.
            std::future::pending::<()>().await;
        }
    }
}

/// One stream of the program, and how much of it was written here.
struct Sink<W> {
    stream: W,
    bytes: u64,
}

impl<W: AsyncWrite + Unpin> Sink<W> {
    async fn write(&mut self, Output { offset, data }: Output) -> Result<(), HandFailure> {
        if offset != self.bytes {
            return Err(HandFailure::Gap { at: self.bytes, next: offset });
        }
        self.stream.write_all(&data).await.map_err(HandFailure::Output)?;
        self.stream.flush().await.map_err(HandFailure::Output)?;
        self.bytes += data.len() as u64;
        Ok(())
    }
}

async fn listen<O: AsyncWrite + Unpin, E: AsyncWrite + Unpin>(
    mut events: tonic::Streaming<winstead_protocol::v1::ProcessEvent>,
    output: O,
    errors: E,
    heard: mpsc::Sender<input::Message>,
) -> Result<i32, HandFailure> {
    let (mut output, mut errors) = (Sink { stream: output, bytes: 0 }, Sink { stream: errors, bytes: 0 });
    let mut told = 0;
    while let Some(event) = events.message().await? {
        match event.message {
            Some(Event::Stdout(piece)) => output.write(piece).await?,
            Some(Event::Stderr(piece)) => errors.write(piece).await?,
            Some(Event::Exited(exited)) => return Ok(exited.code),
            Some(Event::Started(_)) | None => {}
        }
        if output.bytes + errors.bytes - told >= ACKNOWLEDGED {
            let received = Received { stdout: output.bytes, stderr: errors.bytes };
            // When the last one was not taken yet, the next one says more.
            if heard.try_send(input::Message::Received(received)).is_ok() {
                told = output.bytes + errors.bytes;
            }
        }
    }
    Err(HandFailure::NoEnd)
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
