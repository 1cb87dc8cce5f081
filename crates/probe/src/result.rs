//! The result: one document with a version, every parameter, every latency, and the computer it comes from.

use std::{collections::BTreeMap, io::Write};

use jiff::Timestamp;
use serde::Serialize;
use winstead_statistics::{Histogram, Latencies, Percentile};

use crate::{
    cli::{Caching, Engine as EngineName, Flush},
    computer::{Computer, Traffic},
    crew::Measured,
    error::ProbeError,
    goal::Reached,
    parameters::{BlockLoad, Parameters},
    place::Place,
    samples::Operation,
    seed::{self, Comparison},
    timeline::{Steps, Timeline},
};

/// Grows when a reader of older documents would misread a newer one.
const VERSION: u32 = 1;

/// What is said of failed operations, after their number.
const FAILED: &str = "operations failed: they are in the percentiles; compare their share first";

/// A result document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProbeResult {
    kind: &'static str,
    version: u32,
    program: Program,
    started_at: Timestamp,
    /// Where it was measured.
    pub folder: String,
    /// What was asked for.
    pub parameters: Parameters,
    /// How operations were brought to the system.
    engine: Engine,
    /// What was used, which may be less than was asked for. Null for small files, which go through the cache.
    cache_used: Option<Caching>,
    /// Where it was measured.
    pub computer: Computer,
    /// How it ended.
    pub ended: Ended,
    /// What was lost, when it was.
    lost: Option<String>,
    /// From the first operation to the end of the last.
    pub elapsed_seconds: f64,
    /// Each kind of operation.
    pub operations: BTreeMap<Operation, Done>,
    /// What failed operations said, and how often.
    pub errors: BTreeMap<String, u64>,
    /// When it happened, without what is a whole of others (`tree`). Empty for `seed`, which is many short runs.
    timeline: Steps,
    /// An open loop's own delay, where a worker stood ready. Null for a closed loop.
    pub lateness: Option<Lateness>,
    /// What a search for the highest rate found; all numbers are those of its best step. Null without a goal.
    pub goal: Option<Reached>,
    /// Four numbers by two methods. Null but for `seed`.
    pub comparison: Option<Comparison>,
    /// What making random data took, over all threads: no operation was under way in that thread meanwhile.
    generating_seconds: f64,
    /// Processor time of the probe itself while it measured, over all threads. Null where the system does not say.
    cpu_seconds: Option<f64>,
    /// What reached block devices. Null where the system does not say.
    storage: Option<Traffic>,
    /// What a reader should know before believing the numbers.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
struct Program {
    name: &'static str,
    version: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Engine {
    name: EngineName,
    /// With `threads` each is an operation that can be under way, with the others each has a whole queue.
    threads: usize,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Ended {
    /// As was asked for.
    #[default]
    Complete,
    /// By Ctrl-C.
    Interrupted,
    /// The disk did not take any more.
    Lost,
}

/// What was measured of one kind of operation. Failed ones are in all numbers but `bytes`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Done {
    pub count: u64,
    pub failures: u64,
    pub bytes: u64,
    /// Of those that succeeded. Null for small files, where one kind follows another, and the time of all kinds
    /// together would stand below each.
    pub per_second: Option<f64>,
    pub bytes_per_second: Option<f64>,
    /// `p50`, `p95`, `p99`, `p99.9`, `max`.
    pub percentile_nanos: BTreeMap<String, u64>,
    /// Whole: any other percentile can be asked for, and runs can be merged.
    latencies: Latencies,
}

/// The loop's own delays.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lateness {
    /// How many operations were due while every place of the queue was taken: they waited before it, not in the
    /// disk.
    queue_was_full: u64,
    pub percentile_nanos: BTreeMap<String, u64>,
    histogram: Histogram,
}

