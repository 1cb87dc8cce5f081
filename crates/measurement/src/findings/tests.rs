//! What made-up experiments must, and must not, be said to show.

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{
    example::{self, Story},
    wall::Wall,
};

const GOAL: Goal = Goal { percentile: Percentile::P99, within: Duration::from_millis(5) };

fn of(document: &Contention) -> Findings {
    let quick = Bootstrap { resamples: 1000, ..Bootstrap::with_seed(Seed(1)) };
    Findings::resampled(document, Some(GOAL), quick).expect("results that can be read")
}

fn story(story: Story) -> Findings {
    of(&example::contention(story))
}

fn assert_says(line: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(line.contains(part), "{part:?} is missing in: {line}"));
}

#[test]
fn where_ram_helps_the_first_line_says_by_how_much_and_what_the_rival_does() {
    let found = story(Story::RamHelps);
    assert_says(
        &found.headline[0],
        &["latency: with 8 machines RAM is faster at p99 by 28", "than the disk;"],
    );
    assert_says(&found.headline[0], &["ignoring flushes on the disk does not do as well"]);
    assert_eq!(found.simulated, None);
    let comparison = &found.workloads[0].comparisons[7];
    assert_eq!((comparison.agents, comparison.credible, &comparison.caution), (8, true, &None));
}

#[test]
fn the_cheap_rival_is_named_where_it_does_as_well() {
    let found = story(Story::FlushesWereTheWall);
    assert_says(
        &found.headline[0],
        &["RAM is faster at p99", "ignoring flushes on the disk does as well: no difference"],
    );
}

#[test]
fn ram_is_not_credited_where_the_cpu_was_the_wall() {
    let found = story(Story::CpuIsTheWall);
    assert_says(
        &found.headline[0],
        &[
            "it is not shown that RAM helps: with 8 machines the CPU was the wall in 5 of 5 runs with RAM",
            "(1.98 of 2 cores were busy): this says little about the disk",
        ],
    );
    assert!(found.workloads[0].comparisons.iter().all(|one| one.credible == (one.agents < 4)));

    // Even when it is faster: the CPU of the disk's machines may have had other work.
    let mut document = example::contention(Story::RamHelps);
    hit_by_cpu(&mut document, Arm::Disk);
    let found = of(&document);
    assert_says(&found.headline[0], &["it is not shown that RAM helps", "(measured: RAM is faster at p99"]);
}

#[test]
fn a_disks_wall_that_ram_left_behind_for_the_cpus_is_credited() {
    let mut document = example::contention(Story::RamHelps);
    hit_by_cpu(&mut document, Arm::Ram);
    let found = of(&document);
    let more = "there the disk was no longer the wall, and without this one RAM may be faster still";
    assert_says(&found.headline[0], &["with 8 machines RAM is faster at p99", more]);
}

fn hit_by_cpu(document: &mut Contention, arm: Arm) {
    let hit = document.runs.iter_mut().filter(|run| run.arm == arm).flat_map(|run| &mut run.workloads);
    let wall = Wall { kind: WallKind::Cpu, evidence: "15.9 of 16 cores were busy".to_owned() };
    hit.for_each(|run| run.walls = vec![wall.clone()]);
}

#[test]
fn where_ram_does_not_help_the_first_line_says_so() {
    let mut document = example::contention(Story::CpuIsTheWall);
    let runs = document.runs.iter_mut().flat_map(|run| &mut run.workloads);
    runs.for_each(|run| run.walls.clear());
    let found = of(&document);
    assert_says(
        &found.headline[0],
        &["latency: RAM does not help with 8 machines: no difference shown at p99"],
    );
}

#[test]
fn workloads_that_do_not_agree_are_summed_up_first() {
    let mut document = example::contention(Story::RamHelps);
    let all_alike = example::contention(Story::CpuIsTheWall);
    for (run, alike) in document.runs.iter_mut().zip(all_alike.runs) {
        run.workloads[1].machines.clone_from(&alike.workloads[1].machines);
    }
    let found = of(&document);
    assert_eq!(found.headline[0], "RAM does not help with rand-write; RAM helps with latency");
    assert_eq!(found.headline.len(), 4, "{:?}", found.headline);
}

#[test]
fn a_disk_that_was_played_is_said_in_every_line() {
    let found = story(Story::SimulatedLimit);
    let said = found.simulated.as_deref().expect("a limit");
    assert_eq!(said, "SIMULATED: the disk was held to 500 operations and 52.4 MB a second");
    assert!(found.headline.iter().all(|line| line.ends_with(said)), "{:?}", found.headline);
}

#[test]
fn a_cell_has_its_numbers_and_they_agree_with_each_other() {
    let found = story(Story::RamHelps);
    let [open, closed] = &found.workloads[..] else { panic!("{:?}", found.headline) };
    assert_eq!(
        (open.operation.as_str(), open.arrivals),
        ("durable-write", Arrivals::Open { per_second: 200.0 })
    );
    assert_eq!(closed.arrivals, Arrivals::Closed { workers: 8 });
    let cell = closed.cells.iter().find(|cell| cell.arm == Arm::Disk && cell.agents == 8).expect("measured");
    assert_eq!((cell.runs, cell.machines, cell.failed_machines), (5, 40, 1));
    assert_eq!(cell.operations, 39 * 6000);
    assert_eq!((cell.walls[0].kind, cell.walls[0].runs, cell.walls[0].of), (WallKind::Disk, 5, 5));
    let law = cell.littles_law.expect("a closed loop");
    // Four runs of 64 operations under way, one of 56.
    assert!((law.computed - 62.4).abs() < 0.1 && law.holds_within(0.01), "{law:?}");
    let [.., p99, _, max] = &cell.percentiles[..] else { panic!("{:?}", cell.percentiles) };
    assert_eq!((p99.percentile, max.percentile, max.interval), (Percentile::P99, Percentile::MAX, None));
    assert!(p99.interval.is_some_and(|interval| interval.contains(p99.nanos)), "{p99:?}");
    assert!(open.cells.iter().all(|cell| cell.littles_law.is_none()));
}

