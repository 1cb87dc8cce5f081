//! By a daemon, which is killed and started again.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use winstead_agent::supervision::orphans;
use winstead_protocol::v1::{OnDisconnect, ProcessStatus, StartRequest, TerminalSize};

use crate::{
    daemon::{Daemon, command},
    listening::{all, wait_for},
    programs::{self, ARGUMENTS, BEGINS, LINES, counted, is_free, text},
    supervised::until,
};

/// One of [`programs`], which stays.
fn role(role: &str, file: &Path) -> StartRequest {
    let (program, environment) = programs::role(role, file);
    StartRequest {
        program,
        arguments: ARGUMENTS.map(str::to_owned).to_vec(),
        environment: environment.iter().map(|(name, value)| format!("{name}={value}")).collect(),
        on_disconnect: OnDisconnect::Keep.into(),
        ..StartRequest::default()
    }
}

/// A rule for one program.
const VERSION_ONLY: &str = "\
apiVersion: winstead.dev/v1alpha1
kind: AgentPolicy
metadata: {name: test}
spec:
  rules:
    - name: version
      callers: [{administrator: true}]
      run: [{path: 'C:\\Windows\\System32\\cmd.exe', arguments: [/c, echo, hello]}]
";

#[tokio::test]
async fn the_command_line_runs_a_program_as_if_it_stood_there() {
    let daemon = Daemon::start().await;
    let output = daemon.run(&["run", "-e", "NAME=a b", "--", "cmd", "/c", "echo %NAME%& exit 3"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("a b\n", Some(3)), "{output:?}");
    // What an access violation ends with.
    let output = daemon.run(&["run", "--", "cmd", "/c", "exit -1073741819"]);
    assert_eq!(output.status.code(), Some(-1_073_741_819), "{output:?}");
    let listed = text(&daemon.run(&["ps"]).stdout);
    assert!(listed.contains("exit 0xC0000005") && listed.contains("exit 3 "), "{listed}");
    let output = daemon.run(&["run", "--", r"C:\no\such\program.exe"]);
    assert_eq!(output.status.code(), Some(255));
    let said = "error: failed to run C:\\no\\such\\program.exe: there is no such program\n";
    assert_eq!(text(&output.stderr), said);
    let output = daemon.run(&["run", "--sha256", &"0".repeat(64), "--", "cmd"]);
    assert_eq!(output.status.code(), Some(255));
    daemon.end().await;
}

#[tokio::test]
async fn a_client_is_at_a_terminal_there() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let size = TerminalSize { columns: 80, rows: 24 };
    let request = StartRequest { terminal: Some(size), ..role("talk", daemon.folder.path()) };
    let listening = connection.run(request).await.expect("it runs");
    let keys = listening.input();
    keys.resize(TerminalSize { columns: 101, rows: 37 }).await;
    keys.write("one\rbye\r".into()).await;
    let (shown, code) = all(listening).await;
    let shown = text(&shown);
    assert!(shown.contains("heard <one>") && shown.contains("heard <bye>"), "{shown:?}");
    assert_eq!(code, 3);
    daemon.end().await;
}

