//! The agent's own protocol over its Unix socket.

#![cfg(unix)]

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_agent::serve::{Places, serve};
use winstead_agent_client::{Address, Connection};
use winstead_protocol::v1::HelloRequest;

/// An agent of a test's own.
struct Agent {
    _folder: TempDir,
    address: Address,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Agent {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let places = Places { runtime: folder.path().to_owned(), state: folder.path().to_owned() };
        let path = folder.path().join("agent.sock");
        let address = Address::Unix(path.clone());
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let task = tokio::spawn(async move { serve(&places, &asked).await.expect("it serves") });
        while !path.exists() {
            tokio::task::yield_now().await;
        }
        Self { _folder: folder, address, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }
}

#[tokio::test]
async fn an_agent_says_who_it_is() {
    let agent = Agent::start().await;
    let connection = Connection::open(&agent.address).await.expect("it listens");
    let hello =
        connection.agent().hello(HelloRequest { version: "test".to_owned() }).await.expect("it answers");
    assert_eq!(hello.get_ref().os, "linux");
    drop(connection);
    agent.stop().await;
}
