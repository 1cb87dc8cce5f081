//! A report for a terminal of 80 columns, without colours: the verdict, then the numbers, then what weakens them.

use winstead_measurement::{
    Findings,
    findings::{Arrivals, WorkloadFindings},
};

use crate::{
    number::{digits, trimmed},
    runs::Runs,
    tables::{self, compared},
    wrap::wrapped,
};

/// The report as lines of at most 80 columns, unless a document's names are longer.
#[must_use]
pub fn terminal(findings: &Findings) -> String {
    let mut text = headline(&findings.headline, findings.simulated.as_deref());
    text += &list("How many machines", findings.recommendations.iter().flat_map(|found| &found.sentences));
    for workload in &findings.workloads {
        text += &numbers(workload);
    }
    text += &list("Failures", findings.failures.iter().flat_map(|found| &found.sentences));
    text += &list("Notes", &findings.notes);
    text
}

/// Runs that nothing is compared with, likewise.
#[must_use]
pub fn terminal_of_runs(runs: &Runs) -> String {
    let mut text = headline(&runs.headline, None);
    for load in &runs.loads {
        text += &format!(
            "\n{}{}",
            wrapped("", &format!("{}; ms and operations a second", load.title())),
            load.table().text()
        );
    }
    text + &list("Notes", &runs.notes)
}

fn headline(sentences: &[String], simulated: Option<&str>) -> String {
    let mut sentences = sentences.iter();
    let mut text: String = sentences.next().map(|verdict| wrapped("", verdict)).into_iter().collect();
    text += &simulated.map(|mark| wrapped("", mark)).unwrap_or_default();
    let also: String = sentences.map(|sentence| wrapped("- ", sentence)).collect();
    if also.is_empty() { text } else { format!("{text}\n{also}") }
}

fn numbers(workload: &WorkloadFindings) -> String {
    let mut text = format!("\n{}", wrapped("", &title(workload)));
    text += &tables::latencies(workload).text();
    let compared_by = format!("Compared {}", tables::how_compared(workload.arrivals));
    text += &list(&compared_by, workload.comparisons.iter().map(compared).collect::<Vec<_>>().iter());
    let walls = workload.cells.iter().flat_map(|cell| {
        cell.walls.iter().map(|wall| {
            let (arm, machines) = (cell.arm.name(), tables::machines(cell.agents));
            let name = tables::wall_name(wall.kind);
            format!("{arm}, {machines}: {name} in {} of {} runs: {}", wall.runs, wall.of, wall.evidence)
        })
    });
    text + &list("What held machines back", walls.collect::<Vec<_>>().iter())
}

/// `latency: durable-write, 200 a second due in each machine; ms and operations a second`.
fn title(workload: &WorkloadFindings) -> String {
    format!(
        "{}: {}, {}; ms and operations a second",
        workload.name,
        workload.operation,
        arrivals(workload.arrivals)
    )
}

/// How operations follow each other, in words.
pub(crate) fn arrivals(arrivals: Arrivals) -> String {
    match arrivals {
        Arrivals::Open { per_second } => {
            format!("{} a second due in each machine (open loop)", trimmed(&digits(per_second)))
        }
        Arrivals::Closed { workers } => format!("{workers} under way in each machine (closed loop)"),
    }
}

/// A heading with its sentences; nothing without any.
fn list<'a>(heading: &str, sentences: impl IntoIterator<Item = &'a String>) -> String {
    let lines: String = sentences.into_iter().map(|sentence| wrapped("- ", sentence)).collect();
    if lines.is_empty() { lines } else { format!("\n{heading}\n{lines}") }
}
