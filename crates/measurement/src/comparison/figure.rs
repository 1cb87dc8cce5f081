//! One number for each run, of two sets: throughput, or how long the same work took.

use serde::Serialize;
use winstead_statistics::{
    Confidence, Interval, MannWhitney, Probability, Summary, mann_whitney,
    mann_whitney::{ratio, smallest_p},
};

/// A figure of two sets of runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FigureComparison {
    /// What it is, with its unit: `operations a second`, `seconds`.
    pub what: String,
    /// Of the one set.
    pub a: Summary,
    /// Of the other.
    pub b: Summary,
    /// Whether it tends to be larger in the other.
    pub test: MannWhitney,
    /// How many times as large it is in the other. `None` for too few runs, and where a figure is 0.
    pub ratio: Option<Interval>,
    /// The same in words.
    pub sentence: String,
}

/// Which of two numbers is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Better {
    More,
    Less,
}

impl FigureComparison {
    /// What a figure says, each set a name and one number for each run. `None` when a run has none.
    pub(crate) fn of(what: &str, a: (&str, &[f64]), b: (&str, &[f64]), better: Better) -> Option<Self> {
        let ((_, before), (name, after)) = (a, b);
        let test = mann_whitney(before, after).ok()?;
        let (of_a, of_b) = (Summary::of(before)?, Summary::of(after)?);
        let alpha = Confidence::P95.alpha();
        let possible = smallest_p(before.len(), after.len()) <= alpha;
        let verdict = match (possible, test.p <= alpha, test.superiority > 0.5) {
            (false, ..) => format!("too few runs to show a difference in {what}"),
            (true, false, _) => format!("no difference shown in {what}"),
            (true, true, larger) => format!("{name} {} {what}", comparative(larger, better)),
        };
        let sentence = format!(
            "{verdict}: {} against {} (medians of {} and {} runs; Mann-Whitney: {})",
            rounded(of_b.median),
            rounded(of_a.median),
            after.len(),
            before.len(),
            Probability(test.p)
        );
        let ratio = ratio(before, after, Confidence::P95);
        Some(Self { what: what.to_owned(), a: of_a, b: of_b, test, ratio, sentence })
    }
}

const fn comparative(larger: bool, better: Better) -> &'static str {
    match (larger, better) {
        (true, Better::More) => "does better, with more",
        (false, Better::More) => "does worse, with fewer",
        (true, Better::Less) => "does worse, with more",
        (false, Better::Less) => "does better, with fewer",
    }
}

/// Three digits or more: `0.512`, `12.3`, `45906`.
fn rounded(number: f64) -> String {
    match number.abs() {
        0.0..1.0 => format!("{number:.3}"),
        1.0..10.0 => format!("{number:.2}"),
        10.0..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(a: &[f64], b: &[f64], better: Better) -> String {
        FigureComparison::of("seconds", ("A", a), ("B", b), better).expect("numbers").sentence
    }

    #[test]
    fn a_difference_is_said_with_its_direction() {
        let (short, long) = ([10.0, 10.2, 10.4, 10.1, 10.3], [12.0, 12.2, 12.4, 12.1, 12.3]);
        assert_eq!(
            sentence(&short, &long, Better::Less),
            "B does worse, with more seconds: 12.2 against 10.2 (medians of 5 and 5 runs; Mann-Whitney: p = 0.008)"
        );
        assert!(sentence(&long, &short, Better::Less).starts_with("B does better, with fewer seconds"));
        assert!(sentence(&short, &short, Better::More).starts_with("no difference shown in seconds"));
    }

    #[test]
    fn three_against_three_can_show_nothing() {
        let text = sentence(&[1.0, 2.0, 3.0], &[7.0, 8.0, 9.0], Better::More);
        assert!(
            text.starts_with("too few runs to show a difference in seconds: 8.00 against 2.00"),
            "{text}"
        );
        assert_eq!(FigureComparison::of("seconds", ("A", &[]), ("B", &[1.0]), Better::More), None);
    }
}
