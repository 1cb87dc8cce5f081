//! The agent on Windows, seen from outside: its pipe, its service. Under Wine these are run by `wine.rs`.

#![cfg(windows)]

use std::{
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use winstead_agent_client::{Address, Connection};
use winstead_protocol::v1::HelloRequest;

const PROGRAM: &str = env!("CARGO_BIN_EXE_winstead-agent");

/// An agent as a console program, ended with the test.
struct Agent {
    child: Child,
    pipe: String,
}

impl Agent {
    #[expect(clippy::disallowed_methods, reason = "the program under test, ended when this is dropped")]
    fn start(name: &str) -> Self {
        let pipe = format!(r"\\.\pipe\winstead-test-{name}-{}", std::process::id());
        let mut command = Command::new(PROGRAM);
        command.args(["serve", "--runtime", &pipe]).stdin(Stdio::null());
        Self { child: command.spawn().expect("it starts"), pipe }
    }

    async fn connection(&self) -> Connection {
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            match Connection::open(&Address::Pipe(self.pipe.clone())).await {
                Ok(connection) => return connection,
                Err(error) if Instant::now() > until => panic!("{error:?}"),
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ended");
    }
}

#[tokio::test]
async fn an_agent_says_over_its_pipe_who_it_is() {
    let agent = Agent::start("hello");
    let connection = agent.connection().await;
    let hello =
        connection.agent().hello(HelloRequest { version: "test".to_owned() }).await.expect("it answers");
    assert_eq!(hello.get_ref().os, "windows");
}
