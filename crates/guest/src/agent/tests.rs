//! The client against an honest agent and against hostile ones.

use std::{future::poll_fn, path::Path, pin::pin, task::Poll, time::Duration};

use proptest::{prelude::*, sample::select};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::UnixStream, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    fake::{self, Play, Reply},
    *,
};

/// With times that a busy computer keeps: for answers that must come.
const PATIENT: Limits =
    Limits { connect: Duration::from_secs(10), answer: Duration::from_secs(10), line: 4096 };
/// For answers that must not come.
const QUICK: Duration = Duration::from_millis(300);
/// Longer than anything takes that ends.
const FOR_EVER: Duration = Duration::from_secs(60);

/// What it says to each question.
type Misbehaves = fn() -> Reply;

async fn connect(socket: &Path, limits: Limits) -> Result<Agent, AgentError> {
    Agent::connect_within(socket, limits, &CancellationToken::new()).await
}

async fn connect_patiently(socket: &Path) -> Agent {
    connect(socket, PATIENT).await.unwrap()
}

#[tokio::test]
async fn an_honest_agent_tells_of_itself() {
    let agent = fake::start(b"", fake::honest());
    let mut agent = connect_patiently(&agent.socket).await;
    agent.ping().await.unwrap();
    assert_eq!(agent.network_interfaces().await.unwrap()[0].name, "lo");
    agent.ping().await.unwrap();
}

#[tokio::test]
async fn a_program_is_run_and_waited_for() {
    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments, asked| match command {
        "guest-exec" => {
            assert_eq!((&arguments["path"], &arguments["input-data"]), (&json!("/bin/x"), &json!("aW4=")));
            honest(command, arguments, asked)
        }
        "guest-exec-status" if asked < 4 => Reply::Value(json!({"exited": false})),
        _ => honest(command, arguments, asked),
    });
    let agent = fake::start(b"", play);
    let mut client = connect_patiently(&agent.socket).await;
    let ended = client.run("/bin/x", &["-a"], b"in", FOR_EVER).await.unwrap();
    assert_eq!(ended, Ended { code: Some(3), output: b"hi".to_vec(), errors: Vec::new() });
    assert_eq!(client.time().await.unwrap(), 1_000_000_000);
}

#[tokio::test]
async fn a_program_that_never_ends_is_given_up() {
    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments, asked| match command {
        "guest-exec-status" => Reply::Value(json!({"exited": false})),
        _ => honest(command, arguments, asked),
    });
    let agent = fake::start(b"", play);
    let mut client = connect_patiently(&agent.socket).await;
    let error = client.run("/bin/x", &[], b"", QUICK).await.unwrap_err();
    assert!(matches!(error.failure, AgentFailure::Silent(limit) if limit == QUICK), "{error:?}");
    client.ping().await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_client_left_behind_is_dropped() {
    let agent = fake::start(b"{\"return\": {\"old\": true}}\nhalf a li\xff{\"return\": 1}\n", fake::honest());
    connect_patiently(&agent.socket).await.ping().await.unwrap();
}

#[tokio::test]
async fn refusals_and_disabled_commands_are_told_apart() {
    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments, asked| match command {
        "guest-ping" if asked == 1 => Reply::Refuse("GenericError", "not now"),
        _ => honest(command, arguments, asked),
    });
    let agent = fake::start(b"", play);
    let mut client = connect_patiently(&agent.socket).await;
    assert!(matches!(client.ping().await.unwrap_err().failure, AgentFailure::Refused { .. }));
    client.ping().await.unwrap();

    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments, asked| match command {
        "guest-info" => Reply::Value(fake::info(&["guest-network-get-interfaces"])),
        "guest-network-get-interfaces" => panic!("a disabled command was asked for"),
        _ => honest(command, arguments, asked),
    });
    let agent = fake::start(b"", play);
    let error = connect_patiently(&agent.socket).await.network_interfaces().await.unwrap_err();
    assert!(matches!(error.failure, AgentFailure::Disabled));
    assert!(
        error.to_string().starts_with("call guest-network-get-interfaces of the guest agent at /"),
        "{error}"
    );
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
    let mut client = connect_patiently(&agent.socket).await;
    timeout(QUICK, client.ping()).await.unwrap_err();
    assert_eq!(client.info().await.unwrap().version, "7.2.19");
}

