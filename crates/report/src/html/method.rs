//! How something was measured, on what, and from which file: what a sceptical reader looks up.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use winstead_measurement::{
    Contention,
    contention::{Arm, DiskLimit, Way},
};
use winstead_statistics::{Bootstrap, Seed, Summary};

use super::{Subject, view::Fact};
use crate::{
    number::{bytes, digits, grouped},
    tables::arm_meaning,
};

/// A time that a person can read, and that means the same everywhere.
pub(super) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// The experiment in a few words.
pub(super) fn summary(document: &Contention) -> Vec<String> {
    let (design, host) = (&document.design, &document.host);
    let agents: Vec<String> = design.agents.iter().map(ToString::to_string).collect();
    vec![
        format!("{} machines at once", agents.join(", ")),
        format!("{} runs of each", design.repeats),
        format!("{} cores, {}", host.cpus, host.accelerator),
        time(document.started_at),
    ]
}

/// How it was measured.
pub(super) fn measured(document: &Contention) -> Vec<Fact> {
    let design = &document.design;
    let planned = design.arms.len() * design.agents.len() * design.repeats as usize;
    vec![
        Fact::new("Arms", design.arms.iter().map(|arm| format!("{}: {}", arm.name(), arm_meaning(*arm)))),
        Fact::new(
            "Runs",
            [format!(
                "{} of {planned} planned: each arm, each number of machines, {} times",
                document.runs.len(),
                design.repeats
            )],
        ),
        Fact::new("Order of the arms", orders(document)),
        Fact::new(
            "Each machine ran",
            design
                .workloads
                .iter()
                .map(|workload| format!("winstead-probe {}", workload.arguments.join(" "))),
        ),
        Fact::new("Warm-up", [warm_up(document)]),
        Fact::new("How machines started", [starts(document)]),
        Fact::new("Way into machines", [ways(document)]),
        Fact::new(
            "At once",
            [format!(
                "all machines waited at a barrier; the last began at most {} ms after the first",
                digits(latest(document) * 1e3)
            )],
        ),
    ]
}

/// How it was judged.
pub(super) fn judged(seed: u64) -> Vec<Fact> {
    vec![
        Fact::new("Intervals", [intervals(seed)]),
        Fact::new(
            "Comparisons",
            [
                "in an open loop p99 decides, in a closed one throughput (the runs' ranks, Mann and Whitney; the ratio's interval after Hodges and Lehmann), which was settled before measuring; other percentiles stand beside, with wider intervals. The largest number of machines of which anything was measured leads, no other one. No outlier is removed, an error or a time-out is a sample, percentiles are taken of merged histograms and never averaged.",
            ],
        ),
        Fact::new(
            "Failures",
            [
                "a run fails when a machine in it gives no result, since machines of a run die together. Wilson's interval for each arm, Newcombe's for the difference, Fisher's exact test for its probability. Shares of failed operations are compared run by run, by ranks.",
            ],
        ),
        Fact::new(
            "Throughput",
            [
                "the Universal Scalability Law X(N) = λN / (1 + σ(N−1) + κN(N−1)), fitted to all runs in which no machine died. A run's throughput is what all its machines did, divided by the time until the last had ended. Little's law checks that latency and throughput agree.",
            ],
        ),
    ]
}

/// The order in which each repeat went through the arms, as it was measured.
fn orders(document: &Contention) -> Vec<String> {
    let mut orders: BTreeMap<u32, Vec<Arm>> = BTreeMap::new();
    for run in &document.runs {
        let order = orders.entry(run.repeat).or_default();
        if !order.contains(&run.arm) {
            order.push(run.arm);
        }
    }
    let names = |order: &[Arm]| order.iter().map(|arm| arm.name()).collect::<Vec<_>>().join(", ");
    orders.iter().map(|(repeat, order)| format!("run {repeat}: {}", names(order))).collect()
}

fn warm_up(document: &Contention) -> String {
    let workloads = document.runs.iter().flat_map(|run| &run.workloads);
    let results = workloads.flat_map(|run| &run.machines).filter_map(|machine| machine.result.as_ref());
    let seconds: BTreeSet<String> =
        results.filter_map(|result| result["parameters"]["warmupSeconds"].as_f64()).map(digits).collect();
    match seconds.len() {
        0 => "results do not say".to_owned(),
        _ => format!("{} s of each run, not counted", seconds.into_iter().collect::<Vec<_>>().join(" or ")),
    }
}

