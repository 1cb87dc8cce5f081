//! Without a daemon.

use std::{path::Path, process::Command, time::Duration};

use fs_err as fs;
use winstead_agent::supervision::{
    Attachment, End, Event, KeeperFailure, Offsets, Order, Settings, StartError, Supervisor, Terminal, Vault,
};

use crate::{
    daemon::PROGRAM,
    programs::{self, ARGUMENTS, BEGINS, LINES, counted, is_free, text},
    supervised::{self, PATIENCE, SMALL, all, attach, settings, supervisor, until},
};

const SHELL: &str = r"C:\Windows\System32\cmd.exe";

/// `cmd.exe /c` with these words.
fn shell(words: &[&str]) -> Order {
    Order {
        file: SHELL.to_owned(),
        program: SHELL.to_owned(),
        arguments: ["/c"].iter().chain(words).map(|word| (*word).to_owned()).collect(),
        ..Order::default()
    }
}

/// One of [`programs`].
fn role(role: &str, file: &Path) -> Order {
    let (program, environment) = programs::role(role, file);
    let arguments = ARGUMENTS.map(str::to_owned).to_vec();
    Order { file: program.clone(), program, arguments, environment, ..Order::default() }
}

/// Ctrl-C, by the number of its signal.
const INTERRUPT: i32 = 2;
/// A terminal as they once were.
const SIZE: Terminal = Terminal { columns: 80, rows: 24 };

/// One that talks at a terminal of its own.
fn talks() -> Order {
    Order { terminal: Some(SIZE), ..role("talk", Path::new("")) }
}

/// Waits until this was shown; all that was.
async fn shows(attachment: &mut Attachment, words: &str) -> String {
    let mut shown = Vec::new();
    loop {
        match tokio::time::timeout(PATIENCE, attachment.next()).await.expect("in time").expect("it is read") {
            Event::Stdout { data, .. } => shown.extend_from_slice(&data),
            other => panic!("{other:?} after {:?}", text(&shown)),
        }
        let all = text(&shown);
        if all.contains(words) {
            return all;
        }
    }
}

/// One that does nothing until its input ends.
fn waiting() -> Order {
    Order { stdin: true, ..shell(&["pause"]) }
}

