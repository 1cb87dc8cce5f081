//! One connection to one QEMU.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::BorrowedFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::{Mode, OFlags},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
    time::{Instant, error::Elapsed, timeout_at},
};
use uuid::Uuid;
use winstead_process::ProcessId;

use super::{
    codec::{LINE_LIMIT, Lines},
    error::{QmpError, QmpErrorKind},
    messages::{self, Event, Message, RunState},
};

/// Events that wait for [`Client::next_event`]; the oldest are dropped. STOP is answered by asking, not by counting.
const EVENT_LIMIT: usize = 256;
/// The longest path of a unix socket (`sun_path` without its end, unix(7)).
const SOCKET_PATH_LIMIT: usize = 107;

/// A connection to QEMU's monitor.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    socket: PathBuf,
    lines: Lines,
    events: VecDeque<Event>,
    deadline: Duration,
    last_id: u64,
    last_heard: Option<String>,
}

impl Client {
    /// Connects to `folder/socket_name`, waits for the greeting, and agrees on the protocol. `process` is the QEMU that
    /// has to be at the other end: its folder is its user's, who may have put a link to another machine's socket there.
    /// `deadline` holds for the whole of that, and for each command afterwards.
    ///
    /// # Errors
    /// When nobody listens ([`QmpError::is_gone`]), somebody else does, the peer is silent (QEMU serves one client for
    /// each monitor), or speaks something else.
    pub async fn connect(
        folder: &Path,
        socket_name: &str,
        process: ProcessId,
        deadline: Duration,
    ) -> Result<Self, QmpError> {
        let socket = folder.join(socket_name);
        let until = Instant::now() + deadline;
        let opened = match timeout_at(until, open(folder, socket_name)).await {
            Ok(opened) => opened.and_then(|stream| process.confirm_peer(&stream).map(|()| stream)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let stream = opened.map_err(|error| QmpError {
            socket: socket.clone(),
            asked: "a connection".to_owned(),
            kind: QmpErrorKind::Io(error),
        })?;
        let mut client = Self::new(stream, socket, deadline);
        client.greet(until).await?;
        Ok(client)
    }

    fn new(stream: UnixStream, socket: PathBuf, deadline: Duration) -> Self {
        let (lines, events) = (Lines::new(LINE_LIMIT), VecDeque::new());
        Self { stream, socket, lines, events, deadline, last_id: 0, last_heard: None }
    }

    async fn greet(&mut self, until: Instant) -> Result<(), QmpError> {
        loop {
            match self.message(until).await {
                Ok(Message::Greeting) => break,
                // Events of before are for whoever was here before.
                Ok(Message::Event(_)) => {}
                Ok(other) => return Err(self.error("a greeting", unexpected(&other))),
                Err(kind) => return Err(self.error("a greeting", kind)),
            }
        }
        self.execute_until("qmp_capabilities", None, until).await.map(drop)
    }

    /// Runs a command and returns its result. Events that come in between are kept for [`Client::next_event`].
    ///
    /// # Errors
    /// When QEMU refuses it, does not answer in time, hangs up, or breaks the protocol.
    ///
    /// Cancel safety: the command may have run; its late answer is recognised and dropped by the next call.
    pub async fn execute(&mut self, command: &str, arguments: Option<&Value>) -> Result<Value, QmpError> {
        self.execute_until(command, arguments, Instant::now() + self.deadline).await
    }

    async fn execute_until(
        &mut self,
        command: &str,
        arguments: Option<&Value>,
        until: Instant,
    ) -> Result<Value, QmpError> {
        self.last_id += 1;
        let line = messages::command(command, arguments, self.last_id);
        self.send(command, &line, until).await?;
        self.answer(until).await.map_err(|kind| self.error(command, kind))
    }

    async fn send(&mut self, command: &str, bytes: &[u8], until: Instant) -> Result<(), QmpError> {
        let sent = timeout_at(until, self.stream.write_all(bytes)).await;
        self.in_time(command, sent)
    }

    fn in_time<T>(&self, command: &str, sent: Result<io::Result<T>, Elapsed>) -> Result<T, QmpError> {
        let sent = sent.map_or_else(|_| Err(self.timed_out()), |sent| sent.map_err(QmpErrorKind::Io));
        sent.map_err(|kind| self.error(command, kind))
    }

    /// Hands an open file over, under a name by which later commands find it.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn give(&mut self, name: &str, file: BorrowedFd<'_>) -> Result<(), QmpError> {
        let (command, until) = ("getfd", Instant::now() + self.deadline);
        self.last_id += 1;
        let line = messages::command("getfd", Some(&json!({"fdname": name})), self.last_id);
        let sent = self.stream.async_io(Interest::WRITABLE, || send_with(&self.stream, &line, file));
        let sent = timeout_at(until, sent).await;
        let count = self.in_time(command, sent)?;
        self.send(command, &line[count..], until).await?;
        self.answer(until).await.map(drop).map_err(|kind| self.error(command, kind))
    }

    async fn answer(&mut self, until: Instant) -> Result<Value, QmpErrorKind> {
        loop {
            let message = self.message(until).await?;
            match message {
                Message::Event(event) => self.keep(event),
                Message::Return { id: Some(id), value } if id == self.last_id => return Ok(value),
                Message::Error { id: Some(id), class, description } if id == self.last_id => {
                    return Err(QmpErrorKind::Refused { class, description });
                }
                // The late answer of a call that was given up.
                Message::Return { id: Some(id), .. } | Message::Error { id: Some(id), .. }
                    if id < self.last_id => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// The next event, waiting for it without end: QEMU may have nothing to say for days. Cancel safe.
    ///
    /// # Errors
    /// When QEMU hangs up or breaks the protocol.
    pub async fn next_event(&mut self) -> Result<Event, QmpError> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            match self.read_message().await {
                Ok(Message::Event(event)) => return Ok(event),
                Ok(Message::Return { id: Some(id), .. } | Message::Error { id: Some(id), .. })
                    if id <= self.last_id => {}
                Ok(other) => return Err(self.error("an event", unexpected(&other))),
                Err(kind) => return Err(self.error("an event", kind)),
            }
        }
    }

    /// The machine's state.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn query_status(&mut self) -> Result<RunState, QmpError> {
        let answer = self.execute("query-status", None).await?;
        Ok(RunState::of(self.text_in(&answer, "status", "query-status")?))
    }

    /// The machine's identity.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn query_uuid(&mut self) -> Result<Uuid, QmpError> {
        let answer = self.execute("query-uuid", None).await?;
        let text = self.text_in(&answer, "UUID", "query-uuid")?;
        Uuid::parse_str(text)
            .map_err(|_| self.error("query-uuid", QmpErrorKind::Protocol(format!("{text:?} is no UUID"))))
    }

