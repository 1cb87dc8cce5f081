//! Are these runs slower than those? Two sets of runs, whoever measured them, beside each other.
//!
//! **Like with like only.** Runs of which different things were asked are not compared, unless the caller names what
//! differs as what is to be compared. Where they were measured may differ, as that is often the question; it is listed.

pub(crate) mod figure;
mod likeness;

use serde::Serialize;
use winstead_statistics::{
    Arm, Bootstrap, Comparison, Confidence, FailureComparison, Histogram, Latencies, Percentile, Proportion,
    Question, Seed,
};

pub use figure::FigureComparison;
pub use likeness::Difference;

use crate::{
    contention::DiskLimit,
    quantile::{self, Quantile},
    run::{Ended, Run},
    shortfall::Load,
};
use figure::Better;

/// Runs, and what sentences call them.
#[derive(Clone, Copy, Debug)]
pub struct Set<'a> {
    /// `A`, `disk`.
    pub name: &'a str,
    /// At least five of them for a verdict.
    pub runs: &'a [Run],
}

/// How to compare.
#[derive(Clone, Debug)]
pub struct Options {
    /// Settings that may differ: what is compared.
    pub ignore: Vec<String>,
    /// What decides.
    pub primary: Percentile,
    /// Where random numbers start.
    pub seed: Seed,
}

/// Two sets of runs beside each other.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunComparison {
    /// Where a given rate was not reached, that; what failed, where something did; then the verdict of the operation that
    /// the load is about.
    pub sentences: Vec<String>,
    /// What the other is compared with.
    pub a: SetSummary,
    /// What is judged.
    pub b: SetSummary,
    /// Settings that differ, as the caller allowed.
    pub compared_settings: Vec<Difference>,
    /// Where the sets were measured, as far as that differs.
    pub places: Vec<Difference>,
    /// The operation that the load is about first.
    pub operations: Vec<OperationComparison>,
    /// How long the same work took. `None` for loads that run for a given time.
    pub elapsed: Option<FigureComparison>,
    /// What a reader should know before believing the numbers.
    pub notes: Vec<String>,
}

/// A set in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SetSummary {
    /// What sentences call it.
    pub name: String,
    /// How many runs.
    pub runs: usize,
    /// How many of them lost what they measured.
    pub lost_runs: usize,
}

/// One kind of operation in both sets.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationComparison {
    /// `read`, `durable-write`.
    pub name: String,
    /// The verdict, and the percentiles beside the one that decides.
    pub comparison: Comparison,
    /// Of the one set.
    pub a: OperationSummary,
    /// Of the other.
    pub b: OperationSummary,
    /// How many succeeded in a second. `None` where that was asked for, or the work was given.
    pub throughput: Option<FigureComparison>,
}

/// One kind of operation in one set.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationSummary {
    /// `p50`, `p95`, `p99`, `p99.9`, `max`.
    pub percentiles: Vec<Quantile>,
    /// How many operations there were, failed ones included.
    pub operations: u64,
    /// How many failed.
    pub failed: u64,
}

/// Why sets are not compared.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CompareError {
    /// A set without runs.
    #[error("{name} has no runs")]
    Empty {
        /// The set.
        name: String,
    },
    /// Different things were asked for.
    #[error("not the same was asked for in all runs")]
    Unlike {
        /// Every setting that differs, between the sets or within one.
        differences: Vec<Difference>,
    },
    /// The caller allows a difference in something that no run has.
    #[error("no run has a setting {key:?}; there are {known}")]
    UnknownSetting {
        /// What was named.
        key: String,
        /// What could be.
        known: String,
    },
    /// No kind of operation was done in both.
    #[error("no kind of operation was done in both: {a} in the one, {b} in the other")]
    NothingInCommon {
        /// What the one did.
        a: String,
        /// What the other did.
        b: String,
    },
}

/// What `b` is, compared with `a`.
///
/// # Errors
/// When a set is empty, different things were asked for, or nothing was done in both.
pub fn compare(a: Set<'_>, b: Set<'_>, options: &Options) -> Result<RunComparison, CompareError> {
    let empty = [a, b].into_iter().find(|set| set.runs.is_empty());
    if let Some(Set { name, .. }) = empty {
        return Err(CompareError::Empty { name: name.to_owned() });
    }
    let compared_settings = likeness::allowed(a, b, &options.ignore)?;
    let names = in_common(a, b)?;
    let (given, question) = (Given::of(&a.runs[0]), question(options));
    let operations: Vec<OperationComparison> =
        names.iter().map(|name| operation(name, [a, b], &question, given)).collect();
    let elapsed = if given == Given::Work { elapsed(a, b) } else { None };
    Ok(RunComparison {
        sentences: sentences([a, b], &operations, elapsed.as_ref(), given),
        a: summary(a),
        b: summary(b),
        compared_settings,
        places: likeness::places(a, b),
        operations,
        elapsed,
        notes: notes([a, b], given),
    })
}

