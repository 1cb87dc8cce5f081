//! What an experiment says as tables: the same for a page, a terminal and Markdown.
//!
//! Latencies are in milliseconds, which their headings say.

use winstead_measurement::{
    contention::Arm,
    findings::{ArmComparison, Arrivals, Cell, Decision, FailureFinding, WallCount, WorkloadFindings},
    quantile::Quantile,
    wall::WallKind,
};
use winstead_statistics::{FailureComparison, Interval, Peak, Percentile, Probability, Scalability, Verdict};

use crate::{
    number::{digits, grouped, millis, percent, short, trimmed},
    table::Table,
};

/// Nothing to say.
const NONE: &str = "-";

/// The percentiles of each arm and number of machines, what all machines did, and what held them back.
pub(crate) fn latencies(workload: &WorkloadFindings) -> Table {
    let caption = format!("{}: latency in ms, throughput in operations a second", workload.name);
    let headings = ["arm", "#N", "#p50", "#p95", "#p99", "#p99 interval", "#p99.9", "#max", "#ops/s", "wall"];
    let mut table = Table::new(caption, &headings);
    for cell in &workload.cells {
        let at = |percentile| {
            quantile(cell, percentile).map_or_else(|| NONE.to_owned(), |found| millis(found.nanos))
        };
        let interval = quantile(cell, Percentile::P99).and_then(|found| found.interval);
        table.row([
            cell.arm.name().to_owned(),
            cell.agents.to_string(),
            at(Percentile::P50),
            at(Percentile::P95),
            at(Percentile::P99),
            interval.map_or_else(|| NONE.to_owned(), |interval| between(&interval, millis)),
            at(Percentile::P999),
            at(Percentile::MAX),
            short(cell.throughput.median),
            cell.walls.first().map_or_else(|| NONE.to_owned(), |wall| wall_name(wall.kind).to_owned()),
        ]);
    }
    table
}

/// All percentiles with their intervals.
pub(crate) fn intervals(workload: &WorkloadFindings) -> Table {
    let caption = format!("{}: latency in ms, with the intervals of its percentiles", workload.name);
    let percentiles = Percentile::SHOWN.map(|percentile| format!("#{percentile}"));
    let headings: Vec<&str> = ["arm", "#machines"]
        .into_iter()
        .chain(percentiles.iter().map(String::as_str))
        .chain(["#runs", "#operations", "#failed"])
        .collect();
    let mut table = Table::new(caption, &headings);
    for cell in &workload.cells {
        let known = Percentile::SHOWN
            .map(|percentile| quantile(cell, percentile).map_or_else(|| NONE.to_owned(), with_interval));
        let counts = [cell.runs as u64, cell.operations, cell.failed_operations].map(grouped);
        let names = [cell.arm.name().to_owned(), cell.agents.to_string()];
        table.row(names.into_iter().chain(known).chain(counts));
    }
    table
}

fn with_interval(found: &Quantile) -> String {
    found.interval.as_ref().map_or_else(|| millis(found.nanos), |interval| estimate(interval, millis))
}

/// What all machines of a run together did.
pub(crate) fn throughputs(workload: &WorkloadFindings) -> Table {
    let caption = format!("{}: operations a second of all machines together", workload.name);
    let mut table =
        Table::new(caption, &["arm", "#machines", "#median", "interval", "~each run", "Little's law"]);
    for cell in &workload.cells {
        let law = cell
            .littles_law
            .map_or_else(|| NONE.to_owned(), |law| format!("off by {}", trimmed(&percent(law.deviation))));
        let each = cell.throughput.per_run.iter().map(|rate| short(*rate)).collect::<Vec<_>>();
        table.row([
            cell.arm.name().to_owned(),
            cell.agents.to_string(),
            short(cell.throughput.median),
            cell.throughput
                .interval
                .as_ref()
                .map_or_else(|| NONE.to_owned(), |interval| between(interval, short)),
            each.join(", "),
            law,
        ]);
    }
    table
}

