//! Probes that begin together: each prepares and says so, and only when all have (or have failed) are they told to begin.

use std::{
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdin},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use winstead_measurement::{contention::MachineRun, wall::HostSample};
use winstead_process::Command;

use crate::host::{self, Watched};

/// What a probe says when it is prepared (`--barrier`).
const READY: &str = "winstead-probe: ready";

/// The most that a probe may say: a result is some kilobytes.
const LONGEST: u64 = 16 << 20;
/// Of what it says beside that, the last lines are kept.
const LAST_WORDS: usize = 4;

/// A probe that is to be run.
pub(crate) struct Probe {
    /// Where.
    pub(crate) machine: String,
    /// What runs it, with `--barrier`.
    pub(crate) command: Command,
}

/// What came of it.
pub(crate) struct Together {
    /// When all were told to begin.
    pub(crate) started_at: Timestamp,
    /// From the first that was told to the last.
    pub(crate) spread: Duration,
    /// What each found, in the order given.
    pub(crate) machines: Vec<MachineRun>,
    /// What the host did from then until the last had ended.
    pub(crate) host: Vec<HostSample>,
}

/// Runs probes together, and watches the host meanwhile. One that is not ready, or has not
/// ended, after `limit` has failed; the others are measured all the same.
///
/// Cancel safety: cancel `stop` and await; what was begun is killed. So it is when this is dropped.
pub(crate) async fn together(
    probes: Vec<Probe>,
    watched: &Watched<'_>,
    limit: Duration,
    stop: &CancellationToken,
) -> Together {
    let (ready, mut prepared) = mpsc::unbounded_channel();
    let (open, opened) = watch::channel(false);
    let mut attended = JoinSet::new();
    for (place, probe) in probes.into_iter().enumerate() {
        let place_of_barrier = Place { ready: ready.clone(), opened: opened.clone() };
        let stop = stop.clone();
        attended.spawn(async move {
            tokio::select! {
                found = attend(probe, place_of_barrier, limit) => (place, found),
            () = stop.cancelled() => (place, None),
            }
        });
    }
    drop(ready);
    // Each holds its sender until it is ready or has failed.
    while prepared.recv().await.is_some() {}
    let (started_at, begun) = (Timestamp::now(), Instant::now());
    open.send_replace(true);
    let over = CancellationToken::new();
    let collect = async {
        let mut found = Vec::new();
        while let Some(one) = attended.join_next().await {
            found.extend(one.ok());
        }
        over.cancel();
        found
    };
    let (host, mut found) = tokio::join!(host::watch(watched, begun, &over), collect);
    found.sort_by_key(|(place, _)| *place);
    let found: Vec<Found> = found.into_iter().filter_map(|(_, found)| found).collect();
    let begun: Vec<Instant> = found.iter().filter_map(|found| found.begun).collect();
    let spread =
        begun.iter().max().zip(begun.iter().min()).map_or(Duration::ZERO, |(last, first)| *last - *first);
    Together { started_at, spread, machines: found.into_iter().map(|found| found.run).collect(), host }
}

/// A probe's place at the barrier.
struct Place {
    ready: mpsc::UnboundedSender<()>,
    opened: watch::Receiver<bool>,
}

struct Found {
    run: MachineRun,
    begun: Option<Instant>,
}

async fn attend(probe: Probe, place: Place, limit: Duration) -> Option<Found> {
    let mut begun = None;
    let outcome = match tokio::time::timeout(limit, run(&probe.command, place, &mut begun)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("the probe had not ended after {limit:?}")),
    };
    let (result, failure) = match outcome {
        Ok(result) => (Some(result), None),
        Err(said) => (None, Some(said)),
    };
    Some(Found { run: MachineRun { machine: probe.machine, result, failure }, begun })
}

async fn run(
    command: &Command,
    mut place: Place,
    begun: &mut Option<Instant>,
) -> Result<serde_json::Value, String> {
    let mut child = start(command).map_err(|error| format!("the probe could not be started: {error}"))?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, child.stderr.take()) else {
        return Err("the probe has no standard streams".to_owned());
    };
    let mut said = Said { lines: BufReader::new(stderr).lines(), last: Vec::new() };
    if said.until_ready().await {
        drop(place.ready);
        // Fails only when the barrier is gone, and with it whoever waits for this.
        place.opened.wait_for(|open| *open).await.map_err(|_| "nobody opened the barrier".to_owned())?;
        begin(&mut stdin).await;
        *begun = Some(Instant::now());
    }
    let mut answer = Vec::new();
    let mut answers = stdout.take(LONGEST);
    let (read, ()) = tokio::join!(answers.read_to_end(&mut answer), said.rest());
    let status = child.wait().await;
    match (read, status) {
        (Ok(_), Ok(status)) => judge(&answer, status, &said.last),
        (Err(error), _) | (_, Err(error)) => Err(format!("the probe was lost: {error}")),
    }
}

