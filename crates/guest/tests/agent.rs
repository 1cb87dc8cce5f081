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
use winstead_guest::agent::{Agent, AgentError, AgentFailure, Exec, Limits};
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

fn sh(script: &str, input: &[u8], limit: Duration) -> Exec {
    Exec {
        program: "sh".into(),
        arguments: vec!["-c".into(), script.into()],
        environment: [].into(),
        input: input.to_vec(),
        deadline: limit,
    }
}

#[tokio::test]
async fn the_real_agent_answers_all_that_we_ask() {
    let Some(program) = qemu_ga() else { return skip("qemu-ga is not installed") };
    let guest = start(&program);
    let mut agent = connect(&guest).await.unwrap();
    agent.ping().await.unwrap();
    let info = agent.info().await.unwrap();
    assert!(info.allows("guest-exec") && !info.allows("guest-get-time"), "{info:?}");
    assert_eq!(agent.osinfo().await.unwrap().machine.as_deref(), Some("x86_64"));
    let cards = agent.network_interfaces().await.unwrap();
    assert!(cards.iter().any(|card| card.name == "lo" && !card.addresses.is_empty()), "{cards:?}");

    let limit = Duration::from_secs(20);
    let bytes: Vec<u8> = (0..500_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let result = agent.exec(&sh("cat; echo oh >&2; exit 7", &bytes, limit)).await.unwrap();
    assert!(result.stdout == bytes);
    assert_eq!((result.code, result.stderr.as_slice()), (Some(7), &b"oh\n"[..]));
    let killed = agent.exec(&sh("kill -9 $$", b"", limit)).await.unwrap();
    assert_eq!((killed.code, killed.signal), (None, Some(9)));
    let missing = Exec { program: "no-such-program".into(), ..sh("", b"", limit) };
    assert!(matches!(agent.exec(&missing).await.unwrap_err().failure, AgentFailure::Refused { .. }));
    let long = agent.exec(&sh("exec sleep 2", b"", Duration::from_millis(100))).await.unwrap_err();
    assert!(matches!(long.failure, AgentFailure::Silent(_)), "{long:?}");

    let path = guest.folder.path().join("a file").display().to_string();
    let large = bytes.repeat(6);
    agent.write_file(&path, &large).await.unwrap();
    assert!(agent.read_file(&path, large.len()).await.unwrap() == large);
    let error = agent.read_file(&path, 1000).await.unwrap_err();
    assert!(matches!(error.failure, AgentFailure::TooLong { limit: 1000 }));
    assert!(agent.read_file("/no/such/file", 1000).await.is_err());
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
