//! Every run as a row of CSV, for spreadsheets and other people's statistics: nothing is merged over runs.
//!
//! A row is an arm, a number of machines, a repeat, a workload and a kind of operation; the machines of the run are merged,
//! as they are for every number of a report.

use std::collections::BTreeSet;

use serde::Serialize;
use winstead_measurement::{
    Contention, ReadError, Run,
    contention::{Arm, ContentionRun, DiskLimit, WorkloadRun},
    together,
    wall::WallKind,
};
use winstead_statistics::Percentile;

/// Why there are no rows.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// A machine's result is none.
    #[error("read the results of {workload} with {agents} machines in arm {arm}, repeat {repeat}")]
    Result {
        /// Of which workload.
        workload: String,
        /// With how many machines.
        agents: u32,
        /// In which arm.
        arm: &'static str,
        /// The how-manieth time.
        repeat: u32,
        /// Why not.
        source: ReadError,
    },
    /// A row cannot be written.
    #[error("write a row")]
    Write(#[from] csv::Error),
    /// The rows cannot be taken out of their buffer.
    #[error("write the last row")]
    Flush(#[source] std::io::Error),
    /// They are not text.
    #[error("write the rows as text")]
    Text(#[from] std::string::FromUtf8Error),
}

/// One row; its fields are the columns.
#[derive(Debug, Serialize)]
struct Row {
    started_at: String,
    arm: &'static str,
    agents: u32,
    repeat: u32,
    workload: String,
    operation: String,
    machines: usize,
    failed_machines: usize,
    started_from: String,
    bring_seconds: f64,
    barrier_seconds: f64,
    elapsed_seconds: f64,
    operations: u64,
    failed_operations: u64,
    p50_nanos: Option<u128>,
    p95_nanos: Option<u128>,
    p99_nanos: Option<u128>,
    p999_nanos: Option<u128>,
    max_nanos: Option<u128>,
    operations_per_second: Option<f64>,
    walls: String,
    evidence: String,
    /// What the machines of a disk arm were held to, when a slower disk was played.
    disk_limit_iops: Option<u64>,
    disk_limit_bytes_per_second: Option<u64>,
}

/// All runs as CSV (RFC 4180), with headings. Latencies are whole nanoseconds, times seconds.
///
/// A cell that a spreadsheet would run as a formula begins with an apostrophe.
///
/// # Errors
/// When a result of a machine cannot be read.
pub fn csv(document: &Contention) -> Result<String, RowsError> {
    let mut writer = csv::WriterBuilder::new().terminator(csv::Terminator::CRLF).from_writer(Vec::new());
    for run in &document.runs {
        for workload in &run.workloads {
            let measured = workload.measured().map_err(|source| RowsError::Result {
                workload: workload.name.clone(),
                agents: run.agents,
                arm: run.arm.name(),
                repeat: run.repeat,
                source,
            })?;
            let (whole, limit) = (together(measured), document.design.disk_limit);
            for operation in operations(whole.as_ref()) {
                writer.serialize(row((run, limit), workload, whole.as_ref(), &operation))?;
            }
        }
    }
    let bytes = writer.into_inner().map_err(|error| RowsError::Flush(error.into_error()))?;
    Ok(String::from_utf8(bytes)?)
}

/// What was done, each once; one without a name where no machine gave a result, so that the run has a row all the same.
fn operations(whole: Option<&Run>) -> BTreeSet<String> {
    let mut all: BTreeSet<String> = whole.iter().flat_map(|run| run.operations.keys().cloned()).collect();
    if all.is_empty() {
        all.insert(String::new());
    }
    all
}

fn row(
    (run, limit): (&ContentionRun, Option<DiskLimit>),
    workload: &WorkloadRun,
    whole: Option<&Run>,
    operation: &str,
) -> Row {
    let latencies = whole.map(|whole| whole.latencies(operation)).unwrap_or_default();
    let all = latencies.all();
    let limit = limit.filter(|_| run.arm != Arm::Ram);
    let at = |percentile| all.percentile(percentile).map(|took| took.as_nanos());
    let started_from = run.started_from.iter().map(|(how, count)| format!("{how} {count}"));
    let walls: Vec<String> = workload.walls.iter().map(|wall| as_written(wall.kind)).collect();
    let evidence: Vec<&str> = workload.walls.iter().map(|wall| wall.evidence.as_str()).collect();
    Row {
        started_at: run.started_at.to_string(),
        arm: run.arm.name(),
        agents: run.agents,
        repeat: run.repeat,
        workload: inert(&workload.name),
        machines: workload.machines.len(),
        failed_machines: workload.failed_machines(),
        started_from: inert(&started_from.collect::<Vec<_>>().join("; ")),
        bring_seconds: run.bring_seconds,
        barrier_seconds: workload.barrier_seconds,
        elapsed_seconds: whole.map(|whole| whole.elapsed.as_secs_f64()).unwrap_or_default(),
        operations: latencies.count(),
        failed_operations: latencies.failures(),
        p50_nanos: at(Percentile::P50),
        p95_nanos: at(Percentile::P95),
        p99_nanos: at(Percentile::P99),
        p999_nanos: at(Percentile::P999),
        max_nanos: at(Percentile::MAX),
        operations_per_second: whole.and_then(|whole| whole.per_second(operation)),
        walls: walls.join("; "),
        evidence: inert(&evidence.join("; ")),
        operation: inert(operation),
        disk_limit_iops: limit.and_then(|limit| limit.iops),
        disk_limit_bytes_per_second: limit.and_then(|limit| limit.bytes_per_second),
    }
}

/// A wall as documents call it: programs compare it with them.
fn as_written(kind: WallKind) -> String {
    serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Text that no spreadsheet takes for a formula (OWASP, "CSV Injection").
fn inert(text: &str) -> String {
    let mark = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    format!("{mark}{text}")
}

#[cfg(test)]
mod tests {
    use winstead_measurement::example::{Story, contention};

    use super::*;

    #[test]
    fn every_run_has_a_row_for_each_workload_also_when_nothing_was_measured() {
        let mut document = contention(Story::RamHelps);
        for machine in &mut document.runs[0].workloads[0].machines {
            machine.result = None;
            machine.failure = Some("gone".to_owned());
        }
        let text = csv(&document).expect("rows");
        assert_eq!(text.lines().count(), 1 + document.runs.len() * 2);
        let first = text.lines().nth(1).expect("a row");
        assert!(first.contains(",latency,,1,1,memory 1,"), "{first}");
    }

    #[test]
    fn cells_are_quoted_and_no_formula_is_run() {
        let mut document = contention(Story::RamHelps);
        document.runs[0].workloads[0].name = "=cmd(\"a,b\")".to_owned();
        let text = csv(&document).expect("rows");
        assert!(text.contains("\"'=cmd(\"\"a,b\"\")\""), "{}", text.lines().nth(1).unwrap_or_default());
    }

    #[test]
    fn walls_are_called_as_in_the_document() {
        assert_eq!(as_written(WallKind::SimulatedLimit), "simulated-limit");
    }

    #[test]
    fn a_result_that_cannot_be_read_is_named() {
        let mut document = contention(Story::RamHelps);
        document.runs[0].workloads[1].machines[0].result = Some(serde_json::json!({"kind": "Pool"}));
        let error = csv(&document).expect_err("no result").to_string();
        assert_eq!(error, "read the results of rand-write with 1 machines in arm ram, repeat 1");
    }
}
