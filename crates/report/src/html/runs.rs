//! The page of runs that nothing is compared with.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    DISTRIBUTION, Source,
    view::{Fact, Figure, Page, Verdict, Workload},
};
use crate::{
    chart::Shape,
    distribution::{Curve, distribution, distributions},
    runs::{Load, Runs},
};

impl Page {
    pub(super) fn of_runs(runs: &Runs, source: &Source) -> Self {
        let (verdict, also) = Verdict::of(&runs.headline);
        let first = runs.loads.first();
        let program = first.map(|load| format!("{} {}", load.source.name, load.source.version));
        Self {
            verdict,
            also,
            simulated: None,
            summary: program.iter().cloned().collect(),
            recommendations: Vec::new(),
            workloads: (1..).zip(&runs.loads).map(|(number, load)| Workload::of_load(number, load)).collect(),
            failures: None,
            method: runs.loads.iter().filter_map(asked).collect(),
            computer: first.into_iter().flat_map(|load| facts(&load.place)).collect(),
            notes: runs.notes.clone(),
            source: vec![
                Fact::new("File", [source.name.clone()]),
                Fact::new("SHA-256", [source.sha256.clone()]),
                Fact::new("Measured by", program),
                Fact::new("Seed of intervals", [source.seed.to_string()]),
            ],
        }
    }
}

impl Workload {
    fn of_load(number: usize, load: &Load) -> Self {
        let id = format!("workload-{number}");
        let curve =
            Curve { name: &load.operation, class: "ram", shape: Shape::Circle, histogram: &load.histogram };
        let title = load.title();
        let figure = Figure::of(
            format!("{id}-distribution"),
            "How long the slow ones take",
            DISTRIBUTION,
            &distribution(format!("{title}: how many operations took longer"), &[curve]),
            vec![distributions(format!("{title}: latencies that a share of operations exceeded"), &[curve])],
        );
        Self {
            id,
            name: load.name.clone(),
            title: load.operation.clone(),
            numbers: load.table(),
            figures: vec![figure],
            how_compared: String::new(),
            compared: Vec::new(),
            comparisons: None,
            walls: None,
            groups: None,
        }
    }
}

/// What was asked of a load, once for all its operations.
fn asked(load: &Load) -> Option<Fact> {
    let lines = known(&load.settings).map(|(name, value)| format!("{name}: {value}"));
    load.is_main().then(|| Fact::new(&load.name, lines))
}

fn facts(values: &BTreeMap<String, Value>) -> Vec<Fact> {
    known(values).map(|(name, value)| Fact::new(name, [value])).collect()
}

/// What a document knows, as a person writes it.
fn known(values: &BTreeMap<String, Value>) -> impl Iterator<Item = (&str, String)> {
    let shown = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let known = values.iter().filter(|(_, value)| !value.is_null());
    known.map(move |(name, value)| (name.as_str(), shown(value)))
}
