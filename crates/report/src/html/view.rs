//! What the page's template is given: words and drawings, in the page's order. Parts that a page has not are `None`.

use serde::Serialize;

use crate::{
    chart::{Chart, Size, draw},
    table::Table,
};

/// All of it.
#[derive(Debug, Serialize)]
pub(super) struct Page {
    pub verdict: Verdict,
    pub also: Vec<String>,
    pub simulated: Option<String>,
    pub summary: Vec<String>,
    pub recommendations: Vec<Vec<String>>,
    pub workloads: Vec<Workload>,
    pub failures: Option<Failures>,
    pub method: Vec<Fact>,
    pub computer: Vec<Fact>,
    pub notes: Vec<String>,
    pub source: Vec<Fact>,
}

/// The first sentence: its first clause in large letters, what qualifies it right below, within the same heading.
#[derive(Debug, Serialize)]
pub(super) struct Verdict {
    pub whole: String,
    pub lead: String,
    pub qualified: Option<String>,
}

/// Machines that gave no result.
#[derive(Debug, Serialize)]
pub(super) struct Failures {
    pub sentences: Vec<String>,
    pub table: Table,
}

/// Something that one looks up.
#[derive(Debug, Serialize)]
pub(super) struct Fact {
    /// What it is called.
    pub name: String,
    /// What it is, each on a line of its own.
    pub values: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Workload {
    pub id: String,
    pub name: String,
    pub title: String,
    pub numbers: Table,
    pub figures: Vec<Figure>,
    pub compared: Vec<String>,
    pub comparisons: Option<Table>,
    pub walls: Option<Table>,
    pub groups: Option<Vec<Group>>,
}

/// A plot with what one needs to read and to check it.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    pub id: String,
    pub heading: String,
    pub reading: String,
    pub wide: String,
    pub narrow: String,
    pub tables: Vec<Table>,
}

/// Runs with the same number of machines.
#[derive(Debug, Serialize)]
pub(super) struct Group {
    pub title: String,
    pub runs: Vec<Run>,
}

#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub id: String,
    pub title: String,
    pub held: String,
    pub walls: Vec<String>,
    pub failures: Vec<String>,
    pub panels: Vec<String>,
    pub tables: Vec<Table>,
}

const WIDE: Size = Size { class: "wide", width: 760.0, height: 380.0, labels: 104.0 };
/// For windows that a telephone has: a wide chart's words would be too small there.
const NARROW: Size = Size { class: "narrow", width: 340.0, height: 300.0, labels: 92.0 };
impl Verdict {
    /// The first of some sentences, and the others.
    pub(super) fn of(headline: &[String]) -> (Self, Vec<String>) {
        let mut sentences = headline.iter().cloned();
        let whole = sentences.next().unwrap_or_else(|| "nothing was measured".to_owned());
        let (lead, qualified) = match whole.split_once("; ") {
            Some((lead, rest)) => (lead.to_owned(), Some(rest.to_owned())),
            None => (whole.clone(), None),
        };
        (Self { whole, lead, qualified }, sentences.collect())
    }
}

impl Fact {
    pub(super) fn new<S: Into<String>>(name: &str, values: impl IntoIterator<Item = S>) -> Self {
        Self { name: name.to_owned(), values: values.into_iter().map(Into::into).collect() }
    }
}

impl Figure {
    pub(super) fn of(id: String, heading: &str, reading: &str, chart: &Chart, tables: Vec<Table>) -> Self {
        Self {
            heading: heading.to_owned(),
            reading: reading.to_owned(),
            wide: draw(chart, WIDE, &id),
            narrow: draw(chart, NARROW, &id),
            tables: tables.into_iter().filter(|table| !table.rows.is_empty()).collect(),
            id,
        }
    }
}
