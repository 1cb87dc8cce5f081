//! Whether two sets of runs were asked for the same, and where they were measured.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use super::{CompareError, Set};
use crate::run::Run;

/// Something that is not the same in all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// `blockBytes`, `kernel`.
    pub key: String,
    /// What it is in the one set, each value once. Null where a run does not say.
    pub a: Vec<Value>,
    /// What it is in the other.
    pub b: Vec<Value>,
}

/// Two programs measure two things, whatever was asked of them.
const PROGRAM: &str = "program";

/// What is another each time one looks, and no place.
const PASSING: [&str; 2] = ["memoryAvailableBytes", "fileSystem.freeBytes"];

/// The settings that differ, all of them allowed.
///
/// # Errors
/// When others do, or one that is allowed is no setting.
pub(super) fn allowed(a: Set<'_>, b: Set<'_>, ignore: &[String]) -> Result<Vec<Difference>, CompareError> {
    let known = keys(a, b, settings);
    if let Some(key) = ignore.iter().find(|key| !known.contains(*key)) {
        let known = known.into_iter().collect::<Vec<_>>().join(", ");
        return Err(CompareError::UnknownSetting { key: key.clone(), known });
    }
    let (allowed, others): (Vec<_>, Vec<_>) =
        differences(a, b, settings).into_iter().partition(|difference| ignore.contains(&difference.key));
    if others.is_empty() { Ok(allowed) } else { Err(CompareError::Unlike { differences: others }) }
}

/// What differs of where the sets were measured.
pub(super) fn places(a: Set<'_>, b: Set<'_>) -> Vec<Difference> {
    let mut differences = differences(a, b, place);
    differences.retain(|difference| !PASSING.contains(&difference.key.as_str()));
    differences
}

fn settings(run: &Run) -> BTreeMap<String, Value> {
    let mut settings = run.settings.clone();
    settings.insert(PROGRAM.to_owned(), run.source.name.clone().into());
    settings
}

fn place(run: &Run) -> BTreeMap<String, Value> {
    let mut place = run.place.clone();
    place.insert(format!("{PROGRAM}.version"), run.source.version.clone().into());
    place
}

type Of = fn(&Run) -> BTreeMap<String, Value>;

fn keys(a: Set<'_>, b: Set<'_>, of: Of) -> BTreeSet<String> {
    a.runs.iter().chain(b.runs).flat_map(|run| of(run).into_keys()).collect()
}

/// Whether two values are the same, however programs write numbers: 10 is 10.0.
fn same(one: &Value, other: &Value) -> bool {
    let decimal = one.is_f64() || other.is_f64();
    one == other || decimal && one.is_number() && one.as_f64() == other.as_f64()
}

/// What is not the same in all runs of both sets.
fn differences(a: Set<'_>, b: Set<'_>, of: Of) -> Vec<Difference> {
    let [of_a, of_b] = [a, b].map(|set| set.runs.iter().map(of).collect::<Vec<_>>());
    let values = |runs: &[BTreeMap<String, Value>], key: &str| {
        let mut values: Vec<Value> = Vec::new();
        for value in runs.iter().map(|run| run.get(key).unwrap_or(&Value::Null)) {
            if !values.iter().any(|known| same(known, value)) {
                values.push(value.clone());
            }
        }
        values
    };
    let difference = |key: String| {
        let (a, b) = (values(&of_a, &key), values(&of_b, &key));
        let alike = a.len() == 1 && b.len() == 1 && same(&a[0], &b[0]);
        (!alike).then_some(Difference { key, a, b })
    };
    keys(a, b, of).into_iter().filter_map(difference).collect()
}
