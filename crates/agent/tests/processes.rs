//! Processes over the agent's real socket, by a real daemon that is killed and started again.

#![cfg(unix)]

mod daemon;
mod listening;
mod place;
mod ports;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use daemon::{Daemon, PATIENCE, command};
use listening::{all, wait_for};
use winstead_agent_client::{Connection, Said};
use winstead_protocol::v1::{OnDisconnect, ProcessStatus, StartRequest};

fn shell(script: &str) -> StartRequest {
    StartRequest {
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        ..StartRequest::default()
    }
}

fn kept(script: &str) -> StartRequest {
    StartRequest { on_disconnect: OnDisconnect::Keep.into(), ..shell(script) }
}

#[tokio::test]
async fn the_command_line_runs_a_program_as_if_it_stood_there() {
    let daemon = Daemon::start().await;
    let output = daemon.run(&["run", "-e", "NAME=a b", "--", "sh", "-c", "echo $NAME; echo bad >&2; exit 3"]);
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((output.stdout.as_slice(), output.stderr.as_slice()), (&b"a b\n"[..], &b"bad\n"[..]));
    let output = daemon.run(&["run", "--", "/no/such/program"]);
    assert_eq!(output.status.code(), Some(255));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said, "error: failed to run /no/such/program: there is no such program\n");
    let output = daemon.run(&["run", "--sha256", &"0".repeat(64), "--", "/bin/true"]);
    assert_eq!(output.status.code(), Some(255));
    let output = daemon.run(&["run", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(output.status.code(), Some(137));
    daemon.end().await;
}

#[tokio::test]
async fn a_process_goes_with_its_client_or_stays_as_was_asked() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let goes = connection.run(shell("while :; do echo x; sleep 0.01; done")).await.expect("it runs");
    let stays = connection.run(kept("while :; do echo x; sleep 0.01; done")).await.expect("it runs");
    let (goes_id, stays_id) = (goes.started().id.clone(), stays.started().id.clone());
    // As a client that is killed: without a word, in the middle of the streams.
    drop((goes, stays, connection));
    let connection = daemon.connect().await;
    let ended = |all: &[ProcessStatus], id: &str| {
        all.iter().any(|process| process.id == id && process.exited.is_some())
    };
    let all = wait_for(&connection, |all| ended(all, &goes_id)).await;
    assert!(!ended(&all, &stays_id), "it was to stay");
    let status = daemon.run(&["status"]).stdout;
    let status = String::from_utf8_lossy(&status);
    assert!(status.contains(", 1 processes, 0 tunnels"), "{status}");
    daemon.end().await;
}

/// A shell for administrators, and nothing else: with a policy that is all they may.
const SHELL_ONLY: &str = "\
apiVersion: winstead.dev/v1alpha1
kind: AgentPolicy
metadata: {name: test}
spec: {rules: [{name: shell, callers: [{administrator: true}], run: [{path: /bin/sh, arguments: [-c, '*']}]}]}
";