#[tokio::test]
async fn a_program_runs_with_a_clean_environment_and_its_code_comes_back() {
    let (_folder, supervisor) = supervisor().await;
    let mut order =
        shell(&["echo", "%NAME%", "%CARGO_MANIFEST_DIR%&", "cd&", "echo", "bad>&2&", "exit", "7"]);
    order.environment = vec![("NAME".to_owned(), "a value".to_owned())];
    let process = supervisor.start(order).await.expect("it starts");
    let (out, err, end) = all(&mut attach(&process)).await;
    assert_eq!(text(&out), "a value %CARGO_MANIFEST_DIR%\nC:\\Windows\n");
    assert_eq!((text(&err).trim(), end), ("bad", End::Code(7)));
    supervisor.remove(process.id()).expect("it is over");
    assert!(supervisor.list().is_empty());
    supervisor.close().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_told_apart_from_one_that_fails() {
    let (folder, supervisor) = supervisor().await;
    let file = |name: &str| {
        let path = folder.path().join(name);
        fs::write(&path, "no program").expect("it is written");
        Order { file: path.display().to_string(), ..shell(&[]) }
    };
    let why = |order| {
        let supervisor = supervisor.clone();
        async move {
            match supervisor.start(order).await {
                Err(StartError::Keeper { source, .. }) => source,
                other => panic!("{other:?}"),
            }
        }
    };
    let missing = Order { file: r"C:\no\such\program.exe".to_owned(), ..shell(&[]) };
    assert_eq!(why(missing).await, KeeperFailure::Missing);
    assert_eq!(why(file("text.exe")).await, KeeperFailure::BadFormat);
    assert!(matches!(why(file("text.bat")).await, KeeperFailure::Other(why) if why.contains("batch")));
    let nowhere = Order { folder: Some(r"C:\no\such".to_owned()), ..shell(&[]) };
    assert!(matches!(why(nowhere).await, KeeperFailure::Folder(_)));
    let missing = Order { terminal: Some(SIZE), ..file("none.exe") };
    fs::remove_file(&missing.file).expect("it was there");
    assert_eq!(why(missing).await, KeeperFailure::Missing);
    let account = Order { account: Some("Administrator".to_owned()), ..shell(&[]) };
    assert!(matches!(supervisor.start(account).await, Err(StartError::Account { .. })));
    let left = fs::read_dir(folder.path().join("processes")).expect("it is there").count();
    assert_eq!(left, 0, "nothing is left of what did not run");
    supervisor.close().await;
}

#[tokio::test]
async fn input_reaches_the_program_byte_by_byte_and_ends() {
    let (folder, supervisor) = supervisor().await;
    let order = Order { stdin: true, ..role("cat", folder.path()) };
    let process = supervisor.start(order).await.expect("it starts");
    assert_eq!(supervised::input_comes_back(&process, BEGINS).await, End::Code(3));
    process.write("late"[..].into()).await.expect_err("no input is taken any more");
    supervisor.close().await;
}

#[tokio::test]
async fn a_terminal_takes_keys_and_shows_all_and_outlives_its_agent() {
    let (folder, supervisor) = supervisor().await;
    let process = supervisor.start(Order { keep: true, ..talks() }).await.expect("it starts");
    let mut attachment = attach(&process);
    shows(&mut attachment, "ready").await;
    process.write("one\r"[..].into()).await.expect("it is read");
    shows(&mut attachment, "heard <one>").await;
    let id = process.id().to_owned();
    drop((attachment, process));
    supervisor.close().await;
    let supervisor = Supervisor::open(settings(folder.path())).await.expect("it opens again");
    let process = supervisor.get(&id).expect("it is found");
    process.resize(Terminal { columns: 101, rows: 37 }).expect("its keeper hears");
    process.write("two\rbye\r"[..].into()).await.expect("it is read");
    let (out, err, end) = all(&mut attach(&process)).await;
    let shown = text(&out);
    for words in ["ready", "heard <one>", "heard <two>", "heard <bye>"] {
        assert!(shown.contains(words), "{words:?} in {shown:?}");
    }
    assert_eq!((err.len(), end), (0, End::Code(3)), "both outputs are one");
    supervisor.close().await;
}

#[tokio::test]
async fn a_terminal_s_program_is_asked_to_end_by_closing_that() {
    let (_folder, supervisor) = supervisor().await;
    let process = supervisor.start(talks()).await.expect("it starts");
    shows(&mut attach(&process), "ready").await;
    let stopped = supervisor.stop(process.id(), PATIENCE).await.expect("it ends");
    assert!(!stopped.forced, "{stopped:?}");
    // By force, there is nobody to ask.
    let process = supervisor.start(talks()).await.expect("it starts");
    shows(&mut attach(&process), "ready").await;
    let stopped = supervisor.stop(process.id(), Duration::ZERO).await.expect("it ends");
    assert_eq!((stopped.end, stopped.forced), (End::Code(1), true));
    supervisor.close().await;
}

#[tokio::test]
async fn at_a_terminal_an_interrupt_is_ctrl_c_and_an_input_s_end_is_typed() {
    let (_folder, supervisor) = supervisor().await;
    let process = supervisor.start(talks()).await.expect("it starts");
    shows(&mut attach(&process), "ready").await;
    process.signal(INTERRUPT).expect("its keeper hears");
    tokio::time::timeout(PATIENCE, process.ended()).await.expect("it does nothing about it");
    let process = supervisor.start(talks()).await.expect("it starts");
    let mut attachment = attach(&process);
    shows(&mut attachment, "ready").await;
    process.end_input().await.expect("its keeper hears");
    shows(&mut attachment, "heard <").await;
    process.write("late"[..].into()).await.expect_err("no input is taken any more");
    supervisor.stop(process.id(), Duration::ZERO).await.expect("it ends");
    supervisor.close().await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let (folder, supervisor) = supervisor().await;
    let held = folder.path().join("held");
    let process = supervisor.start(role("leave", &held)).await.expect("it starts");
    let (_, _, end) = all(&mut attach(&process)).await;
    assert_eq!(end, End::Code(3), "it has left a child");
    assert!(is_free(&held), "a child outlived its program");
    supervisor.close().await;
}

/// Asking is by Ctrl-Break, which Wine does not deliver: `selftest` tries it.
#[tokio::test]
async fn stopping_by_force_takes_the_whole_tree() {
    let (folder, supervisor) = supervisor().await;
    let held = folder.path().join("held");
    for grace in [Duration::ZERO, Duration::from_millis(300)] {
        let order = Order { stdin: true, ..role("lead", &held) };
        let process = supervisor.start(order).await.expect("it starts");
        until(|| !is_free(&held)).await;
        let stopped = supervisor.stop(process.id(), grace).await.expect("it ends");
        assert_eq!((stopped.end, stopped.forced), (End::Code(1), true));
        assert!(is_free(&held), "a child outlived a stop by force");
        let again = supervisor.stop(process.id(), grace).await.expect("it has ended");
        assert!(!again.forced);
    }
    supervisor.close().await;
}

#[tokio::test]
async fn what_nobody_takes_is_kept_and_then_holds_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { spool: SMALL, ..settings(folder.path()) };
    let mut supervisor = Supervisor::open(settings.clone()).await.expect("it opens");
    // More than the spool and the pipe hold.
    let order = Order { keep: true, ..role("count", folder.path()) };
    let process = supervisor.start(order).await.expect("it starts");
    let id = process.id().to_owned();
    until(|| process.status().said.stdout == SMALL.file).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(process.status().said.stdout, SMALL.file, "the spool is full");
    let kept = fs::metadata(folder.path().join("processes").join(&id).join("stdout.spool"));
    assert!(kept.expect("it is there").len() <= SMALL.file);
    let expected = counted(LINES);
    let mut out = Vec::new();
    // Other agents take over in the middle.
    let end = loop {
        supervisor.close().await;
        supervisor = Supervisor::open(settings.clone()).await.expect("it opens again");
        let process = supervisor.get(&id).expect("it is found");
        let from = Offsets { stdout: out.len() as u64, stderr: 0 };
        let mut attachment = process.attach(from).expect("so much was said");
        let enough = out.len() + 100_000;
        let end = loop {
            let next = tokio::time::timeout(PATIENCE, attachment.next()).await.expect("in time");
            match next.expect("it is read") {
                Event::Stdout { offset, data } => {
                    assert_eq!(offset, out.len() as u64, "no gap");
                    out.extend_from_slice(&data);
                    attachment.received(Offsets { stdout: out.len() as u64, stderr: 0 });
                }
                Event::Stderr { .. } => {}
                Event::Ended(end) => break Some(end),
            }
            if out.len() > enough {
                break None;
            }
        };
        if let Some(end) = end {
            break end;
        }
    };
    assert_eq!(end, End::Code(3));
    let out = out.strip_prefix(BEGINS).expect("as it begins");
    assert!(out == expected.as_bytes(), "{} of {} bytes", out.len(), expected.len());
    supervisor.close().await;
}

