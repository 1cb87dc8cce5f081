//! Which runs of a document are meant: all of them, those of a name, or one arm of an experiment.
//!
//! `rand-write` is a load or a job of that name; `ram`, `ram@8`, `ram/latency` and `ram@8/latency` are an arm of an
//! experiment, with a number of machines and a workload where it has several.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Measured, NamedRun};
use crate::{
    contention::{Arm, Contention, ContentionRun, WorkloadRun},
    run::{Ended, Operation, ReadError, Run},
};

/// Why a choice is none.
#[derive(Debug, thiserror::Error)]
pub enum ChoiceError {
    /// What is named is not there, or something must be named and is not.
    #[error("{wanted}; there are {there}")]
    NotThere {
        /// What is asked for.
        wanted: String,
        /// What could be.
        there: String,
    },
    /// It holds counters.
    #[error("it holds counters of Windows, which are no runs")]
    Counters,
    /// A machine's result cannot be read.
    #[error(transparent)]
    Result(#[from] ReadError),
}

impl Measured {
    /// The runs that `choice` names; all of them without one, which of an experiment is only enough where it has one arm.
    ///
    /// # Errors
    /// When it names nothing, or too little.
    pub fn choose(self, choice: Option<&str>) -> Result<Vec<Run>, ChoiceError> {
        match self {
            Self::Runs(runs) => named(runs, choice),
            Self::Contention(document) => {
                Chosen::read(&document, choice.unwrap_or_default())?.runs(&document)
            }
            Self::Counters(_) => Err(ChoiceError::Counters),
        }
    }
}

fn named(runs: Vec<NamedRun>, choice: Option<&str>) -> Result<Vec<Run>, ChoiceError> {
    let Some(name) = choice else { return Ok(runs.into_iter().map(|named| named.run).collect()) };
    let there = listed(runs.iter().map(|named| named.name.clone()));
    let chosen: Vec<Run> =
        runs.into_iter().filter(|named| named.name == name).map(|named| named.run).collect();
    let wanted = format!("no run is called {name:?}");
    if chosen.is_empty() { Err(ChoiceError::NotThere { wanted, there }) } else { Ok(chosen) }
}

/// One arm with one number of machines and one workload.
struct Chosen {
    arm: Arm,
    agents: u32,
    workload: String,
}

impl Chosen {
    fn read(document: &Contention, choice: &str) -> Result<Self, ChoiceError> {
        let (place, workload) = split(choice, '/');
        let (arm, agents) = split(place, '@');
        let arms: Vec<Arm> =
            Arm::ALL.into_iter().filter(|arm| document.runs.iter().any(|run| run.arm == *arm)).collect();
        let arm = one("arm", arm, arms, |arm| arm.name().to_owned())?;
        let mut numbers: Vec<u32> =
            document.runs.iter().filter(|run| run.arm == arm).map(|run| run.agents).collect();
        numbers.sort_unstable();
        numbers.dedup();
        // The largest number is what an experiment is made for.
        let numbers =
            if agents.is_none() { numbers.split_off(numbers.len().saturating_sub(1)) } else { numbers };
        let agents = one("number of machines", agents, numbers, ToString::to_string)?;
        let workloads = document.design.workloads.iter().map(|workload| workload.name.clone()).collect();
        let workload = one("workload", workload, workloads, Clone::clone)?;
        Ok(Self { arm, agents, workload })
    }

    fn runs(&self, document: &Contention) -> Result<Vec<Run>, ChoiceError> {
        let chosen = document.runs.iter().filter(|run| run.arm == self.arm && run.agents == self.agents);
        let mut runs = Vec::new();
        for run in chosen {
            let workloads = run.workloads.iter().filter(|workload| workload.name == self.workload);
            for workload in workloads {
                runs.extend(merged(run, workload)?);
            }
        }
        Ok(runs)
    }
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    text.split_once(at).map_or((text, None), |(left, right)| (left, Some(right)))
}

/// What is asked for, or the only one that is there.
fn one<'a, T>(
    what: &str,
    asked: impl Into<Option<&'a str>>,
    mut there: Vec<T>,
    name: impl Fn(&T) -> String,
) -> Result<T, ChoiceError> {
    let asked = asked.into().filter(|asked| !asked.is_empty());
    let found = match asked {
        Some(asked) => there.iter().position(|one| name(one) == asked),
        None => (there.len() == 1).then_some(0),
    };
    let wanted = asked.map_or_else(|| format!("name one {what}"), |asked| format!("{asked:?} is no {what}"));
    match found {
        Some(index) => Ok(there.swap_remove(index)),
        None => Err(ChoiceError::NotThere { wanted, there: listed(there.iter().map(name)) }),
    }
}

