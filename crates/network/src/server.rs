//! The dnsmasq process of an own bridge: found again, started, told to read again, ended.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use fs_err as fs;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use winstead_process::{Command, ProcessId};

use crate::{NetworkError, OwnBridge, dnsmasq};

/// dnsmasq is ready in about 30 ms; ten seconds are for a host that is very busy.
const READY: Duration = Duration::from_secs(10);
/// How long it may take to end by itself.
const END: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// What `dnsmasq.json` says.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    process: ProcessId,
    /// The interface that its sockets are bound to: a bridge made anew has another.
    ifindex: u32,
}

/// Starts dnsmasq unless it runs for this very bridge with this configuration, and waits until it is ready. The
/// network's folders have to be there.
pub(crate) async fn ensure(
    bridge: &OwnBridge,
    ifindex: u32,
    stop: &CancellationToken,
) -> Result<(), NetworkError> {
    let wanted = dnsmasq::configuration(bridge, &dnsmasq::observe_host());
    let path = configuration_path(bridge);
    let same = fs::read_to_string(&path).is_ok_and(|text| text == wanted);
    if let Some(record) = recorded(bridge)
        && same
        && record.ifindex == ifindex
        && is_ours(bridge, record.process)
    {
        return Ok(());
    }
    end(bridge).await?;
    fs::write(&path, wanted)?;
    start(bridge, ifindex, stop).await
}

/// Ends every dnsmasq that was started for this folder, recorded or not; none is fine.
pub(crate) async fn end(bridge: &OwnBridge) -> Result<(), NetworkError> {
    for process in running(bridge) {
        process.terminate()?;
        let limit = Instant::now() + END;
        while process.is_alive() && Instant::now() < limit {
            sleep(LOOK_AGAIN).await;
        }
        process.kill()?;
        while process.is_alive() && Instant::now() < limit + END {
            sleep(LOOK_AGAIN).await;
        }
    }
    match fs::remove_file(record_path(bridge)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Makes dnsmasq forget changed and removed reservations. If it is not running there is nothing to forget.
pub(crate) fn reread(bridge: &OwnBridge) -> Result<(), NetworkError> {
    let process = recorded(bridge).map(|record| record.process).filter(|process| is_ours(bridge, *process));
    let pid = process.and_then(|process| i32::try_from(process.pid).ok()).and_then(Pid::from_raw);
    match pid.map(|pid| kill_process(pid, Signal::HUP)) {
        Some(Err(error)) if error != rustix::io::Errno::SRCH => Err(io::Error::from(error).into()),
        _ => Ok(()),
    }
}

/// Ends the leases for which `stale(ADDRESS, MAC)` holds. dnsmasq reads its lease file at its start only, and gives a
/// reserved address to nobody while another machine's lease of it lasts: so it is ended, corrected and started.
pub(crate) async fn forget(
    bridge: &OwnBridge,
    stale: impl Fn(&str, &str) -> bool,
    stop: &CancellationToken,
) -> Result<(), NetworkError> {
    let path = bridge.folder.join("leases");
    let is_stale = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields.len() > 2 && stale(fields[2], fields[1])
    };
    if !fs::read_to_string(&path).unwrap_or_default().lines().any(|line| is_stale(&line)) {
        return Ok(());
    }
    let record = recorded(bridge).filter(|record| is_ours(bridge, record.process));
    end(bridge).await?;
    let text = fs::read_to_string(&path)?;
    let kept: Vec<&str> = text.lines().filter(|line| !is_stale(line)).collect();
    fs::write(&path, kept.join("\n") + "\n")?;
    match record {
        Some(record) => start(bridge, record.ifindex, stop).await,
        None => Ok(()),
    }
}

async fn start(bridge: &OwnBridge, ifindex: u32, stop: &CancellationToken) -> Result<(), NetworkError> {
    let path = bridge.folder.join("dnsmasq.log");
    fs::write(&path, "")?;
    // Appended to, so that whoever finds it too long may cut it.
    let log = fs::OpenOptions::new().append(true).open(&path)?;
    let command = Command::new("dnsmasq").args(["--keep-in-foreground", &configuration_argument(bridge)]);
    let mut child = command.start_detached(log.file())?;
    if let Some(process) = child.id().and_then(ProcessId::of) {
        let text = serde_json::to_vec(&Record { process, ifindex }).map_err(io::Error::from)?;
        fs::write(record_path(bridge), text)?;
    }
    let limit = Instant::now() + READY;
    loop {
        let said = fs::read_to_string(&path)?;
        if let Some(status) = child.try_wait()? {
            return Err(failed(bridge, format!("it ended with {status}"), &said));
        }
        // Said after all sockets are bound and its rights are dropped (dnsmasq 2.90).
        if said.contains("started, version") {
            return able(bridge, &path).await;
        }
        if stop.is_cancelled() {
            return Err(NetworkError::Cancelled(bridge.name.clone()));
        }
        if Instant::now() > limit {
            return Err(failed(bridge, format!("it was not ready after {READY:?}"), &said));
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Fails when dnsmasq runs on without reading our files, which it says (2.90) a moment after its start.
async fn able(bridge: &OwnBridge, log: &Path) -> Result<(), NetworkError> {
    sleep(LOOK_AGAIN).await;
    let said = fs::read_to_string(log)?;
    let blind = ["bad dynamic directory", "failed to create inotify"];
    if !blind.iter().any(|words| said.contains(words)) {
        return Ok(());
    }
    let error = failed(bridge, "it cannot read its folders".to_owned(), &said);
    end(bridge).await?;
    Err(error)
}

fn failed(bridge: &OwnBridge, state: String, log: &str) -> NetworkError {
    let mut lines: Vec<&str> = log.lines().rev().take(3).collect();
    lines.reverse();
    NetworkError::Dnsmasq { bridge: bridge.name.clone(), state, said: lines.join(" / ") }
}

fn configuration_path(bridge: &OwnBridge) -> PathBuf {
    bridge.folder.join("dnsmasq.conf")
}

fn record_path(bridge: &OwnBridge) -> PathBuf {
    bridge.folder.join("dnsmasq.json")
}

fn configuration_argument(bridge: &OwnBridge) -> String {
    format!("--conf-file={}", configuration_path(bridge).display())
}

fn recorded(bridge: &OwnBridge) -> Option<Record> {
    serde_json::from_slice(&fs::read(record_path(bridge)).ok()?).ok()
}

/// All that run for this folder: also one whose starter was killed before it could record it.
fn running(bridge: &OwnBridge) -> Vec<ProcessId> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(ProcessId::of).filter(|process| is_ours(bridge, *process)).collect()
}

/// Whether it is alive and was started with our configuration: the kernel's own word, not only the record's.
fn is_ours(bridge: &OwnBridge, process: ProcessId) -> bool {
    let Ok(line) = fs::read(format!("/proc/{}/cmdline", process.pid)) else { return false };
    let wanted = configuration_argument(bridge);
    // Between `setsid` and `dnsmasq` the same process has both names in front.
    let arguments: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
    process.is_alive()
        && arguments.contains(&b"--keep-in-foreground".as_slice())
        && arguments.contains(&wanted.as_bytes())
}
