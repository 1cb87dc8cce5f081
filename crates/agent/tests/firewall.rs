//! Ports of processes in a made-up firewall: what is let through, and from when until when.

#![cfg(unix)]

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use fs_err as fs;
use tempfile::TempDir;
use winstead_agent::supervision::{
    Firewall, Opening, Order, Process, Settings, StartError, Supervisor, is_over,
};

/// One that does what it is told, unless it is to refuse; its rules outlive agents, as Windows' do.
#[derive(Debug, Default)]
struct Obedient {
    open: Mutex<BTreeMap<String, Opening>>,
    /// When it makes no rule any more.
    refuses: bool,
    /// A file that the program makes: whether it was there when a rule was made.
    made_by_program: PathBuf,
    too_late: Mutex<bool>,
}

impl Obedient {
    fn rules(&self) -> MutexGuard<'_, BTreeMap<String, Opening>> {
        self.open.lock().expect("nobody panics with it")
    }
}

impl Firewall for Obedient {
    #[expect(clippy::disallowed_methods, reason = "it blocks, as Windows' own does")]
    fn open(&self, opening: &Opening) -> io::Result<()> {
        // Half of it is there when the other half is refused.
        self.rules().insert(opening.id.clone(), opening.clone());
        std::thread::sleep(Duration::from_millis(200));
        *self.too_late.lock().expect("nobody panics with it") |= self.made_by_program.exists();
        if self.refuses { Err(io::Error::other("the service does not run")) } else { Ok(()) }
    }

    fn close(&self, id: &str) -> io::Result<()> {
        self.rules().remove(id);
        Ok(())
    }

    fn close_stale(&self) -> io::Result<()> {
        self.rules().retain(|_, opening| !is_over(&opening.folder));
        Ok(())
    }

    fn close_all(&self, processes: &Path) -> io::Result<Vec<String>> {
        self.rules().retain(|_, opening| !opening.folder.starts_with(processes));
        Ok(Vec::new())
    }
}

/// An agent with that firewall, in a folder where others may come after it.
async fn agent(folder: &Path, firewall: &Arc<Obedient>) -> Supervisor {
    let keeper = env!("CARGO_BIN_EXE_winstead-agent").into();
    let firewall: Arc<dyn Firewall> = Arc::<Obedient>::clone(firewall);
    let settings = Settings { firewall: Some(firewall), ..Settings::new(folder.join("processes"), keeper) };
    Supervisor::open(settings).await.expect("it opens")
}

fn marking(folder: &TempDir, refuses: bool) -> (Arc<Obedient>, String) {
    let mark = folder.path().join("it-ran");
    let script = format!("touch {}; exec sleep 600", mark.display());
    (Arc::new(Obedient { refuses, made_by_program: mark, ..Obedient::default() }), script)
}

fn shell(script: &str, ports: &[&str]) -> Order {
    Order {
        file: "/bin/sh".to_owned(),
        program: "sh".to_owned(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        ports: ports.iter().map(|range| range.parse().expect("ports")).collect(),
        keep: true,
        ..Order::default()
    }
}

async fn ended(process: &Process) {
    tokio::time::timeout(Duration::from_secs(30), process.ended()).await.expect("it ends");
}

#[tokio::test]
async fn ports_are_open_before_the_program_runs_and_shut_when_its_end_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let (firewall, script) = marking(&folder, false);
    let supervisor = agent(folder.path(), &firewall).await;
    let process = supervisor.start(shell(&script, &["tcp/80", "udp/53"])).await.expect("it starts");
    let rule = firewall.rules().get(process.id()).cloned().expect("there is a rule");
    assert_eq!(rule.program, Path::new("/bin/sh"), "what is executed, not what it is called");
    assert_eq!(rule.ports, process.status().record.ports);
    assert_eq!(rule.folder, folder.path().join("processes").join(process.id()));
    assert!(!*firewall.too_late.lock().expect("nobody panics with it"), "the program waits for its rule");
    supervisor.stop(process.id(), Duration::ZERO).await.expect("it goes");
    ended(&process).await;
    assert!(firewall.rules().is_empty(), "nothing is open for what has ended");
    supervisor.close().await;
}

#[tokio::test]
async fn a_program_whose_ports_stay_shut_is_not_started_and_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (firewall, script) = marking(&folder, true);
    let supervisor = agent(folder.path(), &firewall).await;
    let error = supervisor.start(shell(&script, &["tcp/80"])).await.expect_err("it is refused");
    assert!(matches!(&error, StartError::Firewall { program, .. } if program == "sh"), "{error}");
    assert!(firewall.rules().is_empty(), "half a rule is none");
    assert!(!firewall.made_by_program.exists(), "it did not run");
    assert_eq!(fs::read_dir(folder.path().join("processes")).expect("it is there").count(), 0);
    let process = supervisor.start(shell(&script, &[])).await.expect("it needs no firewall");
    supervisor.stop(process.id(), Duration::ZERO).await.expect("it goes");
    supervisor.close().await;
}

#[tokio::test]
async fn a_program_that_does_not_run_has_no_rule_either() {
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Arc::default();
    let supervisor = agent(folder.path(), &firewall).await;
    let order = Order { file: "/no/such/program".to_owned(), ..shell("", &["tcp/80"]) };
    assert!(matches!(supervisor.start(order).await, Err(StartError::Keeper { .. })));
    assert!(firewall.rules().is_empty());
    supervisor.close().await;
}

#[tokio::test]
async fn the_next_agent_leaves_rules_of_what_runs_and_takes_away_all_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let firewall = Arc::default();
    let supervisor = agent(folder.path(), &firewall).await;
    let runs = supervisor.start(shell("exec sleep 600", &["tcp/80"])).await.expect("it starts");
    let ends = supervisor.start(shell("exec sleep 600", &["tcp/81"])).await.expect("it starts");
    let killed = supervisor.start(shell("exec sleep 600", &["tcp/82"])).await.expect("it starts");
    supervisor.close().await;
    // No agent is there: one program ends, and of another one nothing is left, as after a restart of the computer.
    kill(ends.pid());
    kill(keeper(folder.path(), &killed));
    // An agent was killed before it started a keeper; of another process even the folder is gone.
    let processes = folder.path().join("processes");
    let never = processes.join("never");
    fs::create_dir(&never).expect("a folder");
    fs::copy(processes.join(runs.id()).join("record.json"), never.join("record.json")).expect("a record");
    for (id, folder) in [("never", never), ("forgotten", processes.join("forgotten"))] {
        let opening = Opening { id: id.to_owned(), folder, program: "/bin/sh".into(), ports: Vec::new() };
        firewall.rules().insert(id.to_owned(), opening);
    }
    assert_eq!(firewall.rules().len(), 5);
    let next = agent(folder.path(), &firewall).await;
    for process in [&ends, &killed] {
        ended(&next.get(process.id()).expect("it is known")).await;
    }
    let left: Vec<String> = firewall.rules().keys().cloned().collect();
    assert_eq!(left, [runs.id()]);
    next.stop(runs.id(), Duration::ZERO).await.expect("it goes");
    assert!(firewall.rules().is_empty());
    next.close().await;
}

fn keeper(folder: &Path, process: &Process) -> u32 {
    let running = folder.join("processes").join(process.id()).join("running.json");
    let running: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(running).expect("it runs")).expect("JSON");
    running["keeper"]["pid"].as_u64().and_then(|pid| pid.try_into().ok()).expect("a number")
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
}