#[tokio::test]
async fn what_no_rule_allows_is_not_run() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("agent.yaml"), VERSION_ONLY).expect("it is written");
    let daemon = Daemon::start_in(folder).await;
    let output = daemon.run(&["run", "--", "cmd", "/c", "echo", "hello"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hello\n", Some(0)), "{output:?}");
    let output = daemon.run(&["run", "--", "cmd", "/c", "echo", "else"]);
    assert_eq!((output.stdout.len(), output.status.code()), (0, Some(255)));
    assert!(text(&output.stderr).contains("is not allowed"), "{output:?}");
    daemon.end().await;
}

#[tokio::test]
async fn processes_are_found_again_after_the_daemon_was_killed_and_nothing_is_lost() {
    let mut daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let mut ids = Vec::new();
    for number in 0..10 {
        // Every second one ends while no daemon is there.
        let what = if number % 2 == 0 { "ask" } else { "wait" };
        let request = StartRequest { stdin: true, ..role(what, daemon.folder.path()) };
        ids.push(connection.start(request).await.expect("it starts").id);
    }
    let counts = connection.start(role("count much", daemon.folder.path())).await.expect("it starts").id;
    drop(connection);
    // In the middle of what is moved to the disk.
    for _ in 0..5 {
        daemon.kill();
        tokio::time::sleep(Duration::from_millis(50)).await;
        daemon.start_again().await;
    }
    daemon.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let connection = daemon.start_again().await;
    let ended = |all: &[ProcessStatus]| all.iter().filter(|process| process.exited.is_some()).count() >= 5;
    let found = wait_for(&connection, ended).await;
    assert_eq!(found.len(), 11);
    assert!(found.iter().all(|process| process.adopted));
    for (number, id) in ids.iter().enumerate() {
        let listening = connection.attach(id, [0; 2], true).await.expect("it is found");
        if number % 2 == 0 {
            listening.input().write("go\n".into()).await;
        }
        let (out, code) = all(listening).await;
        assert_eq!((out.strip_prefix(BEGINS), code), (Some(&b"before\nafter\n"[..]), 3));
    }
    let (out, code) = all(connection.attach(&counts, [0; 2], true).await.expect("it is found")).await;
    let out = out.strip_prefix(BEGINS).expect("as it begins");
    let expected = counted(50 * LINES);
    assert!(out == expected.as_bytes(), "{} of {} bytes", out.len(), expected.len());
    assert_eq!(code, 3);
    daemon.end().await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let request =
        StartRequest { on_disconnect: OnDisconnect::Stop.into(), ..role("count much", daemon.folder.path()) };
    let mut listening = connection.run(request).await.expect("it runs");
    listening.next().await.expect("it holds");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (out, code) = all(listening).await;
    let expected = counted(50 * LINES);
    assert!(expected.as_bytes().ends_with(&out), "{} of {} bytes", out.len(), expected.len());
    assert!(out.len() > expected.len() / 2);
    assert_eq!(code, 3);
    daemon.end().await;
}

#[tokio::test]
async fn a_process_goes_with_its_client_or_stays_as_was_asked() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let file = daemon.folder.path().join("held");
    let goes = StartRequest { on_disconnect: OnDisconnect::Stop.into(), ..role("hold", &file) };
    let goes = connection.run(goes).await.expect("it runs");
    let stays = connection.run(role("hold", &daemon.folder.path().join("too"))).await.expect("it runs");
    let (goes_id, stays_id) = (goes.started().id.clone(), stays.started().id.clone());
    until(|| !is_free(&file)).await;
    drop((goes, stays, connection));
    let connection = daemon.connect().await;
    let ended = |all: &[ProcessStatus], id: &str| all.iter().any(|one| one.id == id && one.exited.is_some());
    let all = wait_for(&connection, |all| ended(all, &goes_id)).await;
    assert!(!ended(&all, &stays_id), "it was to stay");
    assert!(is_free(&file));
    daemon.end().await;
}

#[tokio::test]
async fn only_what_an_old_server_left_is_an_orphan_and_it_goes_with_its_tree() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let folder = daemon.folder.path();
    // One that this agent knows is none, whatever it is called.
    let (known, old) = (folder.join("rancher-wins-known.exe"), folder.join("rancher-wins-old.exe"));
    let (known_file, old_file) = (folder.join("known"), folder.join("old"));
    let this = std::env::current_exe().expect("a path");
    for name in [&known, &old] {
        fs_err::copy(&this, name).expect("it is copied");
    }
    let request = StartRequest { program: known.display().to_string(), ..role("hold", &known_file) };
    let ours = connection.start(request).await.expect("it starts").pid;
    #[expect(clippy::disallowed_methods, reason = "what an old server has left")]
    let mut left = Command::new(&old);
    left.args(ARGUMENTS).envs([(programs::ROLE, "lead"), (programs::FILE, &old_file.display().to_string())]);
    let mut left = left.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
    until(|| !is_free(&known_file) && !is_free(&old_file)).await;
    let listed = text(&daemon_less(&["orphans", "list"]).stdout);
    let has = |pid: u32| {
        listed.lines().any(|line| line.split_whitespace().next() == Some(pid.to_string().as_str()))
    };
    assert!(has(left.id()) && !has(ours), "{listed}");
    let all = orphans::find();
    let found = all.iter().find(|orphan| orphan.pid == left.id()).expect("it is listed");
    orphans::end(found).expect("it is ours");
    left.wait().expect("it was killed");
    until(|| is_free(&old_file)).await;
    assert!(!is_free(&known_file), "one that is looked after was ended, too");
    daemon.end().await;
}

/// A command that asks no daemon.
fn daemon_less(arguments: &[&str]) -> Output {
    command().args(arguments).stdin(Stdio::null()).output().expect("it runs")
}
