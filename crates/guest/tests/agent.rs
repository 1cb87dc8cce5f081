//! Our client against the real guest agent, which listens on a socket of its own here.
//!
//! Needs `qemu-ga`, in `/usr/sbin` or where `WINSTEAD_TEST_QEMU_GA` says. Nothing here shuts anything down.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_guest::agent::{Agent, AgentError, Limits};
use winstead_process::Command;

#[expect(clippy::disallowed_macros, reason = "the test runner counts this line as a skipped test")]
fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
}

struct Guest {
    folder: TempDir,
    process: tokio::process::Child,
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.process.start_kill());
    }
}

fn qemu_ga() -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "tests may be told where the agent is")]
    let named = std::env::var("WINSTEAD_TEST_QEMU_GA").ok();
    Some(PathBuf::from(named.unwrap_or_else(|| "/usr/sbin/qemu-ga".into()))).filter(|path| path.exists())
}

fn start(program: &Path) -> Guest {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
    let command = Command::new(program).args(["-m", "unix-listen", "-b", "guest-get-time", "-p"]);
    let command = command.arg(at("sock")).arg("-t").arg(folder.path()).arg("-f").arg(at("pid"));
    let process = command.start_detached(&log).unwrap();
    Guest { folder, process }
}

async fn connect(guest: &Guest) -> Result<Agent, AgentError> {
    let socket = guest.folder.path().join("sock");
    for _ in 0..100 {
        if socket.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Agent::connect_within(&socket, Limits::default(), &CancellationToken::new()).await
}

#[tokio::test]
async fn the_real_agent_answers_all_that_we_ask() {
    let Some(program) = qemu_ga() else { return skip("qemu-ga is not installed") };
    let guest = start(&program);
    let mut agent = connect(&guest).await.unwrap();
    agent.ping().await.unwrap();
    let info = agent.info().await.unwrap();
    assert!(info.allows("guest-exec") && !info.allows("guest-get-time"), "{info:?}");
    let cards = agent.network_interfaces().await.unwrap();
    assert!(cards.iter().any(|card| card.name == "lo" && !card.addresses.is_empty()), "{cards:?}");
    agent.ping().await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_after_one_that_died_in_half_a_line_gets_into_step() {
    use tokio::io::AsyncWriteExt;
    let Some(program) = qemu_ga() else { return skip("qemu-ga is not installed") };
    let guest = start(&program);
    connect(&guest).await.unwrap().ping().await.unwrap();
    let mut dying = tokio::net::UnixStream::connect(guest.folder.path().join("sock")).await.unwrap();
    // Without a whole question: on a socket of its own (QEMU is not between), the agent ends by SIGPIPE when nobody
    // takes its answer.
    dying.write_all(b"{\"execute\": \"gue").await.unwrap();
    drop(dying);
    connect(&guest).await.unwrap().ping().await.unwrap();
}
