//! Who comes in, and how many.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use winstead_agent::serve::{Places, Signals, serve};
use winstead_protocol::v1::HelloRequest;

use crate::common::{Agent, PATIENCE, document, settings};

async fn raw(agent: &Agent) -> UnixStream {
    UnixStream::connect(agent.runtime().join("agent.sock")).await.expect("it listens")
}

/// All that the agent says until it hangs up.
async fn said(stream: &mut UnixStream) -> Vec<u8> {
    let mut said = Vec::new();
    let all = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut said)).await;
    // Reset or closed: it has hung up.
    _ = all.expect("it hangs up in time");
    said
}

#[tokio::test]
async fn whoever_finds_no_seat_is_told_and_the_next_one_gets_the_seat_that_is_free_again() {
    let agent = Agent::with(&document("Agent", "{limits: {clients: 2}}")).await;
    let (one, two) = (agent.connect().await, agent.connect().await);
    for connection in [&one, &two] {
        connection.agent().hello(HelloRequest::default()).await.expect("there is a seat");
    }
    let told = said(&mut raw(&agent).await).await;
    assert!(told.ends_with(b"too many clients"), "{told:?}");
    drop(one);
    let again = async {
        while agent.connect().await.agent().hello(HelloRequest::default()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("the seat is free again");
    drop(two);
    agent.stop().await;
}

#[tokio::test]
async fn half_a_greeting_does_not_hold_a_seat() {
    let agent = Agent::with(&document("Agent", "{limits: {clients: 1, handshake: 200ms}}")).await;
    let mut silent = raw(&agent).await;
    silent.write_all(b"PRI * HTTP/2.0\r\n").await.expect("it reads");
    said(&mut silent).await;
    agent.connect().await.agent().hello(HelloRequest::default()).await.expect("there is a seat");
    agent.stop().await;
}

#[tokio::test]
async fn a_thousand_clients_at_once_are_all_answered() {
    let agent = Agent::start().await;
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let address = agent.address();
        clients.spawn(async move {
            let connection = winstead_agent_client::Connection::open(&address).await?;
            let answer = connection.agent().hello(HelloRequest::default()).await;
            Ok::<_, winstead_agent_client::ConnectError>(answer.is_ok())
        });
    }
    let mut answered = 0;
    while let Some(client) = tokio::time::timeout(PATIENCE, clients.join_next()).await.expect("in time") {
        answered += u32::from(client.expect("it does not panic").expect("it connects"));
    }
    assert_eq!(answered, 1000);
    agent.stop().await;
}

#[tokio::test]
async fn the_door_of_a_group_is_for_administrators_and_that_group() {
    let gid = rustix::process::getegid().as_raw();
    let agent = Agent::with(&document("Agent", &format!("{{doors: {{local: {{group: '{gid}'}}}}}}"))).await;
    let found = fs_err::metadata(agent.runtime().join("agent.sock")).expect("it is there");
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    assert_eq!(std::os::unix::fs::MetadataExt::gid(&found), gid);
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_does_not_start_where_others_may_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let places = Places { runtime: folder.path().join("run"), state: folder.path().join("state") };
    fs_err::create_dir(&places.state).expect("it is made");
    fs_err::set_permissions(&places.state, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
    let by_default = settings(places.clone(), Vec::new());
    let refused = serve(&by_default, &Signals::default()).await.expect_err("others may write there");
    assert_eq!(refused.to_string(), format!("lock down {}", places.state.display()));
    let file = folder.path().join("agent.yaml");
    fs_err::write(&file, document("Agent", "{}")).expect("it is written");
    fs_err::set_permissions(&file, std::fs::Permissions::from_mode(0o666)).expect("it is ours");
    let settings = settings(places, vec![file]);
    let refused = serve(&settings, &Signals::default()).await.expect_err("others may change it");
    assert_eq!(refused.to_string(), "trust the configuration");
}

#[tokio::test]
async fn a_second_agent_takes_nothing_from_the_first_one() {
    let agent = Agent::start().await;
    // What the first one may be about to start: whoever takes processes over removes it.
    let begun = agent.state().join("processes/begun");
    fs_err::create_dir(&begun).expect("it is made");
    let places = Places { runtime: agent.runtime(), state: agent.state() };
    let refused =
        serve(&settings(places, Vec::new()), &Signals::default()).await.expect_err("one is there already");
    assert_eq!(refused.to_string(), format!("listen at {}", agent.runtime().join("agent.sock").display()));
    assert!(begun.exists());
    agent.stop().await;
}

#[tokio::test]
async fn an_agent_promises_no_firewall_rules_where_it_makes_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let places = Places { runtime: folder.path().join("run"), state: folder.path().join("state") };
    let path = folder.path().join("agent.yaml");
    let settings = settings(places, vec![path.clone()]);
    let signals = Signals::default();
    signals.stop.cancel();
    let told = |spec: &str| fs_err::write(&path, document("Agent", spec)).expect("it is written");
    told("{firewall: true}");
    let refused = serve(&settings, &signals).await.expect_err("there are none");
    assert_eq!(
        refused.to_string(),
        "make firewall rules, as `firewall: true` says: on this system it makes none"
    );
    told("{firewall: false}");
    serve(&settings, &signals).await.expect("it promises nothing");
}

#[tokio::test]
async fn a_door_may_be_elsewhere_but_not_where_others_may_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let (open, closed) = (folder.path().join("open"), folder.path().join("closed"));
    for (folder, mode) in [(&open, 0o1777), (&closed, 0o755)] {
        fs_err::create_dir(folder).expect("it is made");
        fs_err::set_permissions(folder, std::fs::Permissions::from_mode(mode)).expect("it is ours");
    }
    let places = Places { runtime: folder.path().join("run"), state: folder.path().join("state") };
    let path = folder.path().join("agent.yaml");
    let settings = settings(places, vec![path.clone()]);
    let file = |folder: &std::path::Path| {
        let spec = format!("{{doors: {{local: {{path: {}/x.sock}}}}}}", folder.display());
        fs_err::write(&path, document("Agent", &spec)).expect("it is written");
    };
    file(&open);
    let refused = serve(&settings, &Signals::default()).await.expect_err("others may write there");
    assert_eq!(refused.to_string(), format!("listen at {}/x.sock", open.display()));
    file(&closed);
    let signals = Signals::default();
    signals.stop.cancel();
    serve(&settings, &signals).await.expect("it opens its door and ends");
    assert!(!closed.join("x.sock").exists(), "the socket goes with its agent");
}