fn starts(document: &Contention) -> String {
    let found = document.runs.iter().flat_map(|run| &run.started_from);
    let found = found.map(|(how, count)| (how.as_str(), u64::from(*count)));
    let counts = counted(found, |how, count| format!("{count} from {how}"));
    let brought: Vec<f64> = document.runs.iter().map(|run| run.bring_seconds).collect();
    let took = Summary::of(&brought).map(|took| {
        format!(
            "; bringing those of a run took {} s (median; {} to {} s)",
            digits(took.median),
            digits(took.minimum),
            digits(took.maximum)
        )
    });
    format!("new ones for each run, {counts}{}", took.unwrap_or_default())
}

fn ways(document: &Contention) -> String {
    let found = document.runs.iter().map(|run| (run.via.map_or("unknown", Way::name), 1));
    format!("one for all of a run: {}", counted(found, |way, runs| format!("{way} in {runs} runs")))
}

/// How often there was which, each as `say` has it.
fn counted<'a>(found: impl Iterator<Item = (&'a str, u64)>, say: impl Fn(&str, &str) -> String) -> String {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    found.for_each(|(what, count)| *counts.entry(what).or_default() += count);
    let said: Vec<String> = counts.iter().map(|(what, count)| say(what, &grouped(*count))).collect();
    said.join(", ")
}

fn latest(document: &Contention) -> f64 {
    let workloads = document.runs.iter().flat_map(|run| &run.workloads);
    workloads.map(|run| run.barrier_seconds).fold(0.0, f64::max)
}

fn intervals(seed: u64) -> String {
    let bootstrap = Bootstrap::with_seed(Seed(seed));
    format!(
        "{}, by resampling whole runs ({} times, seed {seed}): a run is the unit, since the operations of one share its disk and its neighbours. With five runs such an interval holds the truth somewhat less often than it says: in 81 to 92 % of simulated experiments, least often where runs differ much",
        bootstrap.confidence,
        grouped(u64::from(bootstrap.resamples)),
    )
}

/// On what it was measured.
pub(super) fn computer(document: &Contention) -> Vec<Fact> {
    let (host, machine, disk) = (&document.host, &document.design.machine, &document.host.disk);
    let unknown = || "unknown".to_owned();
    let guests = match host.accelerator.as_str() {
        "tcg" => "tcg: guests are emulated, so the CPU is soon the wall",
        other => other,
    };
    let mut facts = vec![
        Fact::new(
            "Processor",
            [format!(
                "{}, {} cores that may be used",
                host.cpu_model.clone().unwrap_or_else(unknown),
                host.cpus
            )],
        ),
        Fact::new("Memory", [bytes(host.memory_bytes as f64)]),
        Fact::new("Kernel", [host.kernel.clone()]),
        Fact::new("QEMU", [host.qemu.clone()]),
        Fact::new("Runs guests by", [guests]),
        Fact::new(
            "Disk",
            [format!(
                "{} on {} ({})",
                disk.file_system.clone().unwrap_or_else(unknown),
                disk.device.clone().unwrap_or_else(unknown),
                disk.options.clone().unwrap_or_else(unknown),
            )],
        ),
        Fact::new(
            "Each machine",
            [format!(
                "{} CPUs, {}, {}, image {}, pool {}",
                machine.cpus,
                bytes(machine.memory_bytes as f64),
                machine.os,
                machine.image,
                machine.pool
            )],
        ),
    ];
    facts.extend(document.design.disk_limit.map(|limit| Fact::new("Disk limit", [limited(limit)])));
    facts
}

fn limited(limit: DiskLimit) -> String {
    let operations = limit.iops.map(|count| format!("{} operations a second", grouped(count)));
    let volume = limit.bytes_per_second.map(|count| format!("{} a second", bytes(count as f64)));
    let limits: Vec<String> = operations.into_iter().chain(volume).collect();
    format!("{}, reads and writes each, for all machines of the disk arms together", limits.join(", "))
}

/// From which file, and how to get this page again.
pub(super) fn source(subject: &Subject<'_>) -> Vec<Fact> {
    let Subject { document, source, goal, .. } = subject;
    let goal = goal.map(|goal| format!(" --goal {}={}ms", goal.percentile, goal.within.as_millis()));
    // Not the file's name: whoever sends a report chooses it, and this line is made to be pasted.
    let again =
        format!("winstead report FILE --seed {}{} --html PAGE", source.seed, goal.unwrap_or_default());
    vec![
        Fact::new("File", [source.name.clone()]),
        Fact::new("SHA-256", [source.sha256.clone()]),
        Fact::new(
            "Measured by",
            [format!("winstead {}, from {}", document.winstead, time(document.started_at))],
        ),
        Fact::new("This page again", [again]),
    ]
}
