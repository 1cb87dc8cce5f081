//! A report for programs.

use serde::Serialize;
use winstead_measurement::Findings;

/// Grows when a reader of older reports would misread a newer one.
pub const VERSION: u64 = 1;

/// The findings with what a program must know to read them. Latencies are in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Document<'a> {
    /// `Findings`.
    pub kind: &'static str,
    /// [`VERSION`].
    pub version: u64,
    /// What the experiment says.
    #[serde(flatten)]
    pub findings: &'a Findings,
}

impl<'a> Document<'a> {
    /// The document of findings.
    #[must_use]
    pub const fn of(findings: &'a Findings) -> Self {
        Self { kind: "Findings", version: VERSION, findings }
    }
}