fn listed(names: impl Iterator<Item = String>) -> String {
    let mut names: Vec<String> = names.collect();
    names.dedup();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// All machines of a run as one: operations together, the time until the last had ended. `None` when none measured.
fn merged(run: &ContentionRun, workload: &WorkloadRun) -> Result<Option<Run>, ReadError> {
    let mut machines = workload.measured()?.into_iter();
    let Some(mut whole) = machines.next() else { return Ok(None) };
    for machine in machines {
        add(&mut whole.operations, machine.operations);
        machine.errors.into_iter().for_each(|(said, times)| *whole.errors.entry(said).or_default() += times);
        whole.elapsed = whole.elapsed.max(machine.elapsed);
        whole.notes.extend(machine.notes);
        if machine.ended != Ended::Complete {
            whole.ended = machine.ended;
        }
    }
    whole.notes.sort();
    whole.notes.dedup();
    let failed = workload.failed_machines();
    if failed > 0 {
        whole.notes.push(format!("{failed} of {} machines gave no result", workload.machines.len()));
        whole.ended = Ended::Lost;
    }
    whole.started_at = Some(workload.started_at);
    whole.settings.insert("agents".to_owned(), run.agents.into());
    whole.place.insert("arm".to_owned(), Value::from(run.arm.name()));
    Ok(Some(whole))
}

fn add(whole: &mut BTreeMap<String, Operation>, part: BTreeMap<String, Operation>) {
    for (name, operation) in part {
        let sum = whole.entry(name).or_default();
        sum.latencies.merge(&operation.latencies);
        sum.bytes = sum.bytes.saturating_add(operation.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        example::{self, Story},
        import,
    };

    fn experiment() -> Measured {
        Measured::Contention(Box::new(example::contention(Story::RamHelps)))
    }

    fn refusal(choice: Option<&str>) -> String {
        experiment().choose(choice).expect_err("no choice").to_string()
    }

    #[test]
    fn an_arm_of_an_experiment_is_its_runs_with_all_machines_together() {
        let runs = experiment().choose(Some("disk@8/latency")).expect("runs");
        let counts: Vec<u64> =
            runs.iter().map(|run| run.operations["durable-write"].latencies.count()).collect();
        assert_eq!(counts, [48_000, 48_000, 42_000, 48_000, 48_000]);
        assert_eq!(runs[0].settings["agents"], 8);
        assert_eq!(runs[0].place["arm"], "disk");
        assert_eq!(runs[2].notes, ["1 of 8 machines gave no result"]);
        assert_eq!((runs[0].ended, runs[2].ended), (Ended::Complete, Ended::Lost));
        // Without a number the largest is meant.
        let largest = experiment().choose(Some("disk/latency")).expect("runs");
        assert_eq!(largest[0].settings["agents"], 8);
    }

    #[test]
    fn what_is_not_there_or_not_named_is_listed() {
        assert_eq!(refusal(None), "name one arm; there are ram, disk, disk-noflush");
        assert_eq!(refusal(Some("ssd@8/latency")), r#""ssd" is no arm; there are ram, disk, disk-noflush"#);
        assert_eq!(refusal(Some("ram@3/latency")), r#""3" is no number of machines; there are 1, 2, 4, 8"#);
        assert_eq!(refusal(Some("ram")), "name one workload; there are latency, rand-write");
    }

    #[test]
    fn a_job_is_chosen_by_its_name() {
        let read = || import::read(include_bytes!("../../tests/fio-3.33-mixed.json")).expect("runs");
        assert_eq!(read().choose(None).expect("runs").len(), 2);
        let chosen = read().choose(Some("reader")).expect("a run");
        assert_eq!(chosen[0].settings["operation"], "read");
        let refused = read().choose(Some("other")).expect_err("no such job").to_string();
        assert_eq!(refused, r#"no run is called "other"; there are reader, writer"#);
    }
}
