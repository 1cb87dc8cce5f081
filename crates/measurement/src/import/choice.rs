//! Which runs of a document are meant: all of them, those of a name, or one arm of an experiment.
//!
//! `rand-write` is a load or a job of that name; `ram`, `ram@8`, `ram/latency` and `ram@8/latency` are an arm of an
//! experiment, with a number of machines and a workload where it has several.

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use super::{Measured, NamedRun};
use crate::{
    contention::{Arm, Contention, ContentionRun, DiskLimit, WorkloadRun},
    findings::walls::{self, WallCount, was_the_wall},
    run::{Ended, ReadError, Run},
    together::together,
    wall::WallKind,
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
    /// No machine of the arm gave a result.
    #[error("nothing was measured in any of its {runs} runs: all machines died")]
    AllLost {
        /// How many there were.
        runs: usize,
    },
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

    /// One run for each of the experiment's; one in which all machines died is lost, and has no operations.
    fn runs(&self, document: &Contention) -> Result<Vec<Run>, ChoiceError> {
        let chosen = document.runs.iter().filter(|run| run.arm == self.arm && run.agents == self.agents);
        let parts: Vec<(&ContentionRun, &WorkloadRun)> = chosen
            .flat_map(|run| run.workloads.iter().map(move |workload| (run, workload)))
            .filter(|(_, workload)| workload.name == self.workload)
            .collect();
        let measured: Vec<Option<Run>> = parts
            .iter()
            .map(|(_, workload)| Ok(together(workload.measured()?)))
            .collect::<Result<_, ReadError>>()?;
        let Some(like) = measured.iter().flatten().next().map(lost_like) else {
            return Err(ChoiceError::AllLost { runs: parts.len() });
        };
        let said = said(document, self.arm, &parts);
        let run = |((run, workload), whole): (&(&ContentionRun, &WorkloadRun), Option<Run>)| {
            let mut whole = whole.unwrap_or_else(|| like.clone());
            whole.notes.extend(said.iter().cloned());
            described(whole, document.design.disk_limit, run, workload)
        };
        Ok(parts.iter().zip(measured).map(run).collect())
    }
}

/// A run of which nothing is left but what was asked for.
fn lost_like(run: &Run) -> Run {
    Run {
        operations: BTreeMap::new(),
        errors: BTreeMap::new(),
        notes: Vec::new(),
        elapsed: Duration::ZERO,
        ended: Ended::Lost,
        ..run.clone()
    }
}

/// What a reader of an arm's runs must know, the same for each: that a slower disk was played, and what the walls were.
fn said(document: &Contention, arm: Arm, parts: &[(&ContentionRun, &WorkloadRun)]) -> Vec<String> {
    let limit = document.design.disk_limit.filter(|_| arm != Arm::Ram);
    let counts = walls::count(parts.iter().map(|(_, workload)| workload.walls.as_slice()));
    let wall = |wall: WallCount| {
        let aside = match wall.kind {
            WallKind::Cpu | WallKind::Memory if wall.is_in_most_runs() => {
                ": a difference says little about the disk"
            }
            _ => "",
        };
        format!("{} in {} of {} runs ({}){aside}", was_the_wall(wall.kind), wall.runs, wall.of, wall.evidence)
    };
    limit.map(|limit| limit.to_string()).into_iter().chain(counts.into_iter().map(wall)).collect()
}

/// A run with what its experiment says of it.
fn described(mut whole: Run, limit: Option<DiskLimit>, run: &ContentionRun, workload: &WorkloadRun) -> Run {
    let failed = workload.failed_machines();
    if failed > 0 {
        whole.notes.push(format!("{failed} of {} machines gave no result", workload.machines.len()));
        whole.ended = Ended::Lost;
    }
    whole.started_at = Some(workload.started_at);
    whole.settings.insert("agents".to_owned(), run.agents.into());
    // Machines in RAM are never held, so a played disk differs from RAM by this too.
    if let Some(limit) = limit.filter(|_| run.arm != Arm::Ram) {
        whole.settings.extend(limit.settings());
    }
    whole.place.insert("arm".to_owned(), Value::from(run.arm.name()));
    whole
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
        assert!(
            runs[2].notes.iter().any(|note| note == "1 of 8 machines gave no result"),
            "{:?}",
            runs[2].notes
        );
        assert_eq!((runs[0].ended, runs[2].ended), (Ended::Complete, Ended::Lost));
        // Without a number the largest is meant.
        let largest = experiment().choose(Some("disk/latency")).expect("runs");
        assert_eq!(largest[0].settings["agents"], 8);
    }

    fn changed(story: Story, change: impl Fn(&mut Contention)) -> Measured {
        let mut document = example::contention(story);
        change(&mut document);
        Measured::Contention(Box::new(document))
    }

    #[test]
    fn a_played_disk_and_what_was_the_wall_stay_with_an_arms_runs() {
        let played = |arm| changed(Story::SimulatedLimit, |_| {}).choose(Some(arm)).expect("runs");
        let disk = played("disk@8/latency");
        assert_eq!(disk[0].settings["diskLimit.iops"], 500);
        assert_eq!(disk[0].settings["diskLimit.bytesPerSecond"], 50 << 20);
        assert!(
            disk.iter().all(|run| run.notes.iter().any(|note| note.starts_with("SIMULATED: "))),
            "{disk:?}"
        );
        let wall =
            "the limit was the wall in 5 of 5 runs (492 of the 500 operations a second that were allowed)";
        assert!(disk[0].notes.iter().any(|note| note == wall), "{:?}", disk[0].notes);
        let ram = played("ram@8/latency");
        assert!(!ram[0].settings.contains_key("diskLimit.iops") && ram[0].notes.is_empty(), "{:?}", ram[0]);
        let crowded = changed(Story::CpuIsTheWall, |_| {}).choose(Some("ram@8/latency")).expect("runs");
        let caution = "the CPU was the wall in 5 of 5 runs (1.98 of 2 cores were busy): a difference says little about \
                       the disk";
        assert_eq!(crowded[0].notes, [caution]);
    }

    #[test]
    fn a_run_in_which_all_died_is_lost_and_no_gap() {
        let die = |repeats: std::ops::RangeInclusive<u32>| {
            move |document: &mut Contention| {
                let runs = document.runs.iter_mut().filter(|run| run.arm == Arm::Disk && run.agents == 8);
                let dead =
                    runs.filter(|run| repeats.contains(&run.repeat)).flat_map(|run| &mut run.workloads);
                for machine in dead.flat_map(|workload| &mut workload.machines) {
                    (machine.result, machine.failure) = (None, Some("QEMU ended: signal 9".to_owned()));
                }
            }
        };
        let runs = changed(Story::RamHelps, die(1..=1)).choose(Some("disk@8/latency")).expect("runs");
        assert_eq!((runs.len(), runs[0].ended, runs[0].operations.len()), (5, Ended::Lost, 0));
        assert_eq!(runs[0].settings, runs[1].settings);
        assert!(
            runs[0].notes.iter().any(|note| note == "8 of 8 machines gave no result"),
            "{:?}",
            runs[0].notes
        );
        let none = changed(Story::RamHelps, die(1..=5)).choose(Some("disk@8/latency")).expect_err("nothing");
        assert_eq!(none.to_string(), "nothing was measured in any of its 5 runs: all machines died");
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