    /// Whether the machine stands still because a disk's store is full. Asked after each STOP: the event that says so
    /// is rate-limited to one a second. QEMU (7.2 and 10.0) keeps a disk's `nospace` after `cont`, so the answer counts only
    /// while the machine's own state is an I/O error: a panic later on is none.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn nospace(&mut self) -> Result<bool, QmpError> {
        if self.query_status().await? != RunState::IoError {
            return Ok(false);
        }
        Ok(messages::is_out_of_space(&self.execute("query-block", None).await?))
    }

    /// Lets the guest run; one that runs already goes on.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn cont(&mut self) -> Result<(), QmpError> {
        self.execute("cont", None).await.map(drop)
    }

    /// Pauses the guest.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn pause(&mut self) -> Result<(), QmpError> {
        self.execute("stop", None).await.map(drop)
    }

    /// Ends QEMU. That it hung up before it answered is an answer.
    ///
    /// # Errors
    /// As [`Client::execute`].
    pub async fn quit(&mut self) -> Result<(), QmpError> {
        match self.execute("quit", None).await {
            Err(error) if !error.is_gone() => Err(error),
            _ => Ok(()),
        }
    }

    fn text_in<'a>(&self, answer: &'a Value, key: &str, command: &str) -> Result<&'a str, QmpError> {
        let missing = || self.error(command, QmpErrorKind::Protocol(format!("its answer has no {key}")));
        answer.get(key).and_then(Value::as_str).ok_or_else(missing)
    }

    fn keep(&mut self, event: Event) {
        if self.events.len() == EVENT_LIMIT {
            self.events.pop_front();
            tracing::warn!(socket = %self.socket.display(), "events come quicker than they are read; one was dropped");
        }
        self.events.push_back(event);
    }

    async fn message(&mut self, until: Instant) -> Result<Message, QmpErrorKind> {
        match timeout_at(until, self.read_message()).await {
            Ok(message) => message,
            Err(_) => Err(self.timed_out()),
        }
    }

    /// Cancel safe: what was read is kept in `lines`.
    async fn read_message(&mut self) -> Result<Message, QmpErrorKind> {
        loop {
            if let Some(line) = self.lines.next_line() {
                self.last_heard = Some(messages::excerpt(&line));
                return Message::parse(&line).map_err(QmpErrorKind::Protocol);
            }
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes).await.map_err(QmpErrorKind::Io)?;
            if count == 0 {
                let amid = self.lines.is_amid_line();
                let half = || QmpErrorKind::Protocol("it closed the connection amid a line".to_owned());
                return Err(if amid { half() } else { QmpErrorKind::Closed });
            }
            let too_long = |_| QmpErrorKind::Protocol(format!("a line is longer than {LINE_LIMIT} bytes"));
            self.lines.push(&bytes[..count]).map_err(too_long)?;
        }
    }

    fn timed_out(&self) -> QmpErrorKind {
        QmpErrorKind::TimedOut { limit: self.deadline, last: self.last_heard.clone() }
    }

    fn error(&self, asked: &str, kind: QmpErrorKind) -> QmpError {
        QmpError { socket: self.socket.clone(), asked: asked.to_owned(), kind }
    }
}

fn unexpected(message: &Message) -> QmpErrorKind {
    QmpErrorKind::Protocol(match message {
        Message::Greeting => "it greeted again".to_owned(),
        Message::Event(event) => format!("event {} came out of turn", event.name),
        Message::Return { id, .. } => format!("an answer came to a question never asked ({id:?})"),
        Message::Error { description, .. } => format!("it refused what was never asked: {description}"),
    })
}

/// Sends bytes together with an open file (`SCM_RIGHTS`, unix(7)); returns how many were sent.
fn send_with(stream: &UnixStream, bytes: &[u8], file: BorrowedFd<'_>) -> io::Result<usize> {
    let files = [file];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&files));
    Ok(sendmsg(stream, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)?)
}

/// Connects through `/proc/self/fd` where the path is too long for a socket address.
async fn open(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let path = folder.join(name);
    if path.as_os_str().len() <= SOCKET_PATH_LIMIT {
        return UnixStream::connect(path).await;
    }
    let opened = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let number = std::os::fd::AsRawFd::as_raw_fd(&opened);
    UnixStream::connect(format!("/proc/self/fd/{number}/{name}")).await
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "fuzz_tests.rs"]
mod fuzz_tests;
