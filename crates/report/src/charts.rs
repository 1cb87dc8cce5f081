//! Which charts show what a workload says.

use winstead_measurement::{
    contention::Arm,
    findings::{ArmScalability, Cell, Goal, WorkloadFindings},
};
use winstead_statistics::{Percentile, Scalability};

use crate::{
    chart::{Axis, Chart, Kind, Mark, Series, Shape},
    distribution::Curve,
    number::{duration, short, trimmed},
    table::Table,
    tables::{estimate, machines, quantile},
};

/// An arm's class in the style sheet (colour and dashes), and its mark: never told apart by colour alone.
const fn look(arm: Arm) -> (&'static str, Shape) {
    match arm {
        Arm::Ram => ("ram", Shape::Circle),
        Arm::Disk => ("disk", Shape::Square),
        Arm::DiskNoflush => ("noflush", Shape::Triangle),
    }
}

/// The arms of a workload with their cells, from few machines to many.
fn arms(workload: &WorkloadFindings) -> Vec<(Arm, Vec<&Cell>)> {
    let mut arms: Vec<(Arm, Vec<&Cell>)> = Vec::new();
    for cell in &workload.cells {
        match arms.iter_mut().find(|(arm, _)| *arm == cell.arm) {
            Some((_, cells)) => cells.push(cell),
            None => arms.push((cell.arm, vec![cell])),
        }
    }
    arms
}

/// The largest number of machines of which anything was measured.
pub(crate) fn most(workload: &WorkloadFindings) -> u32 {
    workload.cells.iter().map(|cell| cell.agents).max().unwrap_or_default()
}

fn agents_axis(workload: &WorkloadFindings) -> Axis {
    let mut agents: Vec<u32> = workload.cells.iter().map(|cell| cell.agents).collect();
    agents.sort_unstable();
    agents.dedup();
    let most = f64::from(most(workload));
    Axis {
        label: "machines at once".to_owned(),
        kind: Kind::Linear,
        range: Some([0.0, most.max(1.0)]),
        ticks: Some(agents.into_iter().map(f64::from).collect()),
        shown: |agents| agents.to_string(),
    }
}

pub(crate) fn latency_axis(label: &str) -> Axis {
    Axis {
        label: label.to_owned(),
        kind: Kind::Log,
        range: None,
        ticks: None,
        shown: |nanos| trimmed(&duration(nanos)),
    }
}

/// p99 against the number of machines, a line for each arm, with what is uncertain about it.
pub(crate) fn latency(workload: &WorkloadFindings, goal: Option<Goal>) -> Chart {
    let mut series: Vec<Series> = goal_line(workload, goal).into_iter().collect();
    let mut described = Vec::new();
    for (arm, cells) in arms(workload) {
        let (class, shape) = look(arm);
        let mut line = Series { class, label: arm.name().to_owned(), ..Series::default() };
        for cell in cells {
            let Some(found) = quantile(cell, Percentile::P99) else { continue };
            let at = [f64::from(cell.agents), found.nanos];
            let said = found
                .interval
                .map_or_else(|| duration(found.nanos), |interval| estimate(&interval, duration));
            let title = format!("{}, {}: p99 {said}", arm.name(), machines(cell.agents));
            line.band.extend(found.interval.map(|interval| [at[0], interval.low, interval.high]));
            line.line.push(at);
            line.marks.push(Mark { at, shape, title: title.clone() });
            described.push(title);
        }
        series.push(line);
    }
    Chart {
        title: format!("{}: p99 latency against machines at once", workload.name),
        description: described.join("; "),
        x: agents_axis(workload),
        y: latency_axis("p99 latency (log scale)"),
        series,
    }
}

