//! The agent on Windows, seen from outside: its pipe, its service. Under Wine these are run by `wine.rs`.

#![cfg(windows)]

mod certificates;

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use winstead_agent::{
    configuration::Source,
    serve::{Places, Settings, Signals, serve},
};
use winstead_agent_client::{Address, Connection, identity::Identity};
use winstead_protocol::v1::{FactsRequest, HelloRequest, HelloResponse, StatusRequest};

const PROGRAM: &str = env!("CARGO_BIN_EXE_winstead-agent");

/// An agent as a console program, ended with the test.
struct Agent {
    child: Child,
    pipe: String,
    _state: tempfile::TempDir,
}

impl Agent {
    #[expect(clippy::disallowed_methods, reason = "the program under test, ended when this is dropped")]
    fn start(name: &str) -> Self {
        let pipe = format!(r"\\.\pipe\winstead-test-{name}-{}", std::process::id());
        let mut command = Command::new(PROGRAM);
        let state = tempfile::tempdir().expect("a folder");
        command
            .args(["serve", "--runtime", &pipe, "--state"])
            .arg(state.path().join("state"))
            .stdin(Stdio::null());
        Self { child: command.spawn().expect("it starts"), pipe, _state: state }
    }
}

async fn connection(pipe: &str) -> Connection {
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        match Connection::open(&Address::Pipe(pipe.to_owned())).await {
            Ok(connection) => return connection,
            Err(error) if Instant::now() > until => panic!("{error:?}"),
            Err(_) => sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn hello(pipe: &str) -> HelloResponse {
    let connection = connection(pipe).await;
    let hello = HelloRequest { version: "test".to_owned() };
    connection.agent().hello(hello).await.expect("it answers").into_inner()
}

/// What `winstead-agent service` says, which must succeed.
#[expect(clippy::disallowed_methods, reason = "the program under test, whose end is waited for")]
fn service(arguments: &[&str]) -> String {
    let output = Command::new(PROGRAM).arg("service").args(arguments).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
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
    assert_eq!(hello(&agent.pipe).await.os, "windows");
}

#[tokio::test]
async fn an_agent_says_what_its_computer_is_ready_for() {
    let agent = Agent::start("facts");
    let connection = connection(&agent.pipe).await;
    let facts = connection.agent().facts(FactsRequest {}).await.expect("it answers").into_inner();
    let feature = |name: &str| facts.features.iter().find(|feature| feature.name == name);
    assert!(feature("system-drive-c").is_some_and(|feature| feature.present), "{facts:?}");
    assert!(feature("Containers").is_some_and(|feature| !feature.present), "Wine has none: {facts:?}");
    assert!(!facts.build.is_empty() && !facts.host_name.is_empty(), "{facts:?}");
}

fn settings(places: Places, files: Vec<PathBuf>) -> Settings {
    Settings { places, source: Source::Documents(files), program: PROGRAM.into() }
}

#[tokio::test]
async fn an_agent_ends_when_it_is_asked_to_whoever_is_connected() {
    let pipe = format!(r"\\.\pipe\winstead-test-end-{}", std::process::id());
    let (signals, state) = (Signals::default(), tempfile::tempdir().expect("a folder"));
    let places = Places { runtime: pipe.clone().into(), state: state.path().join("state") };
    let settings = settings(places, Vec::new());
    let asked = signals.clone();
    let agent = tokio::spawn(async move { serve(&settings, &asked).await });
    signals.ready.cancelled().await;
    hello(&pipe).await;
    let stays = connection(&pipe).await;
    signals.stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), agent).await.expect("it ends");
    ended.expect("without a panic").expect("without an error");
    drop(stays);
}

