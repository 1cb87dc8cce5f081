//! Processes, without a daemon around them.

#![cfg(unix)]

mod supervised;

use std::{path::Path, time::Duration};

use fs_err as fs;
use supervised::{SMALL, all, attach, settings, supervisor, until};
use tempfile::TempDir;
use winstead_agent::supervision::{
    End, Event, KeeperFailure, Offsets, Order, Settings, StartError, Supervisor, Vault,
};

fn shell(script: &str) -> Order {
    Order {
        file: "/bin/sh".to_owned(),
        program: "/bin/sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        ..Order::default()
    }
}

#[tokio::test]
async fn a_program_runs_with_a_clean_environment_and_its_code_comes_back() {
    let (_folder, supervisor) = supervisor().await;
    let mut order = shell("env | sort; pwd; umask; echo bad >&2; exit 7");
    order.environment = vec![("NAME".to_owned(), "a value".to_owned())];
    let process = supervisor.start(order).await.expect("it starts");
    let (out, err, end) = all(&mut attach(&process)).await;
    let out = String::from_utf8(out).expect("text");
    assert_eq!(
        out,
        "HOME=/\nLANG=C.UTF-8\nNAME=a value\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n\
         PWD=/\n/\n0022\n"
    );
    assert_eq!((err.as_slice(), end), (&b"bad\n"[..], End::Code(7)));
    supervisor.remove(process.id()).expect("it is over");
    assert!(supervisor.list().is_empty());
    supervisor.close().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_run_is_told_apart_from_one_that_fails() {
    let (folder, supervisor) = supervisor().await;
    let text = folder.path().join("text");
    fs::write(&text, "no program").expect("it is written");
    let file = |path: &Path| Order { file: path.display().to_string(), ..shell("true") };
    let why = |order| {
        let supervisor = supervisor.clone();
        async move {
            match supervisor.start(order).await {
                Err(StartError::Keeper { source, .. }) => source,
                other => panic!("{other:?}"),
            }
        }
    };
    assert_eq!(why(file(Path::new("/no/such/program"))).await, KeeperFailure::Missing);
    assert_eq!(why(file(&text)).await, KeeperFailure::NotExecutable);
    fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("it is ours");
    assert_eq!(why(file(&text)).await, KeeperFailure::BadFormat);
    let nowhere = Order { folder: Some("/no/such/folder".to_owned()), ..shell("true") };
    assert!(matches!(why(nowhere).await, KeeperFailure::Folder(_)));
    let left = fs::read_dir(folder.path().join("processes")).expect("it is there").count();
    assert_eq!(left, 0, "nothing is left of what did not run");
    supervisor.close().await;
}

#[tokio::test]
async fn input_reaches_the_program_byte_by_byte_and_ends() {
    let (_folder, supervisor) = supervisor().await;
    let process = supervisor.start(Order { stdin: true, ..shell("cat") }).await.expect("it starts");
    assert_eq!(supervised::input_comes_back(&process, b"").await, End::Code(0));
    supervisor.close().await;
}

#[tokio::test]
async fn what_a_program_leaves_behind_ends_with_it() {
    let (folder, supervisor) = supervisor().await;
    let pid = folder.path().join("pid");
    let script = format!("setsid sh -c 'setsid sleep 1000 & echo $! > {}' & sleep 0.3", pid.display());
    let process = supervisor.start(shell(&script)).await.expect("it starts");
    let (_, _, end) = all(&mut attach(&process)).await;
    assert_eq!(end, End::Code(0));
    let pid = fs::read_to_string(pid).expect("the grandchild was there");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "a grandchild outlived its program");
    supervisor.close().await;
}