/// What was to hold, where it is about the percentile that is shown.
fn goal_line(workload: &WorkloadFindings, goal: Option<Goal>) -> Option<Series> {
    let goal = goal.filter(|goal| goal.percentile == Percentile::P99)?;
    let nanos = goal.within.as_secs_f64() * 1e9;
    let line = vec![[0.0, nanos], [f64::from(most(workload)), nanos]];
    Some(Series { class: "goal", label: "goal".to_owned(), line, ..Series::default() })
}

/// Throughput against the number of machines: each run, their median, and the law where one was fitted.
pub(crate) fn throughput(workload: &WorkloadFindings) -> Chart {
    let mut described = Vec::new();
    let mut series = Vec::new();
    for (arm, cells) in arms(workload) {
        let (class, shape) = look(arm);
        let law = workload.scalability.iter().find(|found| found.arm == arm).and_then(|found| found.law);
        let medians = cells.iter().map(|cell| [f64::from(cell.agents), cell.throughput.median]);
        let line = law.map_or_else(|| medians.collect(), |law| curve(&law, most(workload)));
        let mut marks = Vec::new();
        for cell in cells {
            let at = |rate| [f64::from(cell.agents), rate];
            let (name, count) = (arm.name(), machines(cell.agents));
            let run = |rate: &f64| Mark {
                at: at(*rate),
                shape: Shape::Dot,
                title: format!("{name}, {count}, one run: {} a second", short(*rate)),
            };
            marks.extend(cell.throughput.per_run.iter().map(run));
            let title = format!("{name}, {count}: median {} a second", short(cell.throughput.median));
            described.push(title.clone());
            marks.push(Mark { at: at(cell.throughput.median), shape, title });
        }
        series.push(Series { class, label: arm.name().to_owned(), line, marks, ..Series::default() });
    }
    Chart {
        title: format!("{}: operations a second against machines at once", workload.name),
        description: described.join("; "),
        x: agents_axis(workload),
        y: Axis {
            label: "operations a second, all machines".to_owned(),
            kind: Kind::Linear,
            range: None,
            ticks: None,
            shown: |rate| trimmed(&short(rate)),
        },
        series,
    }
}

/// X(N) = λN / (1 + σ(N−1) + κN(N−1)).
fn predicted(law: &Scalability, n: f64) -> f64 {
    let (sigma, kappa) = (law.sigma.estimate, law.kappa.estimate);
    law.lambda.estimate * n / (1.0 + sigma * (n - 1.0) + kappa * n * (n - 1.0))
}

/// The law from one machine to the most that were measured.
fn curve(law: &Scalability, most: u32) -> Vec<[f64; 2]> {
    const STEPS: u32 = 48;
    let at = |step: u32| {
        let n = 1.0 + f64::from(most.max(1) - 1) * f64::from(step) / f64::from(STEPS);
        [n, predicted(law, n)]
    };
    (0..=STEPS).map(at).collect()
}

/// What the law of an arm says for the numbers of machines that were measured.
pub(crate) fn law_values(workload: &WorkloadFindings) -> Table {
    let mut table = Table::new(
        format!("{}: the curves, in operations a second", workload.name),
        &["arm", "#machines", "#median", "#curve"],
    );
    for ArmScalability { arm, law, .. } in &workload.scalability {
        let Some(law) = law else { continue };
        for cell in workload.cells.iter().filter(|cell| cell.arm == *arm) {
            let value = predicted(law, f64::from(cell.agents));
            table.row([
                arm.name().to_owned(),
                cell.agents.to_string(),
                short(cell.throughput.median),
                short(value),
            ]);
        }
    }
    table
}

/// What the arms with the most machines are in a distribution.
pub(crate) fn curves(workload: &WorkloadFindings) -> Vec<Curve<'_>> {
    let most = most(workload);
    let with_most = workload.cells.iter().filter(|cell| cell.agents == most);
    with_most
        .map(|cell| {
            let (class, shape) = look(cell.arm);
            Curve { name: cell.arm.name(), class, shape, histogram: &cell.histogram }
        })
        .collect()
}
