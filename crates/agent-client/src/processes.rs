//! Processes of an agent: run, attached to, stopped.

use std::{pin::Pin, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tonic::{Status, Streaming};
use winstead_protocol::v1::{
    AttachRequest, AttachTo, Exited, Input, ListRequest, ProcessEvent, ProcessStatus, Received,
    RemoveRequest, RunRequest, StartRequest, StartResponse, StopRequest, StopResponse, TerminalSize,
    attach_request, input, process_event, run_request,
};

use crate::Connection;

/// Messages that wait for the connection; each is small or of the caller's own size.
const WAITING: usize = 4;
/// How much output is acknowledged at once.
const ACKNOWLEDGE: u64 = 64 * 1024;

/// A call was refused, or the connection broke. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The agent says no, or why not.
    #[error("{what}: {}", reason(.what, .status))]
    Refused {
        /// What was to be done.
        what: String,
        /// Its words.
        status: Box<Status>,
    },
    /// It answered something that makes no sense.
    #[error("{what}: the agent answers nonsense")]
    Nonsense {
        /// What was to be done.
        what: String,
    },
}

/// The agent's words, without those that are ours already.
fn reason<'a>(what: &str, status: &'a Status) -> &'a str {
    let words = status.message();
    let rest = words.strip_prefix("failed to ").and_then(|words| words.strip_prefix(what));
    rest.and_then(|rest| rest.strip_prefix(": ")).unwrap_or(words)
}

impl CallError {
    fn refused(what: impl Into<String>) -> impl FnOnce(Status) -> Self {
        let what = what.into();
        |status| Self::Refused { what, status: Box::new(status) }
    }
}

/// What a process says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// On its standard output.
    Stdout(Bytes),
    /// On its standard error.
    Stderr(Bytes),
    /// So many bytes of what it said are gone: the agent was killed, or somebody else took them.
    Gap(u64),
    /// It ended. Nothing comes after that.
    Ended(Exited),
}

/// A process that is listened to. Dropped, it goes away with the caller or stays, as was asked for when it was started.
#[derive(Debug)]
pub struct Listening {
    started: StartResponse,
    events: Streaming<ProcessEvent>,
    input: ProcessInput,
    had: [u64; 2],
    told: [u64; 2],
    /// Whether what was returned is acknowledged.
    takes: bool,
    /// What comes after a gap that was just told.
    behind: Option<Said>,
}

/// The way to a process: its input and its signals. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProcessInput {
    messages: mpsc::Sender<Input>,
}

impl Connection {
    /// Runs a program and listens to it.
    ///
    /// # Errors
    /// When it is not allowed, or cannot be run.
    pub async fn run(&self, start: StartRequest) -> Result<Listening, CallError> {
        let what = format!("run {}", start.program);
        let takes = start.on_disconnect() == winstead_protocol::v1::OnDisconnect::Keep;
        let (input, inputs) = inputs();
        let first = RunRequest { message: Some(run_request::Message::Start(start)) };
        let rest = inputs.map(|input| RunRequest { message: Some(run_request::Message::Input(input)) });
        let events = self.processes().run(tokio_stream::once(first).chain(rest)).await;
        let events = events.map_err(CallError::refused(&what))?.into_inner();
        Listening::begin(what, events, input, [0; 2], takes).await
    }

    /// Listens to a process that was started before, from `had` on: bytes of its standard output and error. With `takes`, what
    /// was returned is forgotten by the agent; without, this only looks.
    ///
    /// # Errors
    /// When there is no such process for this caller.
    pub async fn attach(&self, id: &str, had: [u64; 2], takes: bool) -> Result<Listening, CallError> {
        let what = format!("attach to {id}");
        let (input, inputs) = inputs();
        let [stdout_offset, stderr_offset] = had;
        let to = AttachTo { id: id.to_owned(), stdout_offset, stderr_offset };
        let first = AttachRequest { message: Some(attach_request::Message::Attach(to)) };
        let rest = inputs.map(|input| AttachRequest { message: Some(attach_request::Message::Input(input)) });
        let events = self.processes().attach(tokio_stream::once(first).chain(rest)).await;
        let events = events.map_err(CallError::refused(&what))?.into_inner();
        Listening::begin(what, events, input, had, takes).await
    }

    /// Starts a program that nobody listens to.
    ///
    /// # Errors
    /// When it is not allowed, or cannot be run.
    pub async fn start(&self, start: StartRequest) -> Result<StartResponse, CallError> {
        let what = format!("run {}", start.program);
        let started = self.processes().start(start).await.map_err(CallError::refused(what))?;
        Ok(started.into_inner())
    }

    /// All processes that this caller may see.
    ///
    /// # Errors
    /// When the connection is broken.
    pub async fn list_processes(&self) -> Result<Vec<ProcessStatus>, CallError> {
        let listed = self.processes().list(ListRequest {}).await;
        Ok(listed.map_err(CallError::refused("list processes"))?.into_inner().processes)
    }