#[test]
fn what_this_host_carries_is_recommended_with_what_was_not_measured() {
    let found = story(Story::RamHelps);
    let [open, closed] = &found.recommendations[..] else { panic!("{:?}", found.recommendations) };
    assert_eq!(
        open.sentences,
        [
            "latency, for p99 within 5 ms: at least 8 machines with RAM (the most that was measured); 2 machines with the \
          disk (4 were too many); 2 machines with the disk without flushes (4 were too many); what lies between was \
          not measured"
        ]
    );
    assert_says(
        &closed.sentences[1],
        &["throughput with RAM has no peak up to 8 machines, the most that was measured"],
    );
    assert_says(
        &closed.sentences[2],
        &["highest with 3.3 machines", "where 32 operations are under way (N = X · R)"],
    );
    let open_law = &found.workloads[0].scalability[0];
    assert_eq!(open_law.why_not.as_deref(), Some("an open loop does as many operations as it is asked for"));
}

#[test]
fn a_machine_that_died_is_one_failure_and_it_is_said_how_many_would_show_a_difference() {
    let found = story(Story::RamHelps);
    let failures = &found.failures[0];
    assert_eq!(failures.comparison.baseline.counts.failures(), 1);
    assert_eq!(failures.comparison.baseline.counts.jobs(), 75);
    assert_says(
        &failures.sentences[0],
        &["no difference in failures shown", "1 of 75 machines failed with the disk"],
    );
    assert_says(failures.sentences.last().expect("sentences"), &["machines of each are needed"]);
    assert_says(found.headline.last().expect("lines"), &["1 of 75 machines failed with the disk"]);
    assert!(
        found.notes.iter().any(|note| note.contains("1 of 40 machines gave no result")),
        "{:?}",
        found.notes
    );
}

#[test]
fn an_interrupted_experiment_says_what_it_still_shows() {
    let mut document = example::contention(Story::RamHelps);
    document.runs.truncate(24);
    let found = of(&document);
    assert_says(&found.headline[0], &["latency: nothing is shown with 8 machines"]);
    assert_says(&found.headline[0], &["too few runs (2, at least 5 are needed)"]);
    assert_eq!(found.notes[0], "24 of 60 planned runs were measured: it was interrupted");
    assert!(found.recommendations.is_empty(), "{:?}", found.recommendations);

    document.runs.retain(|run| run.arm == Arm::Ram);
    assert_says(&of(&document).headline[0], &["nothing is compared"]);
    document.runs.clear();
    let nothing = of(&document);
    assert!(nothing.workloads.is_empty() && nothing.failures.is_empty());
    assert!(
        nothing.notes.contains(&"latency: no machine measured anything".to_owned()),
        "{:?}",
        nothing.notes
    );
}

#[test]
fn the_same_document_and_seed_say_the_same_and_a_broken_result_is_an_error() {
    let mut document = example::contention(Story::CpuIsTheWall);
    document.design.agents = vec![8];
    let [first, second] = [(); 2].map(|()| serde_json::to_string(&of(&document)).expect("JSON"));
    assert_eq!(first, second);
    document.runs.last_mut().expect("runs").workloads[0].machines[0].result = Some(json!({"kind": "Pool"}));
    assert!(matches!(Findings::of(&document, None, Seed(1)), Err(ReadError::Kind { .. })));
}

/// The scalars of a document and what holds them, in the order in which they stand.
fn places(value: &mut Value) -> Vec<&mut Value> {
    match value {
        Value::Object(members) => members.iter_mut().flat_map(|(_, member)| places(member)).collect(),
        Value::Array(members) => members.iter_mut().flat_map(places).collect(),
        scalar => vec![scalar],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A document comes from a file, and results in it from guests.
    #[test]
    fn a_document_in_which_anything_is_changed_is_read_or_refused(
        at in prop::collection::vec((any::<Index>(), 0usize..8), 1..12),
    ) {
        let mut document = example::contention(Story::RamHelps);
        document.design.agents = vec![1];
        document.runs.retain(|run| run.agents == 1);
        let mut document = serde_json::to_value(document).expect("JSON");
        for (index, with) in at {
            let mut places = places(&mut document);
            let place = index.index(places.len());
            let others =
                [json!(null), json!(-1), json!(0), json!(1e308), json!(u64::MAX), json!(""), json!([]), json!({"a": 1})];
            *places[place] = others[with].clone();
        }
        if let Ok(document) = Contention::read(&document) {
            let quick = Bootstrap { resamples: 1000, ..Bootstrap::with_seed(Seed(1)) };
            drop(Findings::resampled(&document, Some(GOAL), quick));
        }
    }
}
