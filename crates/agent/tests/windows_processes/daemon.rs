//! By a daemon, which is killed and started again.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use winstead_agent::supervision::orphans;
use winstead_agent_client::{Address, Connection, Listening, Said};
use winstead_protocol::v1::{OnDisconnect, ProcessStatus, StartRequest};

use crate::{
    PATIENCE, PROGRAM,
    programs::{self, ARGUMENTS, BEGINS, LINES, counted, is_free},
    until,
};

/// A daemon of a test's own.
struct Daemon {
    folder: TempDir,
    pipe: String,
    child: Child,
}

#[expect(
    clippy::disallowed_methods,
    reason = "the daemon under test, its command line, and what an old server has left"
)]
fn command(program: impl AsRef<Path>) -> Command {
    Command::new(program.as_ref())
}

impl Daemon {
    /// By this document, if it is one.
    async fn start(name: &str, document: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("agent.yaml"), document).expect("it is written");
        let pipe = format!(r"\\.\pipe\winstead-test-{name}-{}", std::process::id());
        let child = Self::spawn(&folder, &pipe);
        let daemon = Self { folder, pipe, child };
        daemon.connect().await;
        daemon
    }

    fn spawn(folder: &TempDir, pipe: &str) -> Child {
        let (mut command, document) = (command(PROGRAM), folder.path().join("agent.yaml"));
        command.args(["serve", "--runtime", pipe, "--state"]).arg(folder.path().join("state"));
        if fs_err::metadata(&document).expect("it is there").len() > 0 {
            command.arg("-f").arg(document);
        }
        command.stdin(Stdio::null()).spawn().expect("it starts")
    }

    async fn connect(&self) -> Connection {
        let until = Instant::now() + PATIENCE;
        loop {
            match Connection::open(&Address::Pipe(self.pipe.clone())).await {
                Ok(connection) => return connection,
                Err(error) => assert!(Instant::now() < until, "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// As the Task Manager ends it: it can do nothing about it.
    fn kill(&mut self) {
        self.child.kill().expect("it runs, or ran");
        self.child.wait().expect("it was killed");
    }

    async fn start_again(&mut self) -> Connection {
        self.child = Self::spawn(&self.folder, &self.pipe);
        self.connect().await
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command(PROGRAM);
        let (first, rest) = arguments.split_first().expect("a command");
        command.arg(first).arg("--address").arg(&self.pipe).args(rest).stdin(Stdio::null());
        command.output().expect("it runs")
    }

    /// Ends everything that is left, so that nothing outlives the test.
    async fn end(self) {
        let connection = self.connect().await;
        for process in connection.list_processes().await.expect("a list") {
            connection.stop(&process.id, Duration::ZERO).await.expect("it ends");
            connection.remove(&process.id).await.expect("it is over");
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

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

/// All of its standard output, and its code.
async fn all(mut listening: Listening) -> (Vec<u8>, i32) {
    let mut out = Vec::new();
    loop {
        let said = tokio::time::timeout(PATIENCE, listening.next()).await.expect("in time");
        match said.expect("the connection holds") {
            Said::Stdout(data) => out.extend_from_slice(&data),
            Said::Stderr(_) => {}
            Said::Gap(bytes) => panic!("{bytes} bytes are gone"),
            Said::Ended(exited) => return (out, exited.code),
        }
    }
}

async fn wait_for(connection: &Connection, what: impl Fn(&[ProcessStatus]) -> bool) -> Vec<ProcessStatus> {
    let until = Instant::now() + PATIENCE;
    loop {
        let all = connection.list_processes().await.expect("a list");
        if what(&all) {
            return all;
        }
        assert!(Instant::now() < until, "{all:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\r\n", "\n")
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
    let daemon = Daemon::start("run", "").await;
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
async fn what_no_rule_allows_is_not_run() {
    let daemon = Daemon::start("policy", VERSION_ONLY).await;
    let output = daemon.run(&["run", "--", "cmd", "/c", "echo", "hello"]);
    assert_eq!((text(&output.stdout).as_str(), output.status.code()), ("hello\n", Some(0)), "{output:?}");
    let output = daemon.run(&["run", "--", "cmd", "/c", "echo", "else"]);
    assert_eq!((output.stdout.len(), output.status.code()), (0, Some(255)));
    assert!(text(&output.stderr).contains("is not allowed"), "{output:?}");
    daemon.end().await;
}

#[tokio::test]
async fn processes_are_found_again_after_the_daemon_was_killed_and_nothing_is_lost() {
    let mut daemon = Daemon::start("kill", "").await;
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
    let daemon = Daemon::start("slow", "").await;
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
    let daemon = Daemon::start("goes", "").await;
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
    let daemon = Daemon::start("orphans", "").await;
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
    let mut left = command(&old);
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
    command(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("it runs")
}
