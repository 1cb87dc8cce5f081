//! An estimate with the interval it lies in, and how sure that interval is.

use std::fmt;

use serde::Serialize;

/// The share of repeated measurings whose interval holds the true value: above 0, below 1.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Confidence(f64);

/// What was measured, and where the truth lies with the stated confidence. Always `low <= estimate <= high`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// What the data says, in the unit of what was measured.
    pub estimate: f64,
    /// The interval's lower end, in the same unit.
    pub low: f64,
    /// The interval's upper end, in the same unit.
    pub high: f64,
    /// How often such an interval holds the true value.
    pub confidence: Confidence,
}

impl Confidence {
    /// 95 %: what a report uses unless somebody asks otherwise.
    pub const P95: Self = Self(0.95);

    /// A confidence of `level` (0.95 is 95 %); `None` unless it lies between 0 and 1, both excluded.
    #[must_use]
    pub fn new(level: f64) -> Option<Self> {
        (level > 0.0 && level < 1.0).then_some(Self(level))
    }

    /// The level: 0.95 for 95 %.
    #[must_use]
    pub const fn level(self) -> f64 {
        self.0
    }

    /// What remains, for both tails together: 0.05 for 95 %.
    #[must_use]
    pub const fn alpha(self) -> f64 {
        1.0 - self.0
    }

    /// The confidence each of `questions` must have so that all answers hold together with this one:
    /// Bonferroni's inequality (Dunn 1961), α / m.
    #[must_use]
    pub fn shared_by(self, questions: usize) -> Self {
        Self(1.0 - self.alpha() / questions.max(1) as f64)
    }
}

impl fmt::Display for Confidence {
    /// `95 %`, `99.2 %`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", (self.0 * 1000.0).round() / 10.0)
    }
}

impl Interval {
    /// An interval that is widened to its estimate when a method would leave it out.
    pub(crate) fn around(estimate: f64, low: f64, high: f64, confidence: Confidence) -> Self {
        Self { estimate, low: low.min(estimate), high: high.max(estimate), confidence }
    }

    /// Whether `value` lies in the interval, its ends included.
    #[must_use]
    pub fn contains(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confidence_lies_between_nothing_and_certainty() {
        for level in [0.0, 1.0, -0.5, 95.0, f64::NAN] {
            assert_eq!(Confidence::new(level), None, "{level}");
        }
        assert_eq!(Confidence::new(0.95), Some(Confidence::P95));
    }

    #[test]
    fn questions_share_what_may_go_wrong() {
        assert!((Confidence::P95.shared_by(5).level() - 0.99).abs() < 1e-12);
        assert_eq!(Confidence::P95.shared_by(2).to_string(), "97.5 %");
    }
}