#[tokio::test]
async fn stopping_asks_first_and_then_takes_the_whole_tree() {
    let (folder, supervisor) = supervisor().await;
    let process = supervisor.start(shell("sleep 1000")).await.expect("it starts");
    let stopped = supervisor.stop(process.id(), Duration::from_secs(20)).await.expect("it ends");
    assert_eq!((stopped.end, stopped.forced), (End::Signal(15), false));

    let pid = folder.path().join("pid");
    let script = format!(
        "trap '' TERM; setsid sh -c \"trap '' TERM; echo \\$\\$ > {}; while :; do sleep 0.1; done\" & \
         while :; do sleep 0.1; done",
        pid.display()
    );
    let process = supervisor.start(shell(&script)).await.expect("it starts");
    while fs::read_to_string(&pid).map_or(true, |text| text.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let stopped = supervisor.stop(process.id(), Duration::from_millis(300)).await.expect("it ends");
    assert_eq!((stopped.end, stopped.forced), (End::Signal(9), true));
    let pid = fs::read_to_string(pid).expect("the child was there");
    assert!(!Path::new("/proc").join(pid.trim()).exists(), "a child outlived a stop by force");
    supervisor.close().await;
}

#[tokio::test]
async fn what_nobody_takes_is_kept_and_then_holds_the_program() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = Settings { spool: SMALL, ..settings(folder.path()) };
    let supervisor = Supervisor::open(settings.clone()).await.expect("it opens");
    // More than the spool and the pipe hold.
    let script = "i=0; while [ $i -lt 400000 ]; do echo $i; i=$((i+1)); done; echo done >&2";
    let process = supervisor.start(Order { keep: true, ..shell(script) }).await.expect("it starts");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(process.status().said.stdout, SMALL.file, "the spool is full");
    assert_eq!(process.end(), None, "the program waits");
    let kept = fs::metadata(folder.path().join("processes").join(process.id()).join("stdout.spool"));
    assert!(kept.expect("it is there").len() <= SMALL.file);
    let expected: String = (0..400_000).map(|line| format!("{line}\n")).collect();
    // Another agent takes over in the middle.
    supervisor.close().await;
    let supervisor = Supervisor::open(settings).await.expect("it opens again");
    let process = supervisor.get(process.id()).expect("it is found");
    let mut attachment = attach(&process);
    let mut out = Vec::new();
    let end = loop {
        match attachment.next().await.expect("it is read") {
            Event::Stdout { offset, data } => {
                assert_eq!(offset, out.len() as u64, "no gap");
                out.extend_from_slice(&data);
                attachment.received(Offsets { stdout: out.len() as u64, stderr: 0 });
            }
            Event::Stderr { .. } => {}
            Event::Ended(end) => break end,
        }
    };
    assert_eq!(end, End::Code(0));
    assert!(out == expected.as_bytes(), "{} of {} bytes", out.len(), expected.len());
    supervisor.close().await;
}

#[tokio::test]
async fn a_client_that_claims_too_much_is_refused() {
    supervised::too_much_cannot_be_claimed(shell("true")).await;
}

#[tokio::test]
async fn a_program_that_was_exchanged_after_it_was_looked_at_is_not_run() {
    let (folder, supervisor) = supervisor().await;
    let program = folder.path().join("program");
    fs::write(&program, "#!/bin/sh\necho good\n").expect("it is written");
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let vault = Vault::open(&folder.path().join("vault")).expect("a vault");
    let kept = vault.take(&program).expect("it is taken");
    fs::write(&program, "#!/bin/sh\necho evil\n").expect("it is exchanged");
    let order = Order { file: kept.path.display().to_string(), ..shell("") };
    let order = Order { arguments: Vec::new(), ..order };
    let process = supervisor.start(order).await.expect("it starts");
    let (out, _, _) = all(&mut attach(&process)).await;
    assert_eq!(out, b"good\n");
    supervisor.close().await;
}

#[tokio::test]
async fn a_killed_keeper_takes_its_program_along_and_nobody_claims_to_know_its_code() {
    let (_folder, supervisor) = supervisor().await;
    let process = supervisor.start(shell("echo $PPID; exec sleep 1000")).await.expect("it starts");
    let mut attachment = attach(&process);
    let Ok(Event::Stdout { data, .. }) = attachment.next().await else { panic!("it says its keeper") };
    let keeper = String::from_utf8_lossy(&data).trim().parse().expect("a number");
    let keeper = rustix::process::Pid::from_raw(keeper).expect("a process");
    rustix::process::kill_process(keeper, rustix::process::Signal::KILL).expect("it is ours");
    let (_, _, end) = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Ok(Event::Ended(end)) = attachment.next().await {
                break ((), (), end);
            }
        }
    })
    .await
    .expect("its end is seen");
    assert_eq!(end, End::Lost);
    let program = Path::new("/proc").join(process.pid().to_string()).join("exe");
    // It does not outlive its keeper.
    until(|| !program.exists()).await;
    supervisor.close().await;
}

#[tokio::test]
async fn there_are_no_more_than_there_may_be_and_old_ones_are_forgotten() {
    supervised::one_may_be_there_and_one_is_remembered(shell("sleep 1000"), shell("true")).await;
}

#[tokio::test]
async fn an_account_that_does_not_exist_is_said() {
    let (_folder, supervisor) = supervisor().await;
    let order = Order { account: Some("nobody-of-that-name".to_owned()), ..shell("true") };
    assert!(matches!(supervisor.start(order).await, Err(StartError::Account { .. })));
    supervisor.close().await;
}

#[tokio::test]
async fn a_program_runs_as_another_account_with_that_ones_groups_only() {
    if !rustix::process::geteuid().is_root() {
        return winstead_testing::skip("only root can take another's account");
    }
    let (_folder, supervisor) = supervisor().await;
    let order = Order { account: Some("nobody".to_owned()), ..shell("id -u; id -G; echo $HOME $USER") };
    let process = supervisor.start(order).await.expect("it starts");
    let (out, _, _) = all(&mut attach(&process)).await;
    let out = String::from_utf8(out).expect("text");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!((lines[0], lines[1]), ("65534", "65534"), "{out}");
    assert!(lines[2].ends_with(" nobody"), "{out}");
    supervisor.close().await;
}