#[tokio::test]
async fn whoever_started_a_process_uses_it_from_another_program_and_a_list_writes_no_decision_down() {
    let folder = tempfile::tempdir().expect("a folder");
    fs_err::write(folder.path().join("agent.yaml"), SHELL_ONLY).expect("it is written");
    let daemon = Daemon::start_in(folder).await;
    let id = daemon.connect().await.start(kept("sleep 60")).await.expect("it is allowed").id;
    let listed = daemon.run(&["ps"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains(&id), "{listed:?}");
    let stopped = daemon.run(&["stop", "--grace", "0s", &id]);
    assert!(stopped.status.success(), "{stopped:?}");
    let audit = fs_err::read_to_string(daemon.folder.path().join("audit.jsonl")).expect("it is there");
    let decisions = audit.lines().filter(|line| line.contains(r#""kind":"process""#)).count();
    assert_eq!(decisions, 1, "the stop alone: {audit}");
    daemon.end().await;
}

#[tokio::test]
async fn fifty_processes_are_found_again_after_the_daemon_was_killed() {
    let mut daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let mut ids = Vec::new();
    for number in 0..50 {
        // Every second one ends while no daemon is there.
        let script = match number % 2 {
            0 => format!("echo before; read line; echo after; exit {number}"),
            _ => format!("echo before; sleep 1; echo after; exit {number}"),
        };
        let request = StartRequest { stdin: true, ..kept(&script) };
        ids.push(connection.start(request).await.expect("it starts").id);
    }
    drop(connection);
    daemon.kill();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let connection = daemon.start_again().await;
    let all_found =
        wait_for(&connection, |all| all.iter().filter(|process| process.exited.is_some()).count() >= 25)
            .await;
    assert_eq!(all_found.len(), 50);
    assert!(all_found.iter().all(|process| process.adopted));
    for (number, id) in ids.iter().enumerate() {
        let listening = connection.attach(id, [0; 2], true).await.expect("it is found");
        if number % 2 == 0 {
            listening.input().write("go\n".into()).await;
        }
        let (out, code) = all(listening).await;
        assert_eq!((out.as_slice(), code), (&b"before\nafter\n"[..], i32::try_from(number).expect("small")));
    }
    daemon.end().await;
}

#[tokio::test]
async fn a_daemon_that_is_asked_to_stop_leaves_its_processes_to_the_next_one() {
    let mut daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let script = "echo before; while [ ! -e stop ]; do sleep 0.05; done; echo after";
    let folder = daemon.folder.path().display().to_string();
    let mut listening = connection.run(StartRequest { folder, ..shell(script) }).await.expect("it runs");
    let id = listening.started().id.clone();
    assert_eq!(listening.next().await.expect("it holds"), Said::Stdout("before\n".into()));
    let pid =
        i32::try_from(daemon.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    let broken = tokio::time::timeout(PATIENCE, listening.next()).await.expect("in time");
    assert!(broken.is_err(), "{broken:?}");
    daemon.child.wait().expect("it stops, whoever listens");
    let connection = daemon.start_again().await;
    fs_err::write(daemon.folder.path().join("stop"), "").expect("it is written");
    let listening = connection.attach(&id, listening.had(), true).await.expect("it is found");
    assert_eq!(all(listening).await, (b"after\n".to_vec(), 0));
    daemon.end().await;
}

#[tokio::test]
async fn a_slow_reader_gets_everything_and_the_daemon_stays_small() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let request = shell("head -c 100000000 /dev/zero | tr '\\0' x");
    let mut listening = connection.run(request).await.expect("it runs");
    let mut total = 0;
    let mut first = true;
    loop {
        match listening.next().await.expect("it holds") {
            Said::Stdout(data) => total += data.len(),
            Said::Ended(exited) => {
                assert_eq!(exited.code, 0);
                break;
            }
            other => panic!("{other:?}"),
        }
        if std::mem::take(&mut first) {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    assert_eq!(total, 100_000_000);
    let status = fs_err::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("it lives");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a line");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 96 * 1024, "{peak} KiB");
    daemon.end().await;
}

#[tokio::test]
async fn a_thousand_clients_are_answered() {
    let daemon = Daemon::start().await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let address = daemon.address.clone();
        calls.spawn(async move {
            let until = Instant::now() + PATIENCE;
            loop {
                // A listener's queue is finite: a client that finds it full comes again.
                match Connection::open(&address).await {
                    Ok(connection) => return connection.list_processes().await.map(|all| all.len()),
                    Err(error) => assert!(Instant::now() < until, "{error:?}"),
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
    }
    let answers = calls.join_all().await;
    assert!(answers.iter().all(|answer| matches!(answer, Ok(0))));
    daemon.end().await;
}

#[tokio::test]
async fn a_terminal_has_a_size_and_obeys_its_keys() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    let terminal = Some(winstead_protocol::v1::TerminalSize { columns: 91, rows: 33 });
    let request = StartRequest { terminal, ..shell("stty size; cat; echo interrupted") };
    let mut listening = connection.run(request).await.expect("it runs");
    let Said::Stdout(size) = listening.next().await.expect("it holds") else { panic!("no output") };
    assert_eq!(size, "33 91\r\n");
    let input = listening.input();
    input.write("hello\n".into()).await;
    input.write(vec![4].into()).await;
    let (out, code) = all(listening).await;
    assert_eq!(String::from_utf8_lossy(&out), "hello\r\nhello\r\ninterrupted\r\n", "its echo first");
    assert_eq!(code, 0);
    daemon.end().await;
}

#[tokio::test]
async fn a_full_disk_holds_the_program_and_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        return winstead_testing::skip("only root can mount a small disk");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = folder.path();
    let size = std::ffi::CString::new("size=2m,mode=700").expect("no zero");
    let mounted = rustix::mount::mount(
        "tmpfs",
        disk,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        Some(size.as_c_str()),
    );
    if let Err(error) = mounted {
        return winstead_testing::skip(&format!("a small disk cannot be mounted: {error}"));
    }
    let daemon = Daemon::start_in(folder).await;
    let connection = daemon.connect().await;
    let started = connection.start(kept("head -c 8000000 /dev/zero | tr '\\0' x")).await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let listening = connection.attach(&started.id, [0; 2], true).await.expect("it waits");
    let (out, code) = all(listening).await;
    assert_eq!((out.len(), code), (8_000_000, 0));
    let place = daemon.folder.path().to_owned();
    daemon.end().await;
    rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).expect("it was mounted");
}

#[tokio::test]
async fn only_what_an_old_server_left_is_an_orphan_and_it_goes_with_its_tree() {
    let daemon = Daemon::start().await;
    let connection = daemon.connect().await;
    // One that this agent knows is none, whatever it is called.
    let known = daemon.folder.path().join("rancher-wins-known");
    let old = daemon.folder.path().join("rancher-wins-old");
    for name in [&known, &old] {
        fs_err::copy("/bin/sleep", name).expect("it is copied");
    }
    let request = StartRequest {
        program: known.display().to_string(),
        arguments: vec!["1000".to_owned()],
        on_disconnect: OnDisconnect::Keep.into(),
        ..StartRequest::default()
    };
    let ours = connection.start(request).await.expect("it starts").pid;
    #[expect(clippy::disallowed_methods, reason = "a program that an old server would have left")]
    let mut left = Command::new(&old).arg("1000").spawn().expect("it starts");
    let listed = || {
        let mut command = command();
        let output = command.args(["orphans", "list"]).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let has = |text: &str, pid: u32| {
        text.lines().any(|line| line.split_whitespace().next() == Some(pid.to_string().as_str()))
    };
    let text = listed();
    assert!(has(&text, left.id()) && !has(&text, ours), "{text}");
    let all = winstead_agent::supervision::orphans::find();
    let found = all.iter().find(|orphan| orphan.pid == left.id()).expect("it is listed");
    winstead_agent::supervision::orphans::end(found).expect("it is ours");
    left.wait().expect("it was killed");
    assert!(!has(&listed(), left.id()));
    daemon.end().await;
}

/// In a namespace of its own, where nobody else's processes are.
#[test]
fn orphans_are_ended_when_somebody_says_yes() {
    let agent = env!("CARGO_BIN_EXE_winstead-agent");
    let folder = tempfile::tempdir().expect("a folder");
    let old = folder.path().join("rancher-wins-old");
    fs_err::copy("/bin/sleep", &old).expect("it is copied");
    let script = format!(
        "{old} 1000 & pid=$!; while ! grep -q rancher /proc/$pid/comm; do :; done
         {agent} orphans clean </dev/null; echo refused $?
         kill -0 $pid && {agent} orphans clean --yes; echo done $?
         wait $pid; echo ended $?; {agent} orphans list",
        old = old.display()
    );
    let unshare = ["--pid", "--fork", "--mount-proc", "sh", "-c", &script];
    let output = match assert_cmd::Command::new("unshare").args(unshare).output() {
        Ok(output) if !String::from_utf8_lossy(&output.stderr).contains("unshare") => output,
        other => return winstead_testing::skip(&format!("no namespace for processes: {other:?}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<&str> = text.lines().filter(|line| !line.contains("left by an old wins server")).collect();
    assert_eq!(lines, ["refused 1", "done 0", "ended 137"], "{text}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("nobody is there to be asked"));
}
