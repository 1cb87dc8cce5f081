//! How a program is run whose streams we hold: as a process of this computer, which may be `ssh`, or by a machine's agent.

use std::{ffi::OsString, process::Stdio, sync::Arc};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, duplex},
    process::Child,
    task::JoinSet,
};
use winstead_engine::chain;
use winstead_guest::hand::{Hand, HandError, Streams};
use winstead_process::Command;

/// Between a program in a machine and whoever reads it here, as large as a pipe of Linux (pipe(7)).
const PIPE: usize = 64 << 10;

/// What is to be run, and by whom.
#[derive(Clone, Debug)]
pub(crate) enum Launch {
    /// By this computer.
    Process(Command),
    /// By a machine's agent.
    Agent(Arc<Hand>, Vec<OsString>),
}

impl From<Command> for Launch {
    fn from(command: Command) -> Self {
        Self::Process(command)
    }
}

/// A program that runs. Dropping it ends it: a process is killed, an agent asks its own to end first.
pub(crate) enum Running {
    Process(Child),
    Agent(JoinSet<Result<i32, HandError>>),
}

/// Our ends of its streams.
pub(crate) struct Ends {
    pub(crate) stdin: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(crate) stderr: Box<dyn AsyncRead + Send + Unpin>,
}

impl Launch {
    /// Starts it.
    ///
    /// # Errors
    /// When a process cannot be started; what an agent has against it is said by [`Running::wait`].
    pub(crate) fn start(&self) -> std::io::Result<(Running, Ends)> {
        match self {
            Self::Process(command) => process(command),
            Self::Agent(hand, words) => Ok(by_agent(Arc::clone(hand), words.clone())),
        }
    }
}

fn process(command: &Command) -> std::io::Result<(Running, Ends)> {
    let mut child = tokio::process::Command::from(command.interactive())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for us: programs and machines are told in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let missing = || std::io::Error::other("it has no standard streams");
    let ends = Ends {
        stdin: Box::new(child.stdin.take().ok_or_else(missing)?),
        stdout: Box::new(child.stdout.take().ok_or_else(missing)?),
        stderr: Box::new(child.stderr.take().ok_or_else(missing)?),
    };
    Ok((Running::Process(child), ends))
}

fn by_agent(hand: Arc<Hand>, words: Vec<OsString>) -> (Running, Ends) {
    let [(stdin, input), (stdout, output), (stderr, errors)]: [(DuplexStream, DuplexStream); 3] =
        std::array::from_fn(|_| duplex(PIPE));
    let mut task = JoinSet::new();
    task.spawn(async move { hand.exec(&words, Streams { input, output, errors }).await });
    let ends = Ends { stdin: Box::new(stdin), stdout: Box::new(stdout), stderr: Box::new(stderr) };
    (Running::Agent(task), ends)
}

impl Running {
    /// Waits for its end, and tells how it ended: `exit status: 1`.
    ///
    /// # Errors
    /// When that cannot be known.
    pub(crate) async fn wait(&mut self) -> Result<String, String> {
        match self {
            Self::Process(child) => {
                child.wait().await.map(|status| status.to_string()).map_err(|error| error.to_string())
            }
            Self::Agent(task) => match task.join_next().await {
                Some(Ok(Ok(code))) => Ok(format!("exit status: {code}")),
                Some(Ok(Err(error))) => Err(chain(&error)),
                Some(Err(error)) => Err(error.to_string()),
                None => Err("it has been waited for".to_owned()),
            },
        }
    }

    /// What tells a process of this computer and its children something later; `None` for a machine's.
    pub(crate) fn group(&self) -> Option<Group> {
        let Self::Process(child) = self else { return None };
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw).map(Group)
    }
}

/// A process with its children. Only for one that has not been waited for: its number is nobody else's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group(Pid);

impl Group {
    pub(crate) fn signal(self, signal: Signal) {
        if let Err(error) = kill_process_group(self.0, signal) {
            tracing::debug!(%error, "a program was not told to end");
        }
    }
}
