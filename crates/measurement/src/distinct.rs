//! Whether runs of an experiment are distinct: each arm, number of machines and repeat is there once.
//!
//! Files that were put together by hand, or one that names a run twice, would make intervals narrower than what was measured.

use std::collections::{BTreeMap, BTreeSet};

use crate::contention::ContentionRun;

/// More runs of one arm with one number of machines than anybody measures; comparing them takes time that grows with their
/// square.
const MOST_RUNS: usize = 1000;

/// What is wrong with runs; `None` when they are distinct.
pub(crate) fn doubt(runs: &[ContentionRun]) -> Option<String> {
    let mut seen = BTreeSet::new();
    let mut counts = BTreeMap::new();
    for run in runs {
        let place = format!("arm {} with {} machines", run.arm.name(), run.agents);
        if !seen.insert((run.arm, run.agents, run.repeat)) {
            return Some(format!("{place}: repeat {} is there twice", run.repeat));
        }
        let count = counts.entry((run.arm, run.agents)).or_insert(0_usize);
        *count += 1;
        if *count > MOST_RUNS {
            return Some(format!("{place}: more than {MOST_RUNS} runs"));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use crate::{
        Contention,
        contention::ContentionRun,
        example::{Story, contention},
    };

    fn refused(change: impl Fn(&mut Vec<ContentionRun>)) -> String {
        let mut document = contention(Story::RamHelps);
        change(&mut document.runs);
        let document = serde_json::to_value(document).expect("JSON");
        let error = Contention::read(&document).expect_err("runs that are not distinct");
        format!("{error}: {}", error.source().expect("a cause"))
    }

    #[test]
    fn a_run_that_is_there_twice_is_refused() {
        let twice = refused(|runs| runs.push(runs[0].clone()));
        assert_eq!(
            twice,
            "it cannot be read as a Contention: arm ram with 1 machines: repeat 1 is there twice"
        );
    }

    #[test]
    fn more_runs_than_anybody_measures_are_refused() {
        let many = refused(|runs| {
            runs.truncate(1);
            runs[0].workloads.clear();
            *runs = (0..1001).map(|repeat| ContentionRun { repeat, ..runs[0].clone() }).collect();
        });
        assert!(many.ends_with("arm ram with 1 machines: more than 1000 runs"), "{many}");
    }
}
