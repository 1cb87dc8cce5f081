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

/// Runs in which a machine gave no result.
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

/// A load and what it says: the plots, then everything that checks them.
#[derive(Debug, Serialize)]
pub(super) struct Workload {
    pub id: String,
    pub name: String,
    pub title: String,
    pub numbers: Table,
    pub figures: Vec<Figure>,
    /// `at p99`.
    pub how_compared: String,
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

/// A run, second by second.
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
        let (lead, qualified) = match end_of_lead(&whole) {
            Some(end) => (whole[..end].to_owned(), Some(whole[end + SEPARATOR..].to_owned())),
            None => (whole.clone(), None),
        };
        (Self { whole, lead, qualified }, sentences.collect())
    }
}

/// `; ` and `: `.
const SEPARATOR: usize = 2;
/// What large letters have room for in three lines, and what is too little for a verdict: the name of a workload.
const LEAD: std::ops::RangeInclusive<usize> = 24..=90;

/// Where the large letters of a verdict end: at its first semicolon, or where that is far away at the last colon before.
/// What stands in parentheses is not torn apart.
fn end_of_lead(verdict: &str) -> Option<usize> {
    let mut depth = 0_i32;
    let mut ends: Vec<(usize, char)> = Vec::new();
    for ((index, character), (_, next)) in verdict.char_indices().zip(verdict.char_indices().skip(1)) {
        depth += i32::from(character == '(') - i32::from(character == ')');
        if depth == 0 && next == ' ' && matches!(character, ';' | ':') {
            ends.push((index, character));
        }
    }
    let semicolon = ends.iter().find(|(_, character)| *character == ';').map(|(index, _)| *index);
    if semicolon.unwrap_or(verdict.len()) <= *LEAD.end() {
        return semicolon;
    }
    let colon = ends.iter().rev().find(|(index, _)| LEAD.contains(index)).map(|(index, _)| *index);
    colon.or(semicolon)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_letters_end_where_a_clause_does() {
        for (verdict, lead) in [
            (
                "latency: RAM is faster by 28.3× (26.8-29.9) than the disk; the rival is not",
                "latency: RAM is faster by 28.3× (26.8-29.9) than the disk",
            ),
            (
                "rand-write: it is not shown that RAM helps: the CPU was the wall (1.99 of 2 cores were busy; somebody waited): little is said",
                "rand-write: it is not shown that RAM helps",
            ),
            ("latency: RAM does not help", "latency: RAM does not help"),
            ("", ""),
        ] {
            let (found, _) = Verdict::of(&[verdict.to_owned()]);
            assert_eq!(found.lead, lead);
            assert_eq!(found.whole, verdict);
        }
        assert_eq!(Verdict::of(&[]).0.lead, "nothing was measured");
    }
}