#[tokio::test]
async fn hostile_agents_end_in_an_error_and_in_time() {
    let hostile: [(&str, Misbehaves); 9] = [
        ("silent", || Reply::Nothing),
        ("closing", || Reply::Close),
        ("garbage", || Reply::Raw(b"\x00\xfe garbage\n".to_vec())),
        ("half a line", || Reply::Raw(b"{\"return\":".to_vec())),
        ("endless line", || Reply::Raw(vec![b'x'; 5 * 1024 * 1024])),
        ("wrong type", || Reply::Value(json!([[[]]]))),
        ("empty objects", || {
            Reply::Raw([b"{\"return\":[", "{},".repeat(300_000).as_bytes(), b"{}]}\n"].concat())
        }),
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
        let mut client = connect(&agent.socket, Limits { answer: QUICK, ..Limits::default() }).await.unwrap();
        let ended = timeout(FOR_EVER, client.info()).await.unwrap().unwrap_err();
        let long =
            matches!(ended.failure, AgentFailure::TooLong { limit: 1_048_576 } | AgentFailure::Silent(_));
        assert!(what != "endless line" || long, "{ended:?}");
        let play: Play = Box::new(move |_, _, _| reply());
        let agent = fake::start(b"", play);
        let limits = Limits { connect: QUICK, ..PATIENT };
        let ended = timeout(FOR_EVER, connect(&agent.socket, limits)).await.unwrap();
        assert!(ended.is_err(), "{what}: connected");
    }
}

#[tokio::test]
async fn a_stop_ends_a_question_that_nobody_answers() {
    let mut honest = fake::honest();
    let play: Play = Box::new(move |command, arguments: &Value, asked| match asked {
        0 => honest(command, arguments, asked),
        _ => Reply::Nothing,
    });
    let agent = fake::start(b"", play);
    let stop = CancellationToken::new();
    let limits = Limits { answer: FOR_EVER * 10, ..PATIENT };
    let mut client = Agent::connect_within(&agent.socket, limits, &stop).await.unwrap();
    let (ended, ()) = tokio::join!(timeout(FOR_EVER, client.ping()), async { stop.cancel() });
    assert!(matches!(ended.unwrap().unwrap_err().failure, AgentFailure::Cancelled));
}

#[tokio::test]
async fn a_flood_that_has_come_already_keeps_nobody_waiting() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    theirs.write_all(&[0xff; 10_000]).await.unwrap();
    theirs.shutdown().await.unwrap();
    let mut agent = Agent::over(ours, Path::new("/flood"), PATIENT, &CancellationToken::new());
    let mut asking = pin!(agent.ping());
    let mut polls = 0;
    while poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_pending())).await {
        polls += 1;
        tokio::task::yield_now().await;
    }
    assert!(polls > 20, "others had a turn only {polls} times");
}

/// What a peer sends; the agent's own words among it, so that a conversation gets far.
fn pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let id = std::process::id().wrapping_mul(1009).wrapping_add(1);
    let in_step = format!("{{\"return\":{id}}}\n").into_bytes();
    let words = vec![
        [&[0xff], &in_step[..]].concat(),
        b"{\"return\":{}}\n".to_vec(),
        b"{\"return\":{\"version\":\"9\",\"supported_commands\":[{\"name\":\"guest-network-get-interfaces\",\"enabled\":true}]}}\n"
            .to_vec(),
        b"{\"return\":[{\"name\":\"lo\"}]}\n".to_vec(),
        b"{\"error\":{\"class\":\"a\",\"desc\":\"b\"}}\n".to_vec(),
        b"{\"return\":".to_vec(),
        b"\n".to_vec(),
    ];
    let piece = prop_oneof![4 => select(words), 1 => prop::collection::vec(any::<u8>(), 0..6000)];
    prop::collection::vec(piece, 0..8)
}

proptest! {
    #[test]
    fn no_peer_panics_us_and_each_call_ends(pieces in pieces()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = UnixStream::pair().unwrap();
            let peer = async {
                for piece in pieces {
                    // Whoever was sent too long a line is gone already.
                    drop(theirs.write_all(&piece).await);
                    tokio::task::yield_now().await;
                }
                theirs.shutdown().await
            };
            let client = async {
                let mut agent = Agent::over(ours, Path::new("/fuzz"), PATIENT, &CancellationToken::new());
                drop((agent.ping().await, agent.network_interfaces().await, agent.info().await));
            };
            timeout(FOR_EVER, async { tokio::join!(peer, client) }).await.unwrap().0.ok();
        });
    }
}

#[tokio::test]
async fn a_missing_socket_is_an_error_with_its_path() {
    let error = connect(Path::new("/no/such/agent.sock"), PATIENT).await.unwrap_err();
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
