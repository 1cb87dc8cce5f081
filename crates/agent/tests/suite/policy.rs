//! Who may do what: the documents, the decisions, the audit log.

use std::{os::unix::fs::PermissionsExt as _, time::Duration};

use serde_json::Value;
use tonic::Code;
use winstead_protocol::v1::{ClockRequest, PolicyStatus, StatusRequest};

use crate::common::{Agent, PATIENCE, document};

/// A policy that lets everybody at the local door ask for facts, if it lets anybody do anything.
fn policy(queries: &str) -> String {
    document(
        "AgentPolicy",
        &format!("{{rules: [{{name: ask, callers: [{{door: local}}], queries: {queries}}}]}}"),
    )
}

fn audit(agent: &Agent) -> Vec<Value> {
    let text = fs_err::read_to_string(agent.state().join("audit.jsonl")).expect("it is there");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

async fn clock(agent: &Agent) -> Result<(), tonic::Status> {
    agent.connect().await.agent().clock(ClockRequest {}).await.map(drop)
}

async fn policy_status(agent: &Agent) -> PolicyStatus {
    let status = agent.connect().await.agent().status(StatusRequest {}).await.expect("we are administrators");
    status.into_inner().policy.expect("it is told")
}

/// Lets the agent read its files again, and waits until it has.
async fn reloaded(agent: &Agent) -> PolicyStatus {
    let before = policy_status(agent).await;
    agent.signals.reload.notify_one();
    let changed = async {
        loop {
            let now = policy_status(agent).await;
            if now != before {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, changed).await.expect("it reads them")
}

#[tokio::test]
async fn a_policy_is_for_administrators_too_and_its_answers_are_written_down() {
    let agent = Agent::with(&policy("[]")).await;
    let refused = clock(&agent).await.expect_err("no rule allows it");
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(
        refused.message().starts_with("asking for facts of this computer is not allowed for "),
        "{refused}"
    );
    assert!(
        !refused.message().contains("ask ") && !refused.message().contains("does not allow"),
        "{refused}"
    );
    let lines = audit(&agent);
    let [line] = lines.as_slice() else { panic!("one line: {lines:?}") };
    assert_eq!(line["decision"], "denied");
    assert_eq!(line["nearest"]["rule"], "ask");
    assert_eq!(line["nearest"]["why"], "it does not allow this");
    assert_eq!(line["caller"]["process"]["pid"], std::process::id());
    let mode = fs_err::metadata(agent.state().join("audit.jsonl")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    agent.stop().await;
}

#[tokio::test]
async fn a_policy_is_read_again_when_that_is_asked_for_and_a_broken_one_is_not_followed() {
    let agent = Agent::with(&policy("[]")).await;
    clock(&agent).await.expect_err("no rule allows it");
    agent.rewrite(&policy("[host]"));
    let read = reloaded(&agent).await;
    assert_eq!((read.rules.as_slice(), read.problem.as_str()), (["ask".to_owned()].as_slice(), ""));
    clock(&agent).await.expect("it is allowed now");
    agent.rewrite(&policy("[hots]"));
    let read = reloaded(&agent).await;
    assert!(read.problem.contains("did you mean `host`?"), "{}", read.problem);
    clock(&agent).await.expect("the old policy still counts");
    agent.rewrite(&policy("[host]"));
    assert_eq!(reloaded(&agent).await.problem, "");
    agent.stop().await;
}

#[tokio::test]
async fn the_calling_program_counts_when_a_rule_names_it() {
    let mine = std::env::current_exe().expect("we know ourselves");
    let digest = sha256(&fs_err::read(mine).expect("it is readable"));
    let rule = |digest: &str| {
        let callers = format!("[{{door: local, program: '{digest}'}}]");
        document("AgentPolicy", &format!("{{rules: [{{name: me, callers: {callers}, all: true}}]}}"))
    };
    let agent = Agent::with(&rule(&digest)).await;
    clock(&agent).await.expect("it is us");
    agent.stop().await;
    let agent = Agent::with(&rule(&"0".repeat(64))).await;
    clock(&agent).await.expect_err("it is not us");
    assert_eq!(audit(&agent)[0]["nearest"]["why"], "its callers are another program");
    assert_eq!(audit(&agent)[0]["caller"]["process"]["sha256"], digest.as_str());
    agent.stop().await;
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    winstead_spec::Sha256::from(<[u8; 32]>::from(sha2::Sha256::digest(bytes))).hex().to_owned()
}
