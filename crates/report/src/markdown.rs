//! A report for a pull request or a wiki: the verdict and the tables. What a document says never becomes markup.

use winstead_measurement::{Findings, findings::WorkloadFindings};

use crate::{
    runs::Runs,
    table::{Table, escaped},
    tables::{self, compared},
    terminal::arrivals,
};

/// The report in Markdown, as GitHub and Azure DevOps read it.
#[must_use]
pub fn markdown(findings: &Findings) -> String {
    let mut text = headline(&findings.headline);
    if let Some(simulated) = &findings.simulated {
        text += &format!("\n> **{}**\n", escaped(simulated));
    }
    text +=
        &list("### How many machines", findings.recommendations.iter().flat_map(|found| &found.sentences));
    for workload in &findings.workloads {
        text += &numbers(workload);
    }
    text += &list("### Failures", findings.failures.iter().flat_map(|found| &found.sentences));
    text + &list("### Notes", &findings.notes)
}

/// Runs that nothing is compared with, likewise.
#[must_use]
pub fn markdown_of_runs(runs: &Runs) -> String {
    let mut text = headline(&runs.headline);
    for load in &runs.loads {
        text += &section(&format!("### {}", escaped(&load.title())), &load.table());
    }
    text + &list("### Notes", &runs.notes)
}

fn headline(sentences: &[String]) -> String {
    let line = |(number, sentence): (usize, &String)| match number {
        0 => format!("## {}\n", escaped(sentence)),
        _ => format!("\n{}\n", escaped(sentence)),
    };
    sentences.iter().enumerate().map(line).collect()
}

fn numbers(workload: &WorkloadFindings) -> String {
    let title =
        escaped(&format!("{}: {}, {}", workload.name, workload.operation, arrivals(workload.arrivals)));
    let mut text = format!("\n### {title}\n");
    text += "\nLatency in milliseconds, throughput in operations a second of all machines together.\n";
    text += &format!("\n{}", tables::latencies(workload).markdown());
    let compared_by = format!("#### Compared {}", tables::how_compared(workload.arrivals));
    text += &list(&compared_by, workload.comparisons.iter().map(compared).collect::<Vec<_>>().iter());
    text + &section("#### What held machines back", &tables::walls(workload))
}

fn section(heading: &str, table: &Table) -> String {
    if table.rows.is_empty() { String::new() } else { format!("\n{heading}\n\n{}", table.markdown()) }
}

/// A heading with its sentences; nothing without any.
fn list<'a>(heading: &str, sentences: impl IntoIterator<Item = &'a String>) -> String {
    let lines: String = sentences.into_iter().map(|sentence| format!("- {}\n", escaped(sentence))).collect();
    if lines.is_empty() { lines } else { format!("\n{heading}\n\n{lines}") }
}
