//! The commands, as one types them.

use std::path::{Path, PathBuf};

use assert_cmd::Command;

use crate::common::{Agent, document};

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/agent.yaml")
}

/// What a command prints, and behind it what it complains of and how it ends if that is not well.
fn said(arguments: &[&str]) -> String {
    let mut command = Command::cargo_bin("winstead-agent").expect("it is built");
    let output = command.env_clear().args(arguments).output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    let code = match output.status.code() {
        Some(0) => String::new(),
        code => format!("exit code {}\n", code.unwrap_or(-1)),
    };
    text(output.stdout) + &text(output.stderr) + &code
}

fn path(path: &Path) -> &str {
    path.to_str().expect("it is text")
}

#[test]
fn a_policy_is_told_in_words() {
    let example = example();
    insta::assert_snapshot!(said(&["policy", "check", path(&example)]), @"
    at local, administrator:
      everything (administrators)
    at local, in /kubepods.slice/**:
      run sha256:0263829989b6, with `--web.listen-address *`, setting TZ, HTTP_*, as nobody, at most 200 MiB, at most 16 processes, at most 500/1000 CPUs, opening tcp/9100 (node-exporter)
      open tunnels to tcp/localhost:9100 (node-exporter)
      ask for host, network (node-exporter)
    at local, group adm, outside of containers:
      read /var/log/** (logs)
    everybody else: nothing
    ");
}

#[test]
fn a_policy_that_is_wrong_is_told_with_its_places() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.yaml");
    fs_err::write(&file, document("AgentPolicy", "{rules: [{name: a, calers: []}]}")).expect("it is written");
    let said = said(&["policy", "check", path(&file)]).replace(path(folder.path()), "FOLDER");
    insta::assert_snapshot!(said, @"
    FOLDER/policy.yaml:5:26: spec.rules[0].calers: unknown key; did you mean `callers`?
    exit code 2
    ");
}

#[test]
fn what_to_think_about_again_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.yaml");
    let run = "[{path: /bin/sh, arguments: ['**'], environment: [PATH]}]";
    let rule = format!("{{rules: [{{name: shell, callers: [{{door: local, group: wheel}}], run: {run}}}]}}");
    fs_err::write(&file, document("AgentPolicy", &rule)).expect("it is written");
    insta::assert_snapshot!(said(&["policy", "check", path(&file)]), @"
    at local, group wheel:
      run /bin/sh, with `**`, setting PATH (shell)
    everybody else: nothing
    warning: shell: wheel: is meant in containers too, where it may be somebody else; `container: none` is the host alone
    warning: shell: /bin/sh: whoever may replace that file runs anything by this rule; name its `sha256`
    warning: shell: /bin/sh: with arguments of the caller's choice it is any program
    warning: shell: PATH: by PATH a caller brings code of their own into the program
    ");
}

#[test]
fn a_decision_is_explained_without_anything_being_done() {
    let example = example();
    let explain = |question: &[&str]| {
        let mut arguments = vec!["policy", "explain", "-f", path(&example), "--as", "nobody"];
        arguments.extend(question);
        said(&arguments).replace("65534", "nobody")
    };
    insta::assert_snapshot!(explain(&["reboot"]), @"
    refused to nobody (local); `node-exporter` comes nearest, but its callers are in another container
    exit code 3
    ");
    insta::assert_snapshot!(explain(&["--container", "/kubepods.slice/a", "tunnel", "tcp/localhost:9100"]), @"allowed to nobody (local, /kubepods.slice/a) by the rule `node-exporter`");
    insta::assert_snapshot!(explain(&["--container", "/kubepods.slice/a", "run", "/bin/true", "--web.listen-address", "x"]), @"
    refused to nobody (local, /kubepods.slice/a); `node-exporter` comes nearest, but the program has another digest
    exit code 3
    ");
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.yaml");
    let run = "[{path: /bin/true, ports: [tcp/80, tcp/81, udp/53]}]";
    let rule = format!("{{rules: [{{name: web, callers: [{{door: local}}], run: {run}}}]}}");
    fs_err::write(&file, document("AgentPolicy", &rule)).expect("it is written");
    let opening = |ports: &[&str]| {
        let asked = ["policy", "explain", "-f", path(&file), "--as", "root", "run"];
        said(&[&asked, ports, &["/bin/true"]].concat())
    };
    insta::assert_snapshot!(opening(&["--port", "tcp/80-81", "--port", "udp/53"]), @"allowed to root (local) by the rule `web`");
    insta::assert_snapshot!(opening(&["--port", "tcp/80-82"]), @"
    refused to root (local); `web` comes nearest, but it does not name one of the ports
    exit code 3
    ");
    assert!(
        opening(&["--port", "80"]).contains("names no ports: write tcp/9796"),
        "{}",
        opening(&["--port", "80"])
    );
    insta::assert_snapshot!(said(&["policy", "explain", "--as", "root", "reboot"]), @"allowed to root (local) by the rule `administrators`");
    insta::assert_snapshot!(said(&["policy", "explain", "--as", "no such account", "reboot"]), @r#"
    error: failed to find the account "no such account"
    exit code 1
    "#);
}

#[tokio::test]
async fn the_status_is_told_to_people_and_programs() {
    let agent = Agent::with(&document("AgentPolicy", "{rules: []}")).await;
    let runtime = agent.runtime();
    let asked = tokio::task::spawn_blocking(move || {
        let text = said(&["status", "--address", path(&runtime.join("agent.sock"))]);
        (text, said(&["status", "--address", path(&runtime.join("agent.sock")), "-o", "json"]))
    });
    let (text, json) = asked.await.expect("it does not panic");
    assert!(
        text.contains("door local: ") && text.contains("what no rule allows is refused; rules: none"),
        "{text}"
    );
    let json: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(json["clients"], 1);
    assert_eq!(json["policy"]["rules"], serde_json::json!([]));
    assert!(json["doors"][0]["permissions"].as_str().expect("it is told").starts_with("0666 "));
    agent.stop().await;
    insta::assert_snapshot!(said(&["status", "--address", "/nowhere/agent.sock"]), @"
    error: failed to reach the agent at /nowhere/agent.sock
      cause: No such file or directory (os error 2)
    exit code 1
    ");
}

/// A daemon that is a process of its own; it is killed if a test ends before it does.
struct Daemon(std::process::Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        // It has ended, as it should have.
        self.0.kill().unwrap_or_default();
    }
}

impl Daemon {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.0.id()).expect("it is a number");
        let pid = rustix::process::Pid::from_raw(pid).expect("it is not 0");
        rustix::process::kill_process(pid, signal).expect("it is ours");
    }
}

/// Asks again and again until an answer is as it should be.
fn eventually(is_good: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_good() {
        assert!(begun.elapsed() < crate::common::PATIENCE, "it does not become so");
        #[expect(
            clippy::disallowed_methods,
            reason = "a test without tokio, which waits for another process"
        )]
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn the_daemon_reads_its_policy_again_on_sighup_and_ends_on_sigterm_with_logs_for_programs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, runtime) = (folder.path().join("agent.yaml"), folder.path().join("run"));
    let rules = |rules: &str| {
        fs_err::write(&file, document("AgentPolicy", &format!("{{rules: [{rules}]}}")))
            .expect("it is written");
    };
    rules("");
    #[expect(clippy::disallowed_methods, reason = "a daemon that is watched, not a command that is run")]
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_winstead-agent"));
    command.args([
        "serve",
        "-f",
        path(&file),
        "--runtime",
        path(&runtime),
        "--log-format",
        "json",
        "--state",
    ]);
    let log = fs_err::File::create(folder.path().join("log")).expect("it is made");
    command.arg(folder.path().join("state")).stderr(log.into_file());
    let mut daemon = Daemon(command.spawn().expect("it starts"));
    let status =
        |word: &str| said(&["status", "--address", path(&runtime.join("agent.sock"))]).contains(word);
    eventually(|| status("rules: none"));
    rules("{name: new, callers: []}");
    daemon.signal(rustix::process::Signal::HUP);
    eventually(|| status("rules: new"));
    daemon.signal(rustix::process::Signal::TERM);
    assert!(daemon.0.wait().expect("it ends").success());
    assert!(!runtime.join("agent.sock").exists());
    let log = fs_err::read_to_string(folder.path().join("log")).expect("it is there");
    let first: serde_json::Value =
        serde_json::from_str(log.lines().next().expect("a line")).expect("it is JSON");
    assert_eq!((&first["fields"]["message"], &first["level"]), (&"serves".into(), &"INFO".into()));
}

#[test]
fn the_selftest_tries_limits_and_ends_with_processes_of_its_own_and_leaves_none() {
    let mut command = Command::cargo_bin("winstead-agent").expect("it is built");
    let output = command.env_clear().args(["selftest", "-o", "json"]).output().expect("it starts");
    let items: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let result = |name: &str| {
        let item = items.as_array().expect("a list").iter().find(|item| item["name"] == name);
        item.unwrap_or_else(|| panic!("no {name} in {items}"))["result"].as_str().expect("a word").to_owned()
    };
    assert_eq!(result("tree"), "passed", "{items}");
    for limit in ["memory limit", "process limit", "CPU limit"] {
        assert!(["passed", "skipped"].contains(&&*result(limit)), "{items}");
    }
}

#[test]
fn what_a_certificate_may_do_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("policy.yaml");
    let rules = "{rules: [{name: net, callers: [{certificate: ann.example}], reboot: true}]}";
    fs_err::write(&file, document("AgentPolicy", rules)).expect("it is written");
    insta::assert_snapshot!(said(&["policy", "check", path(&file)]), @"
    at any door, certificate of ann.example:
      restart the computer (net)
    everybody else: nothing
    ");
    let asked = |name: &str| said(&["policy", "explain", "-f", path(&file), "--certificate", name, "reboot"]);
    insta::assert_snapshot!(asked("ann.example") + &asked("bob.example"), @"
    allowed to ann.example (tcp) by the rule `net`
    refused to bob.example (tcp); `net` comes nearest, but its callers have another certificate
    exit code 3
    ");
    let at = |more: &[&str]| {
        let words = ["policy", "explain", "-f", path(&file), "--door", "tcp"];
        said(&[&words, more, &["reboot"]].concat())
    };
    assert!(at(&[]).starts_with("refused to certificate:"), "{}", at(&[]));
    assert!(at(&["--as", "nobody"]).starts_with("error: failed to explain an account at tcp"));
}
