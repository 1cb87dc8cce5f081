//! A daemon of a test's own, as a process of its own: what it runs outlives it.

use std::{
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use winstead_agent_client::{Address, Connection};

use crate::place;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_winstead-agent");
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon of a test's own.
pub(crate) struct Daemon {
    pub(crate) folder: TempDir,
    pub(crate) child: Child,
    pub(crate) address: Address,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the daemon under test, and its command line, as a user starts them"
)]
pub(crate) fn command() -> Command {
    Command::new(PROGRAM)
}

impl Daemon {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().expect("a folder")).await
    }

    /// By the documents in the folder's `agent.yaml`, if there is one.
    pub(crate) async fn start_in(folder: TempDir) -> Self {
        let (_, address) = place::agent(folder.path(), "run");
        let daemon = Self { child: spawn(&folder), folder, address };
        daemon.connect().await;
        daemon
    }

    pub(crate) async fn connect(&self) -> Connection {
        let until = Instant::now() + PATIENCE;
        loop {
            match Connection::open(&self.address).await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As `kill -9` and the Task Manager end it: it can do nothing about it.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("it runs, or ran");
        self.child.wait().expect("it was killed");
    }

    /// Another one in its place.
    pub(crate) async fn start_again(&mut self) -> Connection {
        self.child = spawn(&self.folder);
        self.connect().await
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command();
        let (first, rest) = arguments.split_first().expect("a command");
        command.arg(first).arg("--address").arg(self.address.to_string()).args(rest).stdin(Stdio::null());
        command.output().expect("it runs")
    }

    /// Ends everything that is left, so that nothing outlives the test.
    pub(crate) async fn end(self) {
        let connection = self.connect().await;
        for process in connection.list_processes().await.expect("a list") {
            connection.stop(&process.id, Duration::ZERO).await.expect("it ends");
            connection.remove(&process.id).await.expect("it is over");
        }
    }
}

fn spawn(folder: &TempDir) -> Child {
    let (mut command, (runtime, _)) = (command(), place::agent(folder.path(), "run"));
    command.arg("serve").arg("--runtime").arg(runtime).arg("--state").arg(folder.path());
    let documents = folder.path().join("agent.yaml");
    if documents.exists() {
        command.arg("-f").arg(documents);
    }
    command.stdin(Stdio::null()).spawn().expect("it starts")
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
