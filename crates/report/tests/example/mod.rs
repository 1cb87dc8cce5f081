//! Made-up experiments with what they say.

use std::{sync::LazyLock, time::Duration};

use winstead_measurement::{
    Contention, Findings, Goal,
    example::{Story, contention},
};
use winstead_report::{Source, Subject, html};
use winstead_statistics::{Percentile, Seed};

/// An experiment with what it says.
#[derive(Clone)]
pub(crate) struct Example {
    pub(crate) document: Contention,
    pub(crate) findings: Findings,
}

const SEED: u64 = 1;
const GOAL: Goal = Goal { percentile: Percentile::P99, within: Duration::from_millis(5) };

/// Resampling takes seconds; each story needs it once.
static EXAMPLES: LazyLock<Vec<(Story, Example)>> = LazyLock::new(|| {
    let of = |story| (story, Example::new(contention(story)));
    [Story::RamHelps, Story::CpuIsTheWall, Story::SimulatedLimit].map(of).to_vec()
});

impl Example {
    /// The experiment of a story.
    pub(crate) fn of(story: Story) -> Self {
        let found = EXAMPLES.iter().find(|(known, _)| *known == story);
        found.map(|(_, example)| example.clone()).expect("one of the examples")
    }

    /// Any experiment.
    pub(crate) fn new(document: Contention) -> Self {
        let findings = Findings::of(&document, Some(GOAL), Seed(SEED)).expect("findings");
        Self { document, findings }
    }

    /// Its page.
    pub(crate) fn page(&self) -> String {
        let source = Source::of("contention.json", b"made up", SEED);
        let Self { document, findings } = self;
        html(&Subject { document, findings, source: &source, goal: Some(GOAL) })
    }
}