#[tokio::test]
async fn a_client_that_claims_too_much_is_refused() {
    supervised::too_much_cannot_be_claimed(shell(&["exit"])).await;
}

#[tokio::test]
async fn a_program_that_was_exchanged_after_it_was_looked_at_is_not_run() {
    let (folder, supervisor) = supervisor().await;
    let program = folder.path().join("program.exe");
    fs::copy(PROGRAM, &program).expect("it is copied");
    let vault = Vault::open(&folder.path().join("vault")).expect("a vault");
    let kept = vault.take(&program).expect("it is taken");
    fs::write(&program, "evil").expect("it is exchanged");
    let order = Order {
        file: kept.path.display().to_string(),
        arguments: vec!["--version".to_owned()],
        ..shell(&[])
    };
    let process = supervisor.start(order).await.expect("it starts");
    let (out, _, _) = all(&mut attach(&process)).await;
    assert!(text(&out).starts_with("winstead-agent "), "{}", text(&out));
    supervisor.close().await;
}

#[tokio::test]
async fn a_killed_keeper_takes_its_program_along_and_nobody_claims_to_know_its_code() {
    let (folder, supervisor) = supervisor().await;
    for terminal in [None, Some(SIZE)] {
        let held = folder.path().join(format!("held-{}", terminal.is_some()));
        let order = Order { terminal, ..role("hold", &held) };
        let process = supervisor.start(order).await.expect("it starts");
        until(|| !is_free(&held)).await;
        let running = folder.path().join("processes").join(process.id()).join("running.json");
        let running: serde_json::Value =
            serde_json::from_slice(&fs::read(running).expect("it runs")).expect("JSON");
        let keeper = running["keeper"]["pid"].to_string();
        #[expect(clippy::disallowed_methods, reason = "what ends a keeper by force")]
        let killed = Command::new("taskkill").args(["/f", "/pid", &keeper]).output().expect("it starts");
        assert!(killed.status.success(), "{killed:?}");
        let (_, _, end) = all(&mut attach(&process)).await;
        assert_eq!(end, End::Lost);
        until(|| is_free(&held)).await;
    }
    supervisor.close().await;
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be_and_old_ones_are_forgotten() {
    supervised::one_may_be_there_and_one_is_remembered(waiting(), shell(&["exit"])).await;
}
