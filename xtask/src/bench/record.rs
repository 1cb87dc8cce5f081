//! What was measured: every sample, what it was measured on, and a table for people.

use std::{collections::BTreeMap, path::PathBuf};

use fs_err as fs;
use serde::Serialize;

use crate::{bench::host::Host, place};

/// Raised when a field changes its meaning.
const FORMAT: u32 = 1;

/// One run of `./x bench`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    format: u32,
    host: Host,
    benches: Vec<Bench>,
}

/// One benchmark.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Bench {
    pub(super) name: &'static str,
    /// How it was done: warm-up, order of the arms, what counts.
    pub(super) method: String,
    pub(super) series: Vec<Series>,
    pub(super) goals: Vec<Goal>,
}

/// The samples of one arm, in the order in which they were taken.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Series {
    pub(super) arm: String,
    pub(super) unit: &'static str,
    pub(super) samples: Vec<f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) parameters: BTreeMap<&'static str, String>,
}

/// What the number should be.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Goal {
    pub(super) text: String,
    pub(super) value: f64,
    pub(super) limit: f64,
    pub(super) met: bool,
}

impl Goal {
    /// A number that should not be above `limit`.
    pub(super) fn at_most(text: impl Into<String>, value: f64, limit: f64) -> Self {
        Self { text: text.into(), value, limit, met: value <= limit }
    }
}

impl Series {
    /// An arm without samples yet.
    pub(super) fn new(arm: impl Into<String>, unit: &'static str) -> Self {
        Self { arm: arm.into(), unit, samples: Vec::new(), parameters: BTreeMap::new() }
    }

    /// The middle sample, or the mean of the two middle ones.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn median(&self) -> anyhow::Result<f64> {
        anyhow::ensure!(!self.samples.is_empty(), "no sample of `{}`", self.arm);
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        Ok(if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        })
    }

    fn spread(&self) -> String {
        let least = self.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{} to {}", short(least), short(most))
    }
}

impl Record {
    pub(super) fn new(host: Host) -> Self {
        Self { format: FORMAT, host, benches: Vec::new() }
    }

    pub(super) fn add(&mut self, bench: Bench) {
        self.benches.push(bench);
    }

    /// Whether anything was measured: a run whose first benchmark failed is no result.
    pub(super) fn has_something(&self) -> bool {
        !self.benches.is_empty()
    }

    /// Writes it to `bench/results/DATE-HOST.json`; a second run of the day gets a number.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(super) fn save(&self) -> anyhow::Result<PathBuf> {
        let folder = place::root().join("bench/results");
        fs::create_dir_all(&folder)?;
        let day = self.host.taken_at.split('T').next().unwrap_or_default();
        let stem = format!("{day}-{}", self.host.name);
        let names = std::iter::once(format!("{stem}.json"))
            .chain((2..).map(|number| format!("{stem}-{number}.json")));
        let mut paths = names.map(|name| folder.join(name)).skip_while(|path| path.exists());
        let path = paths.next().unwrap_or_else(|| folder.join("result.json"));
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }

    /// A table of medians and one of goals.
    pub(super) fn markdown(&self) -> String {
        let mut text = format!("{}\n\n", self.host.line());
        text.push_str("| benchmark | arm | median | spread | samples |\n|---|---|---|---|---|\n");
        for bench in &self.benches {
            for series in &bench.series {
                let median = series.median().map_or_else(|_| "none".to_owned(), short);
                let cells = [bench.name, &series.arm, &format!("{median} {}", series.unit), &series.spread()];
                text.push_str(&format!("| {} | {} |\n", cells.join(" | "), series.samples.len()));
            }
        }
        text.push_str("\n| goal | limit | measured | |\n|---|---|---|---|\n");
        for goal in self.benches.iter().flat_map(|bench| &bench.goals) {
            let met = if goal.met { "met" } else { "**not met**" };
            text.push_str(&format!(
                "| {} | {} | {} | {met} |\n",
                goal.text,
                short(goal.limit),
                short(goal.value)
            ));
        }
        text
    }
}

/// Three digits.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_never_of_nothing() {
        let of = |samples: &[f64]| Series { samples: samples.to_vec(), ..Series::new("x", "s") }.median();
        assert!(of(&[]).is_err());
        assert!((of(&[3.0, 1.0, 2.0]).unwrap() - 2.0).abs() < f64::EPSILON);
        assert!((of(&[4.0, 1.0, 2.0, 3.0]).unwrap() - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1.234, 12.34, 123.4].map(short), ["1.23", "12.3", "123"]);
    }
}