/// The law of each arm, or why there is none.
pub(crate) fn laws(workload: &WorkloadFindings) -> Table {
    let caption =
        format!("{}: how throughput grows with machines (Universal Scalability Law)", workload.name);
    let mut table = Table::new(
        caption,
        &[
            "arm",
            "λ, one machine's ops/s",
            "σ, the share that queues",
            "κ, what each pair costs",
            "#worst deviation",
            "~in words",
        ],
    );
    for found in &workload.scalability {
        let words =
            found.why_not.clone().or_else(|| found.law.map(|law| peak(&law.peak))).unwrap_or_default();
        let known = |of: fn(&Scalability) -> String| found.law.as_ref().map_or_else(|| NONE.to_owned(), of);
        table.row([
            found.arm.name().to_owned(),
            known(|law| estimate(&law.lambda, short)),
            known(|law| estimate(&law.sigma, digits)),
            known(|law| estimate(&law.kappa, digits)),
            known(|law| percent(law.worst_deviation)),
            words,
        ]);
    }
    table
}

fn peak(peak: &Peak) -> String {
    match peak {
        Peak::Measured { machines } => format!("most at {} machines", estimate(machines, digits)),
        Peak::Extrapolated { machines, measured_to } => {
            format!(
                "bends beyond what was measured: a guess of {} machines, measured up to {measured_to}",
                digits(*machines)
            )
        }
        Peak::NotShown { measured_to } => format!("no peak shown up to {measured_to} machines"),
    }
}

/// What held machines back, and what says so.
pub(crate) fn walls(workload: &WorkloadFindings) -> Table {
    let mut table = Table::new(
        format!("{}: what held the machines back", workload.name),
        &["arm", "#machines", "wall", "in runs", "~evidence (first run)"],
    );
    for cell in &workload.cells {
        for WallCount { kind, runs, of, evidence } in &cell.walls {
            table.row([
                cell.arm.name().to_owned(),
                cell.agents.to_string(),
                wall_name(*kind).to_owned(),
                format!("{runs} of {of}"),
                evidence.clone(),
            ]);
        }
    }
    table
}

/// Arms beside each other, percentile by percentile.
pub(crate) fn comparisons(workload: &WorkloadFindings) -> Table {
    let decides = decides(workload.arrivals);
    let mut table = Table::new(
        format!("{}: arms compared; {decides} decides, the others stand beside it", workload.name),
        &["#machines", "candidate", "baseline", "figure", "verdict", "ratio", "~but"],
    );
    for found in &workload.comparisons {
        let throughput = found
            .throughput
            .as_ref()
            .map(|figure| ("throughput".to_owned(), decided(&found.decision).to_owned(), figure.ratio));
        let percentiles = std::iter::once(&found.comparison.primary).chain(&found.comparison.secondary);
        let percentiles = percentiles.map(|finding| {
            let (verdict, ratio) = verdict(&finding.verdict);
            (finding.percentile.to_string(), verdict, ratio)
        });
        for (figure, verdict, ratio) in throughput.into_iter().chain(percentiles) {
            table.row([
                found.agents.to_string(),
                found.candidate.name().to_owned(),
                found.baseline.name().to_owned(),
                figure,
                verdict,
                ratio.map_or_else(|| NONE.to_owned(), |ratio| format!("{}×", estimate(&ratio, digits))),
                found.caution.clone().unwrap_or_else(|| NONE.to_owned()),
            ]);
        }
    }
    table
}

/// How arms are compared: `at p99`, `by throughput`.
pub(crate) fn how_compared(arrivals: Arrivals) -> String {
    let preposition = if matches!(arrivals, Arrivals::Open { .. }) { "at" } else { "by" };
    format!("{preposition} {}", decides(arrivals))
}

/// The figure that decides.
const fn decides(arrivals: Arrivals) -> &'static str {
    match arrivals {
        Arrivals::Open { .. } => "p99",
        Arrivals::Closed { .. } => "throughput",
    }
}