impl ProbeResult {
    /// A result without numbers.
    pub(crate) fn begin(parameters: &Parameters, place: &Place) -> Self {
        let (name, threads) = match parameters {
            Parameters::Blocks(load) => (load.engine, load.workers()),
            Parameters::Files(load) => (EngineName::Threads, load.threads.into()),
            Parameters::Seed(_) => (EngineName::Threads, 1),
        };
        Self {
            kind: "ProbeResult",
            version: VERSION,
            program: Program { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION") },
            started_at: Timestamp::now(),
            folder: place.folder.display().to_string(),
            parameters: parameters.clone(),
            engine: Engine { name, threads },
            cache_used: None,
            computer: place.computer.clone(),
            ended: Ended::default(),
            lost: None,
            elapsed_seconds: 0.0,
            operations: BTreeMap::new(),
            errors: BTreeMap::new(),
            timeline: Timeline::default().steps(),
            lateness: None,
            goal: None,
            comparison: None,
            generating_seconds: 0.0,
            cpu_seconds: None,
            storage: None,
            notes: Vec::new(),
        }
    }

    /// Keeps which cache mode is used, and says it where it is not what was asked for.
    pub(crate) fn cache_is(&mut self, used: Caching, refused: Option<String>) {
        self.cache_used = Some(used);
        if let Some(said) = refused {
            let kind = self.computer.file_system.kind.as_deref().unwrap_or("this file system");
            let note = format!("{kind} refuses direct I/O ({said}): measured through the cache");
            // Nobody may read standard error; the note is in the result, too.
            drop(writeln!(std::io::stderr(), "note: {note}"));
            self.notes.push(note);
        }
    }

    /// Keeps what a search found.
    pub(crate) fn goal_was(&mut self, reached: Reached) {
        self.goal = Some(reached);
    }

    /// Keeps the four numbers.
    pub(crate) fn seed_was(&mut self, comparison: Comparison) {
        self.comparison = Some(comparison);
    }

    /// Keeps what was measured. How it ended.
    pub(crate) fn end(&mut self, measured: &Measured, stopped: bool) -> Ended {
        let samples = &measured.samples;
        self.elapsed_seconds = measured.elapsed.as_secs_f64();
        let blocks = matches!(self.parameters, Parameters::Blocks(_));
        let seconds = Some(self.elapsed_seconds).filter(|seconds| blocks && *seconds > 0.0);
        for (operation, latencies) in &samples.latencies {
            let bytes = samples.bytes.get(operation).copied().unwrap_or(0);
            self.operations.insert(*operation, Done::new(latencies, bytes, seconds));
        }
        self.errors.clone_from(&samples.errors);
        self.timeline = measured.timeline.steps();
        self.generating_seconds = samples.generating.as_secs_f64();
        self.cpu_seconds = measured.cpu.map(|cpu| cpu.as_secs_f64());
        self.storage = measured.traffic;
        self.lost.clone_from(&measured.lost);
        if matches!(&self.parameters, Parameters::Blocks(load) if load.arrivals.is_some()) {
            self.lateness = Some(Lateness {
                queue_was_full: samples.queue_was_full(),
                percentile_nanos: percentiles(&samples.lateness),
                histogram: samples.lateness.clone(),
            });
        }
        self.ended = match (&measured.lost, stopped) {
            (Some(_), _) => Ended::Lost,
            (None, true) => Ended::Interrupted,
            (None, false) => Ended::Complete,
        };
        self.add_notes(samples.failures());
        self.ended
    }

    /// Says on standard error that operations failed: a run with them has been measured all the same.
    pub(crate) fn warn_of_failures(&self) {
        let failures: u64 = self.operations.values().map(|done| done.failures).sum();
        if failures > 0 {
            // Nobody may read standard error; the note is in the result, too.
            drop(writeln!(std::io::stderr(), "note: {failures} {FAILED}"));
        }
    }

    /// The error that a run which did not end as it should is.
    pub(crate) fn into_outcome(self) -> Result<(), ProbeError> {
        match self.ended {
            Ended::Complete => Ok(()),
            Ended::Interrupted => Err(ProbeError::Interrupted),
            Ended::Lost => Err(ProbeError::Lost { said: self.lost.unwrap_or_default() }),
        }
    }

    fn add_notes(&mut self, failures: u64) {
        let common = [(
            self.computer.file_system.is_memory(),
            "the file system is in memory: no disk was measured, and direct I/O means nothing there",
        )];
        if failures > 0 {
            self.notes.push(format!("{failures} {FAILED}"));
        }
        let of_blocks = match &self.parameters {
            Parameters::Blocks(load) => self.notes_on_blocks(load),
            Parameters::Files(_) => Vec::new(),
            Parameters::Seed(load) => {
                vec![
                    (true, seed::WHY),
                    (!load.is_as_scripted(), "the amounts are not those of the old script"),
                ]
            }
        };
        let apply = common.into_iter().chain(of_blocks).filter(|(applies, _)| *applies);
        self.notes.extend(apply.map(|(_, note)| note.to_owned()));
    }

    /// What may be said of a load on blocks, and whether it applies.
    fn notes_on_blocks(&self, load: &BlockLoad) -> Vec<(bool, &'static str)> {
        let cached = self.cache_used == Some(Caching::Cached);
        let write_cache = self.computer.file_system.queue.get("write_cache");
        let write_back = write_cache.is_some_and(|mode| mode == "write back");
        let due: u64 = self.operations.values().map(|done| done.count).sum();
        let busy = self.lateness.as_ref().map_or(0, |lateness| lateness.queue_was_full);
        let a_tenth = 0.1 * self.elapsed_seconds * self.engine.threads as f64;
        vec![
            (
                load.queue_depth > 1 && load.engine == EngineName::Threads,
                "each operation under way is a thread that blocks: at high rates switching between them counts",
            ),
            (
                cached && load.flush.is_none(),
                "read through the cache: what fits into memory is read from there",
            ),
            (
                cached && load.flush == Some(Flush::Never),
                "written through the cache and never flushed: memory was measured",
            ),
            (
                write_back && !cached && load.operation == Operation::Write,
                "the disk has a cache of its own, and a write has ended when it is there: --flush each waits longer",
            ),
            (
                load.arrivals.is_none() && self.generating_seconds > a_tenth,
                "making random data took over a tenth of the time: latencies are right, rates are too low",
            ),
            (
                busy * 100 > due,
                "over one in a hundred operations was due while the whole queue was taken: the rate is more than \
                 the disk does, it hung, or --queue-depth is too small for it",
            ),
        ]
    }
}

impl Ended {
    /// Whether the numbers say anything: also those until a disk was lost.
    pub(crate) const fn is_worth_printing(self) -> bool {
        matches!(self, Self::Complete | Self::Lost)
    }
}

impl Done {
    fn new(latencies: &Latencies, bytes: u64, seconds: Option<f64>) -> Self {
        let rate = |amount: u64| seconds.map(|seconds| amount as f64 / seconds);
        Self {
            count: latencies.count(),
            failures: latencies.failures(),
            bytes,
            per_second: rate(latencies.count() - latencies.failures()),
            bytes_per_second: rate(bytes),
            percentile_nanos: percentiles(&latencies.all()),
            latencies: latencies.clone(),
        }
    }
}

fn percentiles(histogram: &Histogram) -> BTreeMap<String, u64> {
    let nanos = |percentile: Percentile| {
        let took = histogram.percentile(percentile)?;
        Some((percentile.to_string(), u64::try_from(took.as_nanos()).ok()?))
    };
    Percentile::SHOWN.into_iter().filter_map(nanos).collect()
}

#[cfg(test)]
mod tests;
