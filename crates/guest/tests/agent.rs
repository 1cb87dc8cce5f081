//! Our client against the real guest agent, which listens on a socket of its own here.
//!
//! `qemu-ga` is the one that `WINSTEAD_TEST_QEMU_GA` names, the installed one, or one that is unpacked for the test.
//! Nothing here shuts anything down.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::time::Duration;

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use winstead_guest::agent::{Agent, AgentError, Limits};
use winstead_process::Command;
use winstead_testing::{Program, lab_folder, program_or_skip};

struct Guest {
    folder: TempDir,
    process: tokio::process::Child,
}

impl Drop for Guest {
    fn drop(&mut self) {
        drop(self.process.start_kill());
    }
}

async fn qemu_ga() -> Option<Program> {
    #[expect(clippy::disallowed_methods, reason = "tests may be told where the agent is")]
    match std::env::var("WINSTEAD_TEST_QEMU_GA") {
        Ok(named) => Some(Program::installed(named)),
        Err(_) => program_or_skip(&lab_folder(), "usr/sbin/qemu-ga").await,
    }
}

fn start(program: &Program) -> Guest {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let log = std::fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
    let command = Command::new(&program.path).args(["-m", "unix-listen", "-b", "guest-get-time", "-p"]);
    let command = command.arg(at("sock")).arg("-t").arg(folder.path()).arg("-f").arg(at("pid"));
    let process = program.with_libraries(command).start_detached(&log).unwrap();
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
    let Some(program) = qemu_ga().await else { return };
    let guest = start(&program);
    let mut agent = connect(&guest).await.unwrap();
    agent.ping().await.unwrap();
    let info = agent.info().await.unwrap();
    assert!(info.allows("guest-exec") && !info.allows("guest-get-time"), "{info:?}");
    let cards = agent.network_interfaces().await.unwrap();
    assert!(cards.iter().any(|card| card.name == "lo" && !card.addresses.is_empty()), "{cards:?}");
    let script = "read line; echo \"got $line\"; echo failed >&2; exit 7";
    let ended = agent.run("/bin/sh", &["-c", script], b"a secret\n", Duration::from_secs(20)).await.unwrap();
    assert_eq!(
        (ended.code, ended.output.as_slice(), ended.errors.as_slice()),
        (Some(7), &b"got a secret\n"[..], &b"failed\n"[..])
    );
    let killed = agent.run("/bin/sh", &["-c", "kill -9 $$"], b"", Duration::from_secs(20)).await.unwrap();
    assert_eq!(killed.code, None);
    agent.ping().await.unwrap();
}

#[tokio::test]
async fn a_client_that_comes_after_one_that_died_in_half_a_line_gets_into_step() {
    use tokio::io::AsyncWriteExt;
    let Some(program) = qemu_ga().await else { return };
    let guest = start(&program);
    connect(&guest).await.unwrap().ping().await.unwrap();
    let mut dying = tokio::net::UnixStream::connect(guest.folder.path().join("sock")).await.unwrap();
    // Without a whole question: on a socket of its own (QEMU is not between), the agent ends by SIGPIPE when nobody
    // takes its answer.
    dying.write_all(b"{\"execute\": \"gue").await.unwrap();
    drop(dying);
    connect(&guest).await.unwrap().ping().await.unwrap();
}
