//! One run: one load, once, in one place. What every source of numbers comes down to.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use winstead_statistics::Latencies;

/// A whole small file is written and closed.
const OF_SMALL_FILES: &str = "write-file";

/// One load, once, in one place, whoever measured it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Which program measured.
    pub source: Source,
    /// When it began, where the source says so.
    pub started_at: Option<Timestamp>,
    /// What was asked for, by key: `blockBytes`, `queueDepth`. Runs are alike when these are.
    pub settings: BTreeMap<String, Value>,
    /// Where it was measured, by key: `cpu.model`, `kernel`, `fileSystem.type`.
    pub place: BTreeMap<String, Value>,
    /// From the first operation to the end of the last.
    pub elapsed: Duration,
    /// How it ended.
    pub ended: Ended,
    /// What was done, by kind: `read`, `durable-write`, `create-file`.
    pub operations: BTreeMap<String, Operation>,
    /// What failed operations said, and how often.
    pub errors: BTreeMap<String, u64>,
    /// What a reader should know before believing the numbers.
    pub notes: Vec<String>,
}

/// Which program measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Source {
    /// `winstead-probe`, `fio`, `DiskSpd`.
    pub name: String,
    /// As it calls itself.
    pub version: String,
}

/// One kind of operation in a run.
#[derive(Clone, Debug, Default)]
pub struct Operation {
    /// Every one of them, also those that failed.
    pub latencies: Latencies,
    /// What those that succeeded moved.
    pub bytes: u64,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// As was asked for.
    Complete,
    /// By somebody who wanted it to end.
    Interrupted,
    /// What was measured did not take any more.
    Lost,
}

/// Why a document is no measurement that we know.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is something else.
    #[error("its kind is {found:?}, not {wanted:?}")]
    Kind {
        /// What stands there.
        found: String,
        /// What should.
        wanted: &'static str,
    },
    /// A later program wrote it.
    #[error("it is of version {found}; this program reads versions up to {newest}")]
    Version {
        /// What stands there.
        found: u64,
        /// The newest that is known here.
        newest: u64,
    },
    /// A key is missing, or holds what it cannot.
    #[error("it cannot be read as a {kind}")]
    Content {
        /// What it says it is.
        kind: &'static str,
        /// Why not.
        source: serde_json::Error,
    },
}

impl Run {
    /// How many operations of a kind succeeded in each second of the run; `None` when nothing of that kind was done, or in
    /// no time.
    #[must_use]
    pub fn per_second(&self, operation: &str) -> Option<f64> {
        let latencies = &self.operations.get(operation)?.latencies;
        let succeeded = latencies.count() - latencies.failures();
        Some(succeeded as f64 / self.elapsed.as_secs_f64()).filter(|rate| rate.is_finite())
    }

    /// The kind of operation that the load is about: the one with most samples; of small files, of which most are
    /// deletions, writing one. `None` when nothing was done.
    #[must_use]
    pub fn main_operation(&self) -> Option<&str> {
        let most = self.operations.iter().max_by_key(|(_, operation)| operation.latencies.count());
        let written = self.operations.get_key_value(OF_SMALL_FILES);
        written.or(most).map(|(name, _)| name.as_str())
    }

    /// All operations of a kind; none when nothing of that kind was done.
    #[must_use]
    pub fn latencies(&self, operation: &str) -> Latencies {
        self.operations.get(operation).map(|operation| operation.latencies.clone()).unwrap_or_default()
    }

    /// How many operations of all kinds failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.operations.values().map(|operation| operation.latencies.failures()).sum()
    }
}

/// A document's scalars by their path: `{"cpu": {"count": 2}}` is `cpu.count` = 2. Lists are kept whole.
#[must_use]
pub fn flat(value: &Value) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    flatten("", value, &mut all);
    all
}

fn flatten(path: &str, value: &Value, into: &mut BTreeMap<String, Value>) {
    let Value::Object(members) = value else {
        into.insert(path.to_owned(), value.clone());
        return;
    };
    for (key, member) in members {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        flatten(&path, member, into);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_load_is_about_what_is_done_most_and_small_files_about_writing_them() {
        let done = |times: u64| {
            let mut operation = Operation::default();
            (0..times).for_each(|_| operation.latencies.record(Duration::from_millis(1)));
            operation
        };
        let mut run = crate::probe::read(&crate::example::probe_result(1.0)).expect("a run");
        run.operations = [("flush".to_owned(), done(1)), ("write".to_owned(), done(5))].into();
        assert_eq!(run.main_operation(), Some("write"));
        run.operations = [("delete-file".to_owned(), done(9)), ("write-file".to_owned(), done(5))].into();
        assert_eq!(run.main_operation(), Some("write-file"));
        run.operations.clear();
        assert_eq!(run.main_operation(), None);
    }
}