#[tokio::test]
async fn a_limit_is_enforced_or_refused_and_never_ignored() {
    let (_folder, supervisor) = supervisor().await;
    let mut order = shell("for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all; wait");
    order.limits.processes = Some(4);
    match supervisor.start(order).await {
        Ok(process) => {
            let (out, err, _) = all(&mut attach(&process)).await;
            assert!(out.is_empty() && !err.is_empty(), "the kernel refuses the fifth");
        }
        Err(StartError::Keeper { source: KeeperFailure::Limit(_), .. }) => {}
        Err(other) => panic!("{other:?}"),
    }
    supervisor.close().await;
}

/// Keepers of processes in this folder.
fn keepers(folder: &Path) -> usize {
    let folder = folder.display().to_string();
    let lines = fs::read_dir("/proc")
        .expect("it is there")
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("cmdline")).ok());
    lines.filter(|line| line.contains("\0keeper\0") && line.contains(&folder)).count()
}

/// None waits for an agent that does not come.
async fn no_keeper_stays(folder: &TempDir) {
    until(|| keepers(folder.path()) == 0).await;
}

#[tokio::test]
async fn a_process_whose_end_was_seen_leaves_no_keeper_to_the_next_agent() {
    for _ in 0..20 {
        let (folder, supervisor) = supervisor().await;
        let process = supervisor.start(shell("echo x")).await.expect("it starts");
        process.ended().await;
        supervisor.close().await;
        no_keeper_stays(&folder).await;
    }
}

#[tokio::test]
async fn a_process_that_is_being_ended_leaves_no_keeper_to_the_next_agent() {
    let (folder, supervisor) = supervisor().await;
    let process = supervisor.start(shell("sleep 1000")).await.expect("it starts");
    supervisor.release(&process);
    supervisor.close().await;
    no_keeper_stays(&folder).await;
}

#[tokio::test]
async fn an_agent_that_stops_while_a_process_is_being_started_waits_for_it_alone() {
    for wanted in [true, false] {
        let (folder, supervisor) = supervisor().await;
        let start = tokio::spawn({
            let supervisor = supervisor.clone();
            async move { supervisor.start(shell("sleep 1000")).await }
        });
        while keepers(folder.path()) == 0 {
            tokio::task::yield_now().await;
        }
        if !wanted {
            start.abort();
        }
        let before = std::time::Instant::now();
        supervisor.close().await;
        assert!(before.elapsed() < Duration::from_secs(5), "it waited for a process that goes on");
        if wanted {
            // The next agent ends it.
            let process = start.await.expect("no panic").expect("it starts");
            let next = Supervisor::open(settings(folder.path())).await.expect("it opens");
            next.stop(process.id(), Duration::ZERO).await.expect("it ends");
            next.close().await;
        }
        no_keeper_stays(&folder).await;
    }
}

#[tokio::test]
async fn an_agent_that_stops_starts_nothing() {
    let (_folder, supervisor) = supervisor().await;
    supervisor.close().await;
    assert!(matches!(supervisor.start(shell("true")).await, Err(StartError::Closing)));
}

#[tokio::test]
async fn a_clock_that_jumps_by_years_ends_nothing_and_forgets_nothing() {
    let (folder, supervisor) = supervisor().await;
    let kept = |script| Order { keep: true, ..shell(script) };
    let running = supervisor.start(kept("sleep 1000")).await.expect("it starts");
    let ended = supervisor.start(kept("echo x")).await.expect("it starts");
    ended.ended().await;
    supervisor.close().await;
    for years in [-9, 9] {
        // As if the computer had had another time when they were started.
        for process in [&running, &ended] {
            let record = folder.path().join("processes").join(process.id()).join("record.json");
            let text = fs::read(&record).expect("it is there");
            let mut told: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
            let then = process.status().record.started_unix_ms + years * 365 * 86_400_000;
            told["startedUnixMs"] = then.into();
            fs::write(&record, told.to_string()).expect("it is written");
        }
        let next = Supervisor::open(settings(folder.path())).await.expect("it opens");
        assert_eq!(next.list().len(), 2, "{years}");
        let found = next.get(running.id()).expect("it is known");
        assert!(found.end().is_none() && found.status().pid == running.pid(), "{years}");
        next.close().await;
    }
    let last = Supervisor::open(settings(folder.path())).await.expect("it opens");
    last.stop(running.id(), Duration::ZERO).await.expect("it ends");
    last.close().await;
    no_keeper_stays(&folder).await;
}