#[tokio::test]
async fn over_the_network_both_sides_show_certificates() {
    let (authority, other) = (certificates::Authority::new(), certificates::Authority::new());
    let own = authority.signs(&["127.0.0.1"]);
    let file = own.key.with_file_name("agent.yaml");
    let spec = certificates::door(&own, "");
    let document =
        format!("apiVersion: winstead.dev/v1alpha1\nkind: Agent\nmetadata: {{name: a}}\nspec: {spec}\n");
    fs_err::write(&file, document).expect("it is written");
    let pipe = format!(r"\\.\pipe\winstead-test-tcp-{}", std::process::id());
    let (signals, state) = (Signals::default(), tempfile::tempdir().expect("a folder"));
    let places = Places { runtime: pipe.clone().into(), state: state.path().join("state") };
    let settings = settings(places, vec![file]);
    let asked = signals.clone();
    let agent = tokio::spawn(async move { serve(&settings, &asked).await });
    let status =
        connection(&pipe).await.agent().status(StatusRequest {}).await.expect("we are administrators");
    let doors = status.into_inner().doors;
    let door = doors.iter().find(|door| door.name == "tcp").expect("it has that door");
    let place =
        |identity| Address::Tcp(format!("tcp://{}", door.address).parse().expect("a place"), identity);
    let good = Connection::open(&place(authority.signs(&["ann.example"]))).await.expect("she is let in");
    good.agent().hello(HelloRequest::default()).await.expect("it answers");
    let denied = good.agent().status(StatusRequest {}).await.expect_err("she is no administrator");
    assert_eq!(denied.message(), "asking for the agent's status is not allowed for ann.example (tcp)");
    let forged = Identity { authority: authority.certificate(), ..other.signs(&["ann.example"]) };
    Connection::open(&place(forged)).await.expect_err("another authority");
    signals.stop.cancel();
    drop(good);
    agent.await.expect("without a panic").expect("without an error");
}

/// Taken away also when its test fails.
struct Installed(&'static str);

impl Drop for Installed {
    fn drop(&mut self) {
        service(&["uninstall", "--name", self.0]);
    }
}

#[tokio::test]
async fn a_service_is_installed_started_asked_stopped_and_taken_away() {
    let name = "winstead-test";
    let pipe = r"\\.\pipe\winstead-test-service";
    let phase = || service(&["status", "--name", name, "-o", "json"]);
    assert!(phase().contains(r#""phase":"not-installed""#), "{}", phase());
    let installed = Installed(name);
    // A second time changes what is there.
    for _ in 0..2 {
        service(&["install", "--name", name, "--runtime", pipe]);
    }
    assert!(phase().contains(r#""phase":"stopped""#), "{}", phase());
    for _ in 0..2 {
        service(&["start", "--name", name]);
    }
    assert!(phase().contains(r#""phase":"running""#), "{}", phase());
    let first = hello(pipe).await;
    // Nothing here reads the pipe while it stops: such a client is cut off.
    service(&["stop", "--name", name]);
    assert!(phase().contains(r#""phase":"stopped""#), "{}", phase());
    Connection::open(&Address::Pipe(pipe.to_owned())).await.expect_err("nobody listens");
    service(&["start", "--name", name]);
    assert_ne!(hello(pipe).await.instance_id, first.instance_id);
    drop(installed);
    assert!(phase().contains(r#""phase":"not-installed""#), "{}", phase());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the program under test, whose end is waited for")]
fn the_selftest_says_of_each_item_what_came_of_it() {
    let output = Command::new(PROGRAM).args(["selftest", "-o", "json"]).output().expect("it starts");
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let items = said.as_array().expect("a list");
    let result = |name: &str| {
        let item = items.iter().find(|item| item["name"] == name).expect("an item");
        item["result"].as_str().expect("a word").to_owned()
    };
    assert_eq!(result("job end"), "passed", "{said:#}");
    // A real Windows passes or fails them; Wine can only skip them.
    assert_ne!(result("pipe rights"), "failed", "{said:#}");
    assert!(output.status.success(), "{said:#}");
}

#[tokio::test]
async fn a_service_that_cannot_serve_is_not_running() {
    let name = "winstead-test-broken";
    let _installed = Installed(name);
    service(&["install", "--name", name, "--runtime", r"\\.\no-pipe\at-all"]);
    let started = std::panic::catch_unwind(|| service(&["start", "--name", name]));
    assert!(started.is_err(), "it listens nowhere");
}