const fn decided(decision: &Decision) -> &'static str {
    match decision {
        Decision::Better => "more",
        Decision::Worse => "less",
        Decision::NoDifferenceShown { .. } => "no difference shown",
        Decision::NotComparable => "cannot be compared",
    }
}

fn verdict(verdict: &Verdict) -> (String, Option<Interval>) {
    match verdict {
        Verdict::Slower { ratio } => ("slower".to_owned(), Some(*ratio)),
        Verdict::Faster { ratio } => ("faster".to_owned(), Some(*ratio)),
        Verdict::NoDifferenceShown { ratio } => ("no difference shown".to_owned(), Some(*ratio)),
        Verdict::NotComparable { reason } => (format!("cannot be compared: {reason}"), None),
    }
}

/// In how many runs a machine gave no result.
pub(crate) fn failures(findings: &[FailureFinding]) -> Table {
    let headings = ["arm", "#failed", "#of", "share", "compared with", "difference", "#Fisher's test"];
    let mut table = Table::new("runs in which a machine gave no result", &headings);
    for found in findings {
        let FailureComparison { baseline, candidate, difference, fisher, .. } = &found.comparison;
        let (failed, all) = (baseline.counts.failures(), baseline.counts.jobs());
        table.row([
            found.candidate.name().to_owned(),
            grouped(candidate.counts.failures()),
            grouped(candidate.counts.jobs()),
            estimate(&candidate.share, percent),
            format!("{}: {failed} of {all}", found.baseline.name()),
            estimate(difference, percent),
            fisher.map_or_else(|| NONE.to_owned(), |p| Probability(p).to_string()),
        ]);
    }
    table
}

/// One line for two arms with a number of machines.
pub(crate) fn compared(found: &ArmComparison) -> String {
    let (candidate, baseline) = (found.candidate.spoken(), found.baseline.spoken());
    let p99 = found.comparison.to_string().lines().next().unwrap_or_default().to_owned();
    // A closed loop's p99 does not decide.
    let beside = found.throughput.as_ref().map(|_| format!("beside it: {p99}"));
    let failed = found.failed_operations.as_ref().map(|failed| failed.sentence.clone());
    let said = [Some(found.deciding.clone()), beside, failed, found.caution.clone()];
    let said: Vec<String> = said.into_iter().flatten().collect();
    format!("{}, {candidate} against {baseline}: {}", machines(found.agents), said.join("; "))
}

/// `1 machine`, `4 machines`.
pub(crate) fn machines(count: u32) -> String {
    winstead_measurement::findings::counted(count, "machine")
}

/// A percentile of a cell.
pub(crate) fn quantile(cell: &Cell, percentile: Percentile) -> Option<&Quantile> {
    cell.percentiles.iter().find(|found| found.percentile == percentile)
}

/// What people call a wall.
pub(crate) const fn wall_name(kind: WallKind) -> &'static str {
    match kind {
        WallKind::Cpu => "CPU",
        WallKind::Memory => "memory",
        WallKind::Disk => "disk",
        WallKind::Flush => "flushes",
        WallKind::SimulatedLimit => "limit",
    }
}

/// What an arm is.
pub(crate) const fn arm_meaning(arm: Arm) -> &'static str {
    match arm {
        Arm::Ram => "disks in RAM",
        Arm::Disk => "disks on the disk, every flush carried out",
        Arm::DiskNoflush => "disks on the disk, flushes ignored: the cheap rival",
    }
}

/// `1.1-1.3`; `1.1 ms to 1.3 ms` where numbers have units.
fn between(interval: &Interval, shown: fn(f64) -> String) -> String {
    let (low, high) = (shown(interval.low), shown(interval.high));
    let to = if low.contains(' ') { " to " } else { "-" };
    format!("{low}{to}{high}")
}

/// `1.2 (1.1-1.3)`.
pub(crate) fn estimate(interval: &Interval, shown: fn(f64) -> String) -> String {
    format!("{} ({})", shown(interval.estimate), between(interval, shown))
}
