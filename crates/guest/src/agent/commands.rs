//! The commands, each with its arguments and its answer.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::agent::{Agent, AgentError, AgentFailure, ExecResult, Info, Interface, OsInfo, answers};

/// Bytes of a file in one message: large enough to be quick, small enough to leave the channel to others soon.
const CHUNK: usize = 1024 * 1024;
/// First and longest pause between two questions whether a command has ended.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// A shutdown that is refused is refused at once; one that is obeyed has no answer.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(2);

/// A command to run in the guest, as root or SYSTEM, without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The program, looked up in the agent's `PATH`.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// When not empty: its whole environment, `PATH` too.
    pub environment: BTreeMap<String, String>,
    /// Its standard input.
    pub input: Vec<u8>,
    /// How long it may take. The agent has no way to end a command: one that takes longer goes on in the guest.
    pub deadline: Duration,
}

/// What a shutdown ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Power off.
    PowerDown,
    /// Start again.
    Reboot,
}

impl Agent {
    /// Returns when the agent answers.
    ///
    /// # Errors
    /// See [`AgentFailure`]; also for all below.
    pub async fn ping(&mut self) -> Result<(), AgentError> {
        self.call("guest-ping", json!({})).await.map(drop)
    }

    /// Which agent it is and which commands it allows; asked once per connection.
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn info(&mut self) -> Result<Info, AgentError> {
        if let Some(info) = &self.info {
            return Ok(info.clone());
        }
        let info: Info = self.ask("guest-info", json!({}), answers::read).await?;
        self.info = Some(info.clone());
        Ok(info)
    }

    /// What runs in the guest.
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn osinfo(&mut self) -> Result<OsInfo, AgentError> {
        self.allowed("guest-get-osinfo").await?;
        self.ask("guest-get-osinfo", json!({}), answers::read).await
    }

    /// The guest's network cards with their addresses.
    ///
    /// # Errors
    /// See [`AgentFailure`].
    pub async fn network_interfaces(&mut self) -> Result<Vec<Interface>, AgentError> {
        self.allowed("guest-network-get-interfaces").await?;
        self.ask("guest-network-get-interfaces", json!({}), answers::interfaces).await
    }

