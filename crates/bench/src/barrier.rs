//! Probes that begin together: each prepares and says so, and only when all have (or have failed) are they told to
//! begin.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use winstead_measurement::{contention::MachineRun, wall::HostSample};

use crate::{
    call,
    host::{self, Watched},
    launch::Launch,
};

/// A probe that is to be run.
pub(crate) struct Probe {
    /// Where.
    pub(crate) machine: String,
    /// What runs it, with `--barrier`.
    pub(crate) launch: Launch,
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

/// Runs probes together, and watches the host meanwhile. One that is not ready after `limit`, or has not ended that
/// long after the barrier opened, has failed; the others are measured all the same.
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
                found = attend(probe, place_of_barrier, limit) => (place, Some(found)),
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
        // A panic in one of them is one here.
        let found = attended.join_all().await;
        over.cancel();
        found
    };
    let (host, mut found) = tokio::join!(host::watch(watched, begun, &over), collect);
    found.sort_by_key(|(place, _)| *place);
    let found: Vec<Found> = found.into_iter().filter_map(|(_, found)| found).collect();
    let spread = spread(&found);
    Together { started_at, spread, machines: found.into_iter().map(|found| found.run).collect(), host }
}

/// From the first that was told to begin to the last.
fn spread(found: &[Found]) -> Duration {
    let begun = || found.iter().filter_map(|found| found.begun);
    begun().max().zip(begun().min()).map_or(Duration::ZERO, |(last, first)| last - first)
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

async fn attend(probe: Probe, place: Place, limit: Duration) -> Found {
    let mut begun = None;
    let (result, failure) = match run(&probe.launch, place, limit, &mut begun).await {
        Ok(result) => (Some(result), None),
        Err(said) => (None, Some(said)),
    };
    Found { run: MachineRun { machine: probe.machine, result, failure }, begun }
}

async fn run(
    launch: &Launch,
    place: Place,
    limit: Duration,
    begun: &mut Option<Instant>,
) -> Result<Value, String> {
    let (mut call, mut said) = call::start(launch)?;
    let Place { ready, mut opened } = place;
    let is_ready = timeout(limit, said.until_ready()).await;
    // Whatever came of it, the others wait for this one no longer.
    drop(ready);
    match is_ready {
        Err(_) => return Err(format!("the probe was not ready after {limit:?}{}", said.words())),
        Ok(false) => {}
        Ok(true) => {
            // Fails only when the barrier is gone, and with it whoever waits for this.
            opened.wait_for(|open| *open).await.map_err(|_| "nobody opened the barrier".to_owned())?;
            call.begin().await;
            *begun = Some(Instant::now());
        }
    }
    match timeout(limit, call.end(&mut said)).await {
        Ok(found) => found,
        Err(_) => Err(format!("the probe had not ended after {limit:?}{}", said.words())),
    }
}

#[cfg(test)]
mod tests {
    use winstead_process::Command;

    use super::*;
    use crate::call::tests::RESULT;

    fn probe(machine: &str, script: &str) -> Probe {
        Probe { machine: machine.to_owned(), launch: Command::new("sh").args(["-c", script]).into() }
    }

    async fn run(probes: Vec<Probe>, limit: Duration) -> Together {
        together(probes, &Watched::default(), limit, &CancellationToken::new()).await
    }

    const READY_THEN: &str = "echo 'winstead-probe: ready' >&2; read line; ";

    /// A probe that finds something once it is told to begin.
    fn fine() -> String {
        format!("{READY_THEN} cat {RESULT}")
    }

    fn failure(run: &MachineRun) -> &str {
        run.failure.as_deref().unwrap_or_default()
    }

    #[tokio::test]
    async fn nobody_begins_before_the_slowest_is_ready() {
        // A result that says when it began.
        let quick = format!(
            "{READY_THEN} sed \"s/\\(\\\"elapsedSeconds\\\":\\) [0-9.]*/\\1 $(date +%s.%N)/\" {RESULT}"
        );
        let slow = format!("sleep 0.6; {quick}");
        let found = run(vec![probe("a", &quick), probe("b", &slow)], Duration::from_secs(60)).await;
        let began = |run: &MachineRun| {
            let result = run.result.as_ref().unwrap_or_else(|| panic!("{run:?}"));
            result["elapsedSeconds"].as_f64().expect("seconds")
        };
        let apart = (began(&found.machines[0]) - began(&found.machines[1])).abs();
        assert!(apart < 0.4, "{apart} s apart: one did not wait for the other");
        assert!(found.spread < Duration::from_millis(400), "{:?}", found.spread);
    }

    #[tokio::test]
    async fn one_that_fails_before_the_barrier_does_not_keep_the_others() {
        let broken = probe("a", "echo 'disk full' >&2; exit 1");
        let found = run(vec![broken, probe("b", &fine())], Duration::from_secs(60)).await;
        let said = "the probe ended without a result (exit status: 1); it said: disk full";
        assert_eq!(failure(&found.machines[0]), said);
        assert!(found.machines[1].result.is_some(), "{:?}", found.machines[1]);
    }

    #[tokio::test]
    async fn nor_does_one_that_hangs_before_it() {
        let hangs = probe("a", "echo 'writing 1 GiB' >&2; exec sleep 1000");
        let slow = format!("{READY_THEN} sleep 1; cat {RESULT}");
        let found = run(vec![hangs, probe("b", &slow)], Duration::from_secs(5)).await;
        let said = "the probe was not ready after 5s; it said: writing 1 GiB";
        assert_eq!(failure(&found.machines[0]), said);
        assert!(found.machines[1].result.is_some(), "{:?}", found.machines[1]);
    }

    #[tokio::test]
    async fn nor_one_that_says_nothing_more_and_goes_on() {
        let mute = probe("a", "exec 2>&-; exec sleep 1000");
        let begun = Instant::now();
        let found = run(vec![mute, probe("b", &fine())], Duration::from_secs(5)).await;
        assert_eq!(failure(&found.machines[0]), "the probe had not ended after 5s");
        assert!(found.machines[1].result.is_some(), "{:?}", found.machines[1]);
        assert!(begun.elapsed() < Duration::from_secs(9), "its time did not run while the others prepared");
    }

    #[tokio::test]
    async fn one_that_hangs_behind_the_barrier_has_failed_with_its_last_words() {
        let hangs = format!("{READY_THEN} echo waiting >&2; exec sleep 1000");
        let found = run(vec![probe("a", &hangs)], Duration::from_secs(2)).await;
        assert_eq!(failure(&found.machines[0]), "the probe had not ended after 2s; it said: waiting");
    }

    #[tokio::test]
    async fn bytes_that_are_no_text_and_long_lines_do_not_hide_the_ready_line() {
        let odd =
            format!("printf 'Gr\\374\\337e\\r\\n' >&2; head -c 200000 /dev/zero >&2; echo >&2; {}", fine());
        let found = run(vec![probe("a", &odd)], Duration::from_secs(60)).await;
        assert!(found.machines[0].result.is_some(), "{:?}", found.machines[0]);
    }

    #[tokio::test]
    async fn a_line_without_an_end_is_cut() {
        let endless = "tr '\\0' x </dev/zero >&2";
        let found = run(vec![probe("a", endless), probe("b", &fine())], Duration::from_secs(2)).await;
        let said = failure(&found.machines[0]);
        assert!(said.starts_with("the probe was not ready after 2s; it said: xxx"), "{said}");
        assert!(said.len() < 10_000, "{}", said.len());
        assert!(found.machines[1].result.is_some(), "{:?}", found.machines[1]);
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_a_failed_machine() {
        let nothing = Probe { machine: "a".to_owned(), launch: Command::new("/no/such/program").into() };
        let found = run(vec![nothing], Duration::from_secs(60)).await;
        let said = failure(&found.machines[0]);
        assert!(said.starts_with("the probe could not be started"), "{said}");
    }
}