/// A probe that lost its disk says what it measured until then, and ends with an error: a result all the same.
fn judge(answer: &[u8], status: ExitStatus, last_words: &[String]) -> Result<serde_json::Value, String> {
    serde_json::from_slice(answer).map_err(|_| match last_words {
        [] => format!("the probe ended without a result: {status}"),
        words => format!("the probe ended without a result ({status}); it said: {}", words.join(" / ")),
    })
}

fn start(command: &Command) -> std::io::Result<Child> {
    tokio::process::Command::from(command.interactive())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C is for us: machines are told in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// A probe that has ended meanwhile says so by its status.
async fn begin(stdin: &mut ChildStdin) {
    let told = async {
        stdin.write_all(b"\n").await?;
        stdin.flush().await
    };
    if let Err(error) = told.await {
        tracing::debug!(%error, "a probe was not told to begin");
    }
}

/// What a probe says on standard error.
struct Said {
    lines: Lines<BufReader<ChildStderr>>,
    last: Vec<String>,
}

impl Said {
    /// Whether it came to be ready; else it has ended.
    async fn until_ready(&mut self) -> bool {
        while let Ok(Some(line)) = self.lines.next_line().await {
            if line.trim_end() == READY {
                return true;
            }
            self.keep(line);
        }
        false
    }

    async fn rest(&mut self) {
        while let Ok(Some(line)) = self.lines.next_line().await {
            self.keep(line);
        }
    }

    fn keep(&mut self, line: String) {
        self.last.push(line);
        if self.last.len() > LAST_WORDS {
            self.last.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(machine: &str, script: &str) -> Probe {
        Probe { machine: machine.to_owned(), command: Command::new("sh").args(["-c", script]) }
    }

    async fn run(probes: Vec<Probe>, limit: Duration) -> Together {
        together(probes, &Watched::default(), limit, &CancellationToken::new()).await
    }

    const READY_THEN: &str = "echo 'winstead-probe: ready' >&2; read line; ";

    #[tokio::test]
    async fn nobody_begins_before_the_slowest_is_ready() {
        let quick = format!("{READY_THEN} date +%s%N");
        let slow = format!("sleep 0.6; {quick}");
        let ready = "date +%s%N >&2; ";
        let found =
            run(vec![probe("a", &quick), probe("b", &format!("{ready}{slow}"))], Duration::from_secs(60))
                .await;
        let at: Vec<u64> = found
            .machines
            .iter()
            .map(|run| run.result.as_ref().and_then(serde_json::Value::as_u64).expect("ns"))
            .collect();
        let apart = at[0].abs_diff(at[1]);
        assert!(apart < 400_000_000, "{apart} ns apart: one did not wait for the other");
        assert!(found.spread < Duration::from_millis(400), "{:?}", found.spread);
    }

    #[tokio::test]
    async fn one_that_fails_before_the_barrier_does_not_keep_the_others() {
        let fine = format!("{READY_THEN} echo '{{\"kind\": \"ProbeResult\"}}'");
        let found =
            run(vec![probe("a", "echo 'disk full' >&2; exit 1"), probe("b", &fine)], Duration::from_secs(60))
                .await;
        let failure = found.machines[0].failure.as_deref().unwrap_or_default();
        assert_eq!(failure, "the probe ended without a result (exit status: 1); it said: disk full");
        assert_eq!(found.machines[1].result, Some(serde_json::json!({"kind": "ProbeResult"})));
    }

    #[tokio::test]
    async fn one_that_hangs_has_failed_when_its_time_is_over() {
        let found = run(vec![probe("a", "sleep 1000")], Duration::from_millis(300)).await;
        assert_eq!(found.machines[0].failure.as_deref(), Some("the probe had not ended after 300ms"));
    }

    #[tokio::test]
    async fn a_result_counts_whatever_the_status_is() {
        let lost = format!("{READY_THEN} echo '{{\"ended\": \"lost\"}}'; exit 1");
        let found = run(vec![probe("a", &lost)], Duration::from_secs(60)).await;
        assert_eq!(found.machines[0].result, Some(serde_json::json!({"ended": "lost"})));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_failed_machine() {
        let nothing = Probe { machine: "a".to_owned(), command: Command::new("/no/such/program") };
        let found = run(vec![nothing], Duration::from_secs(60)).await;
        let failure = found.machines[0].failure.as_deref().unwrap_or_default();
        assert!(failure.starts_with("the probe could not be started"), "{failure}");
    }
}