    /// Ends a process: asked first, and by force after `grace`, or at once when that is zero.
    ///
    /// # Errors
    /// When there is none for this caller, or it does not go away.
    pub async fn stop(&self, id: &str, grace: Duration) -> Result<StopResponse, CallError> {
        let grace_ms = u32::try_from(grace.as_millis()).unwrap_or(u32::MAX);
        let stopped = self.processes().stop(StopRequest { id: id.to_owned(), grace_ms }).await;
        Ok(stopped.map_err(CallError::refused(format!("stop {id}")))?.into_inner())
    }

    /// Forgets an ended process.
    ///
    /// # Errors
    /// When there is none for this caller, or it runs.
    pub async fn remove(&self, id: &str) -> Result<(), CallError> {
        let removed = self.processes().remove(RemoveRequest { id: id.to_owned() }).await;
        removed.map(drop).map_err(CallError::refused(format!("remove {id}")))
    }
}

fn inputs() -> (ProcessInput, Pin<Box<ReceiverStream<Input>>>) {
    let (messages, inputs) = mpsc::channel(WAITING);
    (ProcessInput { messages }, Box::pin(ReceiverStream::new(inputs)))
}

impl Listening {
    async fn begin(
        what: String,
        mut events: Streaming<ProcessEvent>,
        input: ProcessInput,
        had: [u64; 2],
        takes: bool,
    ) -> Result<Self, CallError> {
        let first = events.message().await.map_err(CallError::refused(&what))?;
        let Some(process_event::Message::Started(started)) = first.and_then(|event| event.message) else {
            return Err(CallError::Nonsense { what });
        };
        let listening = Self { started, events, input, had, told: had, takes, behind: None };
        if takes {
            // Says that somebody is here who takes.
            listening.input.send(listening.received()).await;
        }
        Ok(listening)
    }

    /// Its name and number.
    #[must_use]
    pub const fn started(&self) -> &StartResponse {
        &self.started
    }

    /// The way to it.
    #[must_use]
    pub fn input(&self) -> ProcessInput {
        self.input.clone()
    }

    /// How much of each output was returned.
    #[must_use]
    pub const fn had(&self) -> [u64; 2] {
        self.had
    }

    /// What it says next. What was returned before counts as the caller's.
    ///
    /// # Errors
    /// When the connection breaks before its end. Cancel safe, but for an acknowledgement.
    pub async fn next(&mut self) -> Result<Said, CallError> {
        if let Some(said) = self.behind.take() {
            return Ok(said);
        }
        self.acknowledge().await;
        let what = || format!("listen to {}", self.started.id);
        let event = self.events.message().await.map_err(CallError::refused(what()))?;
        let (stream, output) = match event.and_then(|event| event.message) {
            Some(process_event::Message::Stdout(output)) => (0, output),
            Some(process_event::Message::Stderr(output)) => (1, output),
            Some(process_event::Message::Exited(exited)) => return Ok(Said::Ended(exited)),
            _ => return Err(CallError::Nonsense { what: what() }),
        };
        let missing = output.offset.checked_sub(self.had[stream]);
        let missing = missing.ok_or_else(|| CallError::Nonsense { what: what() })?;
        self.had[stream] = output.offset.saturating_add(output.data.len() as u64);
        let said = if stream == 0 { Said::Stdout(output.data) } else { Said::Stderr(output.data) };
        if missing > 0 {
            self.behind = Some(said);
            return Ok(Said::Gap(missing));
        }
        Ok(said)
    }

    async fn acknowledge(&mut self) {
        let news = (self.had[0] - self.told[0]).max(self.had[1] - self.told[1]);
        if self.takes && news >= ACKNOWLEDGE {
            self.input.send(self.received()).await;
            self.told = self.had;
        }
    }

    fn received(&self) -> input::Message {
        input::Message::Received(Received { stdout: self.had[0], stderr: self.had[1] })
    }
}

impl ProcessInput {
    /// Writes to its standard input. A process that does not read holds the writer.
    pub async fn write(&self, data: Bytes) {
        self.send(input::Message::Stdin(data)).await;
    }

    /// No more standard input comes.
    pub async fn end(&self) {
        self.send(input::Message::StdinEnd(true)).await;
    }

    /// Sends a signal by its name: `TERM`, `INT`, ….
    pub async fn signal(&self, name: &str) {
        self.send(input::Message::Signal(name.to_owned())).await;
    }

    /// Gives its terminal another size.
    pub async fn resize(&self, size: TerminalSize) {
        self.send(input::Message::Resize(size)).await;
    }

    /// A connection that is broken is what the listener hears of.
    async fn send(&self, message: input::Message) {
        if self.messages.send(Input { message: Some(message) }).await.is_err() {
            tracing::debug!("nobody listens to a process any more");
        }
    }
}
