//! The client against an honest agent and against hostile ones.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    fake::{self, Play, Reply},
    *,
};

const QUICK: Limits =
    Limits { connect: Duration::from_millis(500), answer: Duration::from_millis(300), line: 4 * 1024 * 1024 };

/// What it says to each question.
type Misbehaves = fn() -> Reply;

/// With a time that a busy computer keeps.
async fn connect_patiently(socket: &Path) -> Agent {
    Agent::connect_within(socket, Limits::default(), &CancellationToken::new()).await.unwrap()
}

async fn connect(socket: &Path) -> Result<Agent, AgentError> {
    Agent::connect_within(socket, QUICK, &CancellationToken::new()).await
}

fn cat(input: &[u8]) -> Exec {
    Exec {
        program: "cat".into(),
        arguments: vec![],
        environment: [].into(),
        input: input.to_vec(),
        deadline: Duration::from_secs(5),
    }
}

#[tokio::test]
async fn an_honest_agent_runs_commands_and_keeps_files() {
    let agent = fake::start(b"", fake::honest());
    let mut agent = connect_patiently(&agent.socket).await;
    agent.ping().await.unwrap();
    let result = agent.exec(&cat(b"a\0\xff\n")).await.unwrap();
    assert_eq!((result.code, result.stdout.as_slice()), (Some(3), &b"a\0\xff\n"[..]));
    let contents: Vec<u8> = (0..3_000_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    agent.write_file("/tmp/file", &contents).await.unwrap();
    assert!(agent.read_file("/tmp/file", 4_000_000).await.unwrap() == contents);
    let error = agent.read_file("/tmp/file", 1_000_000).await.unwrap_err();
    assert!(matches!(error.failure, AgentFailure::TooLong { limit: 1_000_000 }));
    agent.shutdown(ShutdownMode::PowerDown).await.unwrap();
    agent.ping().await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_client_left_behind_is_dropped() {
    let agent = fake::start(b"{\"return\": {\"old\": true}}\nhalf a li\xff{\"return\": 1}\n", fake::honest());
    connect_patiently(&agent.socket).await.ping().await.unwrap();
}

#[tokio::test]
async fn refusals_and_disabled_commands_are_told_apart() {
    let agent = fake::start(b"", fake::honest());
    let mut client = connect_patiently(&agent.socket).await;
    let missing = Exec { program: "missing".into(), ..cat(b"") };
    assert!(matches!(client.exec(&missing).await.unwrap_err().failure, AgentFailure::Refused { .. }));
    assert!(matches!(client.read_file("/none", 10).await.unwrap_err().failure, AgentFailure::Refused { .. }));
    client.ping().await.unwrap();

    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments, asked| match command {
        "guest-info" => Reply::Value(fake::info(&["guest-exec"])),
        "guest-exec" => panic!("a disabled command was asked for"),
        _ => honest(command, arguments, asked),
    });
    let agent = fake::start(b"", play);
    let error = connect_patiently(&agent.socket).await.exec(&cat(b"")).await.unwrap_err();
    assert!(matches!(error.failure, AgentFailure::Disabled));
    assert!(error.to_string().starts_with("call guest-exec of the guest agent at /"), "{error}");
}

#[tokio::test]
async fn a_call_that_was_given_up_does_not_spoil_the_next() {
    let mut honest = fake::honest();
    // The late answer to the lost ping comes together with the next synchronisation.
    let play: Play = Box::new(move |command, arguments, asked| match (command, asked) {
        ("guest-ping", 1) => Reply::Nothing,
        ("guest-sync-delimited", 2) => {
            let answer = format!("{{\"return\":{}}}\n", arguments["id"]);
            Reply::Raw([b"{\"return\":{}}\n\xff", answer.as_bytes()].concat())
        }
        _ => honest(command, arguments, asked),
    });
    let agent = fake::start(b"", play);
    let mut client = connect(&agent.socket).await.unwrap();
    assert!(matches!(client.ping().await.unwrap_err().failure, AgentFailure::Silent(_)));
    assert_eq!(client.info().await.unwrap().version, "7.2.19");
}

#[tokio::test]
async fn hostile_agents_end_in_an_error_and_in_time() {
    let hostile: [(&str, Misbehaves); 8] = [
        ("silent", || Reply::Nothing),
        ("closing", || Reply::Close),
        ("garbage", || Reply::Raw(b"\x00\xfe garbage\n".to_vec())),
        ("half a line", || Reply::Raw(b"{\"return\":".to_vec())),
        ("endless line", || Reply::Raw(vec![b'x'; 5 * 1024 * 1024])),
        ("wrong type", || Reply::Value(json!([[[]]]))),
        ("delimiters", || Reply::Raw(vec![0xff; 1_000_000])),
        ("empty lines", || Reply::Raw(vec![b'\n'; 1_000_000])),
    ];
    for (what, reply) in hostile {
        let mut honest = fake::honest();
        let play: Play = Box::new(move |command, arguments: &Value, asked| match asked {
            0 => honest(command, arguments, asked),
            _ => reply(),
        });
        let agent = fake::start(b"", play);
        let mut client = connect(&agent.socket).await.unwrap();
        let ended = timeout(Duration::from_secs(5), client.info()).await.unwrap();
        assert!(ended.is_err(), "{what}: {ended:?}");
        let play: Play = Box::new(move |_, _, _| reply());
        let agent = fake::start(b"", play);
        let ended = timeout(Duration::from_secs(5), connect(&agent.socket)).await.unwrap();
        assert!(ended.is_err(), "{what}: connected");
    }
}

#[tokio::test]
async fn deadlines_and_stops_end_a_command_that_does_not_end() {
    let agent = fake::start(b"", fake::honest());
    let stop = CancellationToken::new();
    let mut client = Agent::connect_within(&agent.socket, QUICK, &stop).await.unwrap();
    let sleep = Exec { program: "sleep".into(), deadline: Duration::from_millis(200), ..cat(b"") };
    assert!(matches!(client.exec(&sleep).await.unwrap_err().failure, AgentFailure::Silent(_)));
    let long = Exec { deadline: Duration::from_secs(60), ..sleep };
    let begun = Instant::now();
    let (ended, ()) = tokio::join!(client.exec(&long), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.cancel();
    });
    assert!(matches!(ended.unwrap_err().failure, AgentFailure::Cancelled));
    assert!(begun.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_missing_socket_is_an_error_with_its_path() {
    let error = connect(Path::new("/no/such/agent.sock")).await.unwrap_err();
    insta::assert_snapshot!(error, @"call connect of the guest agent at /no/such/agent.sock");
    assert!(matches!(error.failure, AgentFailure::Io(_)));
}

#[tokio::test]
async fn a_socket_behind_a_long_path_is_reached() {
    let agent = fake::start(b"", fake::honest());
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("d".repeat(120));
    fs_err::create_dir(&deep).unwrap();
    let long = deep.join("agent.sock");
    // The server could not bind such a path either; the socket is moved there.
    fs_err::rename(&agent.socket, &long).unwrap();
    connect_patiently(&long).await.ping().await.unwrap();
}
