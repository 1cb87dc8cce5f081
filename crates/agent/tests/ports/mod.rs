//! Ports that a program opens, by the command line and the policy: the same on both systems, but for the firewall, which is
//! Windows' alone.

use serde_json::Value;

use crate::daemon::{Daemon, PROGRAM};

/// This very program. Wine's tests know it by its path on Linux.
fn program() -> String {
    std::path::absolute(PROGRAM).expect("a path").display().to_string()
}

/// A daemon that lets administrators run this very program, with some ports.
async fn daemon() -> Daemon {
    let folder = tempfile::tempdir().expect("a folder");
    let run = format!("[{{path: '{}', arguments: [--version], ports: [tcp/8000-8010, udp/53]}}]", program());
    let rule = format!("{{name: web, callers: [{{administrator: true}}], run: {run}}}");
    let document = format!(
        "apiVersion: winstead.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {{name: test}}\nspec: {{rules: [{rule}]}}\n"
    );
    fs_err::write(folder.path().join("agent.yaml"), document).expect("it is written");
    Daemon::start_in(folder).await
}

/// How it ended, and what it complained of.
fn run(daemon: &Daemon, ports: &[&str]) -> (Option<i32>, String) {
    let program = program();
    let ports = ports.iter().flat_map(|port| ["--port", port]);
    let words: Vec<&str> = ["run"].into_iter().chain(ports).chain(["--", &program, "--version"]).collect();
    let output = daemon.run(&words);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn ports_of_a_program_are_asked_for_decided_and_known() {
    let daemon = daemon().await;
    assert_eq!(run(&daemon, &["tcp/8001", "udp/53", "tcp/8000"]), (Some(0), String::new()));
    let listed: Value = serde_json::from_slice(&daemon.run(&["ps", "-o", "json"]).stdout).expect("JSON");
    assert_eq!(listed[0]["ports"], serde_json::json!(["tcp/8000-8001", "udp/53"]));
    let (code, said) = run(&daemon, &["tcp/8000", "tcp/80"]);
    assert!(code == Some(255) && said.contains("is not allowed"), "{said}");
    let audit = fs_err::read_to_string(daemon.folder.path().join("audit.jsonl")).expect("it is there");
    let last: Value = serde_json::from_str(audit.lines().last().expect("a line")).expect("JSON");
    assert_eq!(last["nearest"]["why"], "it does not name one of the ports");
    assert_eq!(last["request"]["ports"], serde_json::json!(["tcp/80", "tcp/8000"]));
    let (code, said) = run(&daemon, &["8000"]);
    assert!(code == Some(2) && said.contains("names no ports"), "{said}");
    daemon.end().await;
}