fn question(options: &Options) -> Question {
    let beside = [Percentile::P50, Percentile::P95, Percentile::P99, Percentile::P999];
    let secondary = beside.into_iter().filter(|percentile| *percentile != options.primary).collect();
    Question { primary: options.primary, secondary, bootstrap: Bootstrap::with_seed(options.seed) }
}

fn summary(set: Set<'_>) -> SetSummary {
    SetSummary { name: set.name.to_owned(), runs: set.runs.len(), lost_runs: lost(set) }
}

fn lost(set: Set<'_>) -> usize {
    set.runs.iter().filter(|run| run.ended == Ended::Lost).count()
}

/// What was given, and so cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    /// As many operations as can be done in a time.
    Time,
    /// The work, however long it takes.
    Work,
    /// The rate.
    Rate,
    /// A latency, for which the highest rate was looked for.
    Goal,
}

impl Given {
    fn of(run: &Run) -> Self {
        let is_set = |key: &str| run.settings.get(key).is_some_and(|value| !value.is_null());
        match (is_set("goal.nanos"), is_set("arrivals.perSecond"), is_set("durationSeconds")) {
            (true, ..) => Self::Goal,
            (false, true, _) => Self::Rate,
            (false, false, true) => Self::Time,
            (false, false, false) => Self::Work,
        }
    }
}