    /// Runs a command in the guest to its end.
    ///
    /// # Errors
    /// [`AgentFailure::Disabled`] where the guest forbids it, [`AgentFailure::Refused`] when the program is missing,
    /// [`AgentFailure::Silent`] after its deadline (the command then goes on in the guest).
    pub async fn exec(&mut self, command: &Exec) -> Result<ExecResult, AgentError> {
        #[derive(Deserialize)]
        struct Started {
            pid: i64,
        }
        self.allowed("guest-exec").await?;
        let ends = Instant::now() + command.deadline;
        let Started { pid } = self.ask("guest-exec", exec_arguments(command), answers::read).await?;
        let mut pause = FIRST_PAUSE;
        loop {
            let status = self.ask("guest-exec-status", json!({"pid": pid}), answers::exec_status).await?;
            if let Some(result) = status {
                return Ok(result);
            }
            if Instant::now() + pause > ends {
                return Err(self.error("guest-exec", AgentFailure::Silent(command.deadline)));
            }
            let stop = self.stop().clone();
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return Err(self.error("guest-exec", AgentFailure::Cancelled)),
            }
            pause = (pause * 2).min(LAST_PAUSE);
        }
    }

    /// A file of the guest, up to `limit` bytes.
    ///
    /// # Errors
    /// [`AgentFailure::Refused`] when it is missing, [`AgentFailure::TooLong`] when it is larger.
    pub async fn read_file(&mut self, path: &str, limit: usize) -> Result<Vec<u8>, AgentError> {
        let handle = self.open(path, "r").await?;
        let read = self.read_all(handle, limit).await;
        let closed = self.close(handle).await;
        let bytes = read?;
        closed.map(|()| bytes)
    }

    /// Writes a file in the guest; an older one is replaced. Not at once: a reader may see a part of it.
    ///
    /// # Errors
    /// [`AgentFailure::Refused`] when the guest cannot open or write it; then a part may be written.
    pub async fn write_file(&mut self, path: &str, contents: &[u8]) -> Result<(), AgentError> {
        let handle = self.open(path, "w").await?;
        let written = self.write_all(handle, contents).await;
        let closed = self.close(handle).await;
        written.and(closed)
    }

    /// Asks the guest to go down. Returns when it has not refused; whether it goes down is the hypervisor's to see.
    ///
    /// # Errors
    /// [`AgentFailure::Refused`] when the guest says so.
    pub async fn shutdown(&mut self, mode: ShutdownMode) -> Result<(), AgentError> {
        let mode = match mode {
            ShutdownMode::PowerDown => "powerdown",
            ShutdownMode::Reboot => "reboot",
        };
        self.call_without_answer("guest-shutdown", json!({"mode": mode}), SHUTDOWN_GRACE).await
    }

    async fn ask<T>(
        &mut self,
        command: &str,
        arguments: Value,
        read: fn(Value) -> Result<T, AgentFailure>,
    ) -> Result<T, AgentError> {
        let value = self.call(command, arguments).await?;
        read(value).map_err(|failure| self.error(command, failure))
    }

    async fn allowed(&mut self, command: &str) -> Result<(), AgentError> {
        let allowed = self.info().await?.allows(command);
        if allowed { Ok(()) } else { Err(self.error(command, AgentFailure::Disabled)) }
    }

    async fn open(&mut self, path: &str, mode: &str) -> Result<i64, AgentError> {
        self.allowed("guest-file-open").await?;
        self.ask("guest-file-open", json!({"path": path, "mode": mode}), answers::read).await
    }

    async fn close(&mut self, handle: i64) -> Result<(), AgentError> {
        self.call("guest-file-close", json!({"handle": handle})).await.map(drop)
    }

    async fn read_all(&mut self, handle: i64, limit: usize) -> Result<Vec<u8>, AgentError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Piece {
            buf_b64: String,
            eof: bool,
        }
        let mut contents = Vec::new();
        loop {
            let arguments = json!({"handle": handle, "count": CHUNK});
            let piece: Piece = self.ask("guest-file-read", arguments, answers::read).await?;
            let bytes =
                answers::decode(&piece.buf_b64).map_err(|failure| self.error("guest-file-read", failure))?;
            contents.extend_from_slice(&bytes);
            if contents.len() > limit {
                return Err(self.error("guest-file-read", AgentFailure::TooLong { limit }));
            }
            // No bytes and no end would go on for ever; agents say the end with the last bytes or with none.
            if piece.eof || bytes.is_empty() {
                return Ok(contents);
            }
        }
    }

    async fn write_all(&mut self, handle: i64, contents: &[u8]) -> Result<(), AgentError> {
        #[derive(Deserialize)]
        struct Written {
            count: usize,
        }
        let mut left = contents;
        while !left.is_empty() {
            let piece = &left[..left.len().min(CHUNK)];
            let arguments = json!({"handle": handle, "buf-b64": answers::encode(piece)});
            let Written { count } = self.ask("guest-file-write", arguments, answers::read).await?;
            if count == 0 || count > piece.len() {
                let strange = AgentFailure::Malformed(format!("{count} of {} bytes written", piece.len()));
                return Err(self.error("guest-file-write", strange));
            }
            left = &left[count..];
        }
        Ok(())
    }
}

fn exec_arguments(command: &Exec) -> Value {
    let environment: Vec<String> =
        command.environment.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut arguments = json!({"path": command.program, "arg": command.arguments, "capture-output": true});
    // An empty list would take the environment away; without one the command has the agent's.
    if !environment.is_empty() {
        arguments["env"] = json!(environment);
    }
    if !command.input.is_empty() {
        arguments["input-data"] = json!(answers::encode(&command.input));
    }
    arguments
}
