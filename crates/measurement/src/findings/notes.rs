//! What a reader should know before believing an experiment's numbers.

use std::collections::BTreeMap;

use serde_json::Value;
use winstead_statistics::{Bootstrap, MINIMUM_RUNS};

use super::{Cell, LostCell, WorkloadFindings, counted};
use crate::contention::{Arm, Contention, Way};

/// A deviation from Little's law beyond this is a fault of the measuring, not noise.
const LITTLES_TOLERANCE: f64 = 0.1;

/// The notes, those on the whole experiment first.
pub(super) fn notes(
    document: &Contention,
    workloads: &[WorkloadFindings],
    bootstrap: Bootstrap,
) -> Vec<String> {
    let mut notes = on_the_experiment(document, workloads);
    notes.extend(on_images(document));
    notes.extend(on_ways(document));
    notes.extend(on_the_page_cache(document));
    notes.extend(workloads.iter().flat_map(on_a_workload));
    notes.extend(of_results(document));
    notes.push(format!(
        "intervals: {} confidence, {} resamples of whole runs, seed {}",
        bootstrap.confidence, bootstrap.resamples, bootstrap.seed.0
    ));
    notes
}

fn on_the_experiment(document: &Contention, workloads: &[WorkloadFindings]) -> Vec<String> {
    let design = &document.design;
    let planned = design.arms.len() * design.agents.len() * design.repeats as usize;
    let (measured, repeats) = (document.runs.len(), design.repeats);
    let emulated = document.host.accelerator == "tcg";
    let apply = [
        (
            measured < planned,
            format!("{measured} of {planned} planned runs were measured: it was interrupted"),
        ),
        (
            (repeats as usize) < MINIMUM_RUNS,
            format!("{repeats} runs of each are too few: at least {MINIMUM_RUNS} are needed"),
        ),
        (
            emulated,
            "guests were emulated (no KVM): the CPU is the wall sooner than on a real host".to_owned(),
        ),
    ];
    let missing =
        design.workloads.iter().filter(|workload| workloads.iter().all(|found| found.name != workload.name));
    let missing = missing.map(|workload| format!("{}: no machine measured anything", workload.name));
    apply.into_iter().filter(|(applies, _)| *applies).map(|(_, note)| note).chain(missing).collect()
}

/// Runs that stood on several versions of the image: an experiment that went on after the image was built again.
fn on_images(document: &Contention) -> Option<String> {
    let several = several(document.runs.iter().filter_map(|run| run.image.as_deref()))?;
    Some(format!("machines stood on several versions of the image ({several}): arms may differ by it"))
}

/// Runs whose machines were entered by several ways: somebody wanted it so when the experiment went on.
fn on_ways(document: &Contention) -> Option<String> {
    let several = several(document.runs.iter().filter_map(|run| run.via).map(Way::name))?;
    Some(format!("machines were entered by several ways ({several}): arms may differ by it"))
}

/// In how many runs there was which; nothing: there was one in all of them.
fn several<'a>(found: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    found.for_each(|what| *counts.entry(what).or_default() += 1);
    let counted: Vec<String> = counts.iter().map(|(what, runs)| format!("{what} in {runs} runs")).collect();
    (counted.len() > 1).then(|| counted.join(", "))
}

/// A disk behind the host's page cache is partly RAM.
fn on_the_page_cache(document: &Contention) -> Option<String> {
    let on_disk = || document.runs.iter().filter(|run| run.arm != Arm::Ram);
    let cached = on_disk().filter(|run| run.direct == Some(false)).count();
    (cached > 0).then(|| {
        format!(
            "in {cached} of {} runs on the disk machines went through the host's page cache: the disk looks better than \
             it is",
            on_disk().count()
        )
    })
}

fn on_a_workload(workload: &WorkloadFindings) -> Vec<String> {
    let on_a_cell = |cell: &Cell| {
        let place =
            format!("{}, {} with {}", workload.name, counted(cell.agents, "machine"), cell.arm.spoken());
        let off = cell.littles_law.filter(|law| !law.holds_within(LITTLES_TOLERANCE));
        [
            (cell.failed_machines > 0).then(|| {
                format!(
                    "{place}: {} of {} machines gave no result; throughput is that of the others",
                    cell.failed_machines, cell.machines
                )
            }),
            (cell.failed_operations > 0).then(|| {
                format!(
                    "{place}: {} of {} operations failed; they are in the percentiles",
                    cell.failed_operations, cell.operations
                )
            }),
            off.map(|law| {
                format!(
                    "{place}: throughput and latency disagree by {:.0} % (Little's law): operations were not counted, or \
                     workers did something else",
                    100.0 * law.deviation.abs()
                )
            }),
        ]
    };
    let on_a_lost_cell = |lost: &LostCell| {
        let (machines, arm) = (counted(lost.agents, "machine"), lost.arm.spoken());
        format!(
            "{}, {machines} with {arm}: all {} machines died, so there are no numbers of them",
            workload.name, lost.machines
        )
    };
    let lost = workload.lost.iter().map(on_a_lost_cell);
    workload.cells.iter().flat_map(on_a_cell).flatten().chain(lost).collect()
}

/// What the machines' own results say, each once, with how many say it.
fn of_results(document: &Contention) -> Vec<String> {
    let runs = document.runs.iter().flat_map(|run| &run.workloads);
    let results: Vec<&Value> =
        runs.flat_map(|run| &run.machines).filter_map(|machine| machine.result.as_ref()).collect();
    let mut said: BTreeMap<&str, usize> = BTreeMap::new();
    for note in results.iter().filter_map(|result| result["notes"].as_array()).flatten() {
        *said.entry(note.as_str().unwrap_or_default()).or_default() += 1;
    }
    let of = results.len();
    said.into_iter().map(|(note, times)| format!("{times} of {of} results say: {note}")).collect()
}