/// Kinds of operations that both sets did, the one that the load is about first.
fn in_common(a: Set<'_>, b: Set<'_>) -> Result<Vec<String>, CompareError> {
    let done = |set: Set<'_>| -> Vec<String> {
        let mut names: Vec<String> = set.runs.iter().flat_map(|run| run.operations.keys().cloned()).collect();
        names.sort();
        names.dedup();
        names
    };
    let (of_a, of_b) = (done(a), done(b));
    let mut common: Vec<String> = of_a.iter().filter(|name| of_b.contains(name)).cloned().collect();
    if common.is_empty() {
        return Err(CompareError::NothingInCommon { a: listed(&of_a), b: listed(&of_b) });
    }
    let main = a.runs.iter().find_map(Run::main_operation);
    common.sort_by_key(|name| Some(name.as_str()) != main);
    Ok(common)
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn operation(name: &str, sets: [Set<'_>; 2], question: &Question, given: Given) -> OperationComparison {
    // A run of which nothing is left is lost, which is said before all latencies; it has none.
    let latencies = sets.map(|set| {
        let left = set.runs.iter().filter(|run| !run.operations.is_empty());
        left.map(|run| run.latencies(name)).collect::<Vec<_>>()
    });
    let [a, b] = [0, 1].map(|index| Arm { name: sets[index].name, runs: &latencies[index] });
    let summary = |runs: &[Latencies]| {
        let whole: Vec<Histogram> = runs.iter().map(Latencies::all).collect();
        OperationSummary {
            percentiles: quantile::shown(&whole, question.bootstrap),
            operations: runs.iter().map(Latencies::count).sum(),
            failed: runs.iter().map(Latencies::failures).sum(),
        }
    };
    let rates = sets.map(|set| set.runs.iter().filter_map(|run| run.per_second(name)).collect::<Vec<_>>());
    let [names_a, names_b] = sets.map(|set| set.name);
    let compared = || {
        FigureComparison::of("operations a second", (names_a, &rates[0]), (names_b, &rates[1]), Better::More)
    };
    OperationComparison {
        name: name.to_owned(),
        comparison: question.compare(a, b),
        a: summary(&latencies[0]),
        b: summary(&latencies[1]),
        throughput: if matches!(given, Given::Time | Given::Goal) { compared() } else { None },
    }
}

/// `None` when a run did not do all of the work: its time says nothing.
fn elapsed(a: Set<'_>, b: Set<'_>) -> Option<FigureComparison> {
    let complete = |set: Set<'_>| set.runs.iter().all(|run| run.ended == Ended::Complete);
    let seconds = |set: Set<'_>| set.runs.iter().map(|run| run.elapsed.as_secs_f64()).collect::<Vec<_>>();
    let compared =
        || FigureComparison::of("seconds", (a.name, &seconds(a)), (b.name, &seconds(b)), Better::Less);
    if complete(a) && complete(b) { compared() } else { None }
}

/// A rate that was not reached comes first: latencies mean nothing then. Then what failed: latencies of what did not fail
/// mislead whoever reads on. Then what the load is about: a time, a rate, or latencies.
fn sentences(
    sets: [Set<'_>; 2],
    operations: &[OperationComparison],
    elapsed: Option<&FigureComparison>,
    given: Given,
) -> Vec<String> {
    let mut sentences = not_carried(sets, operations);
    sentences.extend(lost_runs(sets));
    sentences.extend(operations.iter().filter_map(|operation| failed_operations(sets, operation)));
    sentences.extend(errors_beside(sets));
    if let Some(main) = operations.first() {
        let all = main.comparison.to_string();
        let verdict = format!("{}: {}", main.name, all.lines().next().unwrap_or_default());
        let figure = main.throughput.as_ref().or(elapsed).map(|figure| figure.sentence.clone());
        let mut said: Vec<String> = [verdict].into_iter().chain(figure).collect();
        // A closed loop's percentiles flatter what hangs, so only of a given rate they come first.
        if given != Given::Rate {
            said.reverse();
        }
        sentences.extend(said);
    }
    let simulated = simulated(sets);
    sentences.into_iter().map(|sentence| sentence + &simulated).collect()
}

/// The end of each sentence where a slower disk was played: whoever quotes one quotes this.
fn simulated(sets: [Set<'_>; 2]) -> String {
    let limits = sets.map(|set| set.runs.iter().find_map(|run| DiskLimit::of(&run.settings)));
    match limits {
        [Some(a), Some(b)] if a == b => format!("; {a}"),
        limits => {
            let mark =
                |(set, limit): (&Set<'_>, Option<DiskLimit>)| Some(format!("; {}: {}", set.name, limit?));
            sets.iter().zip(limits).filter_map(mark).collect()
        }
    }
}

fn not_carried(sets: [Set<'_>; 2], operations: &[OperationComparison]) -> Vec<String> {
    let Some(main) = operations.first() else { return Vec::new() };
    let said = |set: &Set<'_>| {
        let shortfall = Load::of(set.runs, &main.name).shortfall()?;
        Some(format!("{}: {shortfall}", set.name))
    };
    sets.iter().filter_map(said).collect()
}

fn lost_runs(sets: [Set<'_>; 2]) -> Vec<String> {
    let counts = sets.map(|set| Proportion::new(lost(set) as u64, set.runs.len() as u64).ok());
    let ([Some(a), Some(b)], true) = (counts, sets.iter().any(|set| lost(*set) > 0)) else {
        return Vec::new();
    };
    let found = FailureComparison::of("runs", (sets[0].name, a), (sets[1].name, b), Confidence::P95);
    found.to_string().lines().map(ToOwned::to_owned).collect()
}

/// Operations of a run share its disk and its minute, so no test is made of them.
fn failed_operations([a, b]: [Set<'_>; 2], operation: &OperationComparison) -> Option<String> {
    let of = |set: Set<'_>, summary: &OperationSummary| {
        let share = 100.0 * summary.failed as f64 / summary.operations as f64;
        format!("{} of {} failed with {} ({share:.2} %)", summary.failed, summary.operations, set.name)
    };
    let failed = operation.a.failed + operation.b.failed > 0;
    failed.then(|| format!("{}: {}, {}", operation.name, of(b, &operation.b), of(a, &operation.a)))
}

/// Errors of which a program does not say which operation failed, or how long it took: fio's.
fn errors_beside(sets: [Set<'_>; 2]) -> Option<String> {
    let beside = |set: Set<'_>| -> u64 {
        let of = |run: &Run| run.errors.values().sum::<u64>().saturating_sub(run.failures());
        set.runs.iter().map(of).sum()
    };
    let [a, b] = sets.map(beside);
    let [name_a, name_b] = sets.map(|set| set.name);
    let said = format!("{b} operations failed with {name_b}, {a} with {name_a}, which are in no percentile");
    (a + b > 0).then_some(said)
}

/// What the runs themselves say, each once, and how many were interrupted.
fn notes(sets: [Set<'_>; 2], given: Given) -> Vec<String> {
    let goal = (given == Given::Goal).then(|| {
        "each run looked for its highest rate: rates are compared, and latencies are those of different rates".to_owned()
    });
    let of = |set: Set<'_>| {
        let interrupted = set.runs.iter().filter(|run| run.ended == Ended::Interrupted).count();
        let mut notes: Vec<String> = set.runs.iter().flat_map(|run| run.notes.clone()).collect();
        notes.sort();
        notes.dedup();
        let cut =
            (interrupted > 0).then(|| format!("{interrupted} of {} runs were interrupted", set.runs.len()));
        let all: Vec<String> = notes.into_iter().chain(cut).collect();
        all.into_iter().map(|note| format!("{}: {note}", set.name)).collect::<Vec<_>>()
    };
    goal.into_iter().chain(sets.into_iter().flat_map(of)).collect()
}

#[cfg(test)]
mod tests;
