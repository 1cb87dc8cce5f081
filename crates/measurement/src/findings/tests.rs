//! What made-up experiments must, and must not, be said to show.

use proptest::{prelude::*, sample::Index};
use serde_json::{Value, json};

use super::*;
use crate::{
    contention::Way,
    example::{self, Story},
    wall::{Wall, WallKind},
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
    hit_by(&mut document, Arm::Disk, &[WallKind::Cpu]);
    let found = of(&document);
    assert_says(&found.headline[0], &["it is not shown that RAM helps", "(measured: RAM is faster at p99"]);
}

#[test]
fn a_disks_wall_that_ram_left_behind_for_the_cpus_is_credited() {
    let mut document = example::contention(Story::RamHelps);
    hit_by(&mut document, Arm::Ram, &[WallKind::Cpu]);
    let found = of(&document);
    let more = "there the disk was no longer the wall, and without this one RAM may be faster still";
    assert_says(&found.headline[0], &["with 8 machines RAM is faster at p99", more]);
}

/// What held all machines of an arm back, strongest first.
fn hit_by(document: &mut Contention, arm: Arm, kinds: &[WallKind]) {
    let hit = document.runs.iter_mut().filter(|run| run.arm == arm).flat_map(|run| &mut run.workloads);
    let wall = |kind: &WallKind| Wall { kind: *kind, evidence: "15.9 of 16 cores were busy".to_owned() };
    hit.for_each(|run| run.walls = kinds.iter().map(wall).collect());
}

/// Kills all machines of the runs that are chosen.
fn kill(document: &mut Contention, chosen: impl Fn(&crate::contention::ContentionRun) -> bool) {
    let dead = document.runs.iter_mut().filter(|run| chosen(run)).flat_map(|run| &mut run.workloads);
    for machine in dead.flat_map(|workload| &mut workload.machines) {
        (machine.result, machine.failure) = (None, Some("QEMU ended: signal 9".to_owned()));
    }
}

/// Lets so many operations of the first machine of each chosen run fail, in the open loop.
fn fail(document: &mut Contention, times: u64, chosen: impl Fn(&crate::contention::ContentionRun) -> bool) {
    for run in document.runs.iter_mut().filter(|run| chosen(run)) {
        let result = run.workloads[0].machines[0].result.as_mut().expect("a result");
        let latencies = &mut result["operations"]["durable-write"]["latencies"];
        let mut failing: winstead_statistics::Latencies =
            serde_json::from_value(latencies.clone()).expect("latencies");
        (0..times).for_each(|_| failing.record_failure(Duration::from_secs(30)));
        *latencies = serde_json::to_value(failing).expect("JSON");
    }
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

    // The cheap rival must be named there too.
    let mut document = example::contention(Story::FlushesWereTheWall);
    let all_alike = example::contention(Story::CpuIsTheWall);
    for (run, alike) in document.runs.iter_mut().zip(all_alike.runs) {
        run.workloads[1].machines.clone_from(&alike.workloads[1].machines);
    }
    let said = "RAM does not help with rand-write; RAM helps with latency, and so does ignoring flushes";
    assert_eq!(of(&document).headline[0], said);
}

#[test]
fn ram_with_a_full_cpu_is_credited_only_where_the_disk_alone_held_the_other_arm_back() {
    use WallKind::{Cpu, Disk, Flush, Memory, SimulatedLimit};
    for (disk, ram, credible) in [
        (&[Disk][..], &[Cpu][..], true),
        (&[Flush], &[Memory], true),
        (&[Disk, Cpu], &[Cpu], false),
        (&[Disk, Memory], &[Cpu], false),
        (&[Memory], &[Cpu], false),
        (&[], &[Cpu], false),
        // The limit is counted for the machines alone, so it was reached.
        (&[SimulatedLimit, Cpu], &[Cpu], true),
        (&[Cpu, SimulatedLimit], &[Cpu], false),
        (&[Disk, Cpu], &[], true),
        (&[Cpu, Disk], &[], false),
    ] {
        let mut document = example::contention(Story::RamHelps);
        document.design.agents = vec![8];
        hit_by(&mut document, Arm::Disk, disk);
        hit_by(&mut document, Arm::Ram, ram);
        let found = of(&document);
        let leading = &found.workloads[0].comparisons[0];
        assert_eq!(leading.credible, credible, "{disk:?} {ram:?}: {:?}", leading.caution);
        if disk.first() == Some(&SimulatedLimit) {
            assert_says(&found.headline[0], &["there the limit was no longer the wall"]);
        }
    }
}

#[test]
fn a_rival_of_which_nothing_is_shown_is_not_said_to_do_worse() {
    let mut document = example::contention(Story::RamHelps);
    document.design.agents = vec![8];
    hit_by(&mut document, Arm::DiskNoflush, &[WallKind::Cpu]);
    let said = "; nothing is shown of ignoring flushes on the disk: with 8 machines the CPU was the wall in 5 of 5 runs";
    assert_says(&of(&document).headline[0], &["with 8 machines RAM is faster at p99", said]);
}

#[test]
fn what_is_not_known_well_enough_is_not_said_not_to_help() {
    // Runs of the disk that differ much: no difference is shown, and a large one is possible.
    let mut document = example::contention(Story::CpuIsTheWall);
    document.runs.iter_mut().flat_map(|run| &mut run.workloads).for_each(|run| run.walls.clear());
    let restless = [0.5, 0.8, 1.3, 2.0, 0.7];
    for run in document.runs.iter_mut().filter(|run| run.arm == Arm::Disk && run.agents == 8) {
        let micros = 2000.0 * restless[run.repeat as usize - 1];
        for machine in &mut run.workloads[0].machines {
            machine.result = Some(example::probe_result(micros));
        }
    }
    let headline = of(&document).headline;
    assert_says(
        &headline[1],
        &["latency: it is not shown that RAM helps with 8 machines: no difference shown"],
    );
    assert_eq!(headline[0], "RAM does not help with rand-write; it is not shown that RAM helps with latency");

    // RAM is slower than the disk: that is said, and nothing of helping.
    let mut document = example::contention(Story::RamHelps);
    for run in &mut document.runs {
        run.arm = match run.arm {
            Arm::Ram => Arm::Disk,
            Arm::Disk => Arm::Ram,
            Arm::DiskNoflush => Arm::DiskNoflush,
        };
    }
    let headline = of(&document).headline;
    assert_says(&headline[0], &["latency: with 8 machines RAM is slower at p99 by 28", "than the disk"]);
    assert_says(
        &headline[1],
        &["rand-write: with 8 machines RAM does less, 0.03× as much (", ") as the disk"],
    );
}

#[test]
fn a_closed_loop_is_decided_by_throughput() {
    let found = story(Story::RamHelps);
    let closed = &found.workloads[1].comparisons[6];
    assert_eq!((closed.agents, closed.decision), (8, Decision::Better));
    assert_says(&closed.deciding, &["RAM does 2", "× as much ("]);
    assert!(closed.throughput.as_ref().is_some_and(|found| found.test.p < 0.01), "{closed:?}");
    assert_says(
        &found.headline[1],
        &[
            "rand-write: with 8 machines RAM does 2",
            "× as much (",
            ") as the disk; ignoring flushes on the disk does not",
        ],
    );
    assert_eq!(found.workloads[0].comparisons[6].throughput, None);
}

#[test]
fn ram_that_fails_more_often_does_not_help_and_that_comes_first() {
    let mut document = example::contention(Story::RamHelps);
    kill(&mut document, |run| run.arm == Arm::Ram && run.agents > 1 && run.repeat < 4);
    let found = of(&document);
    assert_says(
        &found.headline[0],
        &["RAM fails more often: 9 of 20 runs failed with RAM", "1 of 20 runs failed with the disk"],
    );
    let credited = |line: &String| line.starts_with("RAM helps") || line.contains("; RAM helps");
    assert!(!found.headline.iter().any(credited), "{:?}", found.headline);

    let mut document = example::contention(Story::RamHelps);
    fail(&mut document, 3, |run| run.arm == Arm::Ram && run.agents == 8);
    let found = of(&document);
    assert_eq!(found.headline[0], "RAM fails more often with latency; RAM helps with rand-write");
    let said = "operations with RAM fail more often: 15 of 240015 failed with RAM (0.01 %), 0 of 234000 failed with the disk";
    assert_says(&found.headline[1], &["latency: RAM fails more often with 8 machines", said]);
}

#[test]
fn failed_operations_are_said_also_where_they_show_nothing() {
    let mut document = example::contention(Story::RamHelps);
    fail(&mut document, 3, |run| run.arm == Arm::Disk && run.agents == 8 && run.repeat == 1);
    let said = "latency, 8 machines: no difference in failed operations shown: 0 of 240000 failed with RAM (0.00 %), 3 of";
    let headline = of(&document).headline;
    assert!(headline.iter().any(|line| line.starts_with(said)), "{headline:?}");
    assert_says(&headline[0], &["latency: with 8 machines RAM is faster at p99"]);
}

#[test]
fn an_arm_of_which_nothing_is_left_is_said_and_no_gap() {
    let mut document = example::contention(Story::RamHelps);
    kill(&mut document, |run| run.arm == Arm::Disk && run.agents == 8);
    let found = of(&document);
    let lost = "with 8 machines nothing is left of the disk: all 40 machines died";
    assert_says(&found.headline[0], &[lost]);
    assert_eq!(found.workloads[0].lost.len(), 1);
    assert!(found.notes.iter().any(|note| note.contains("8 machines with the disk: all 40 machines died")));
}

fn recommended(document: &Contention) -> String {
    of(document).recommendations[0].sentences[0].clone()
}

#[test]
fn a_number_of_machines_of_which_any_fails_keeps_to_no_goal() {
    let mut document = example::contention(Story::RamHelps);
    kill(&mut document, |run| run.arm == Arm::Ram && run.agents == 8);
    assert_says(&recommended(&document), &["4 machines with RAM (8 were too many: 40 of 40 machines died)"]);

    let mut document = example::contention(Story::RamHelps);
    fail(&mut document, 100, |run| run.arm == Arm::Ram && run.agents == 1);
    let said = "not even 1 machine with RAM (500 of 30500 operations failed)";
    assert_says(&recommended(&document), &[said]);
}

#[test]
fn what_the_wall_was_is_said_with_what_is_recommended() {
    let mut document = example::contention(Story::RamHelps);
    hit_by(&mut document, Arm::Ram, &[WallKind::Cpu]);
    hit_by(&mut document, Arm::Disk, &[WallKind::Cpu]);
    assert_says(
        &recommended(&document),
        &[
            "at least 8 machines with RAM, where the CPU was the wall (the most that was measured)",
            "2 machines with the disk (4 were too many: the CPU was the wall)",
        ],
    );
}

#[test]
fn an_arm_of_which_too_little_is_known_is_named_too() {
    let mut document = example::contention(Story::RamHelps);
    document.runs.retain(|run| run.arm != Arm::Ram || run.agents < 4 || run.repeat < 3);
    let said = recommended(&document);
    assert_says(&said, &["at least 2 machines with RAM (nothing is known of 4: too few runs)"]);
    assert_says(&said, &["2 machines with the disk (4 were too many"]);
    document.runs.retain(|run| run.arm != Arm::Ram);
    assert_says(&recommended(&document), &["nothing is known of RAM: nothing was measured"]);
    document.runs.clear();
    assert_eq!(
        recommended(&document),
        "latency, for p99 within 5 ms: nothing is known: no machine measured anything"
    );
}

#[test]
fn a_law_is_fitted_to_runs_of_which_no_machine_died() {
    let found = story(Story::RamHelps);
    let disk = &found.workloads[1].scalability[1];
    let why = "4 runs with 8 machines are too few, at least 5 are needed; runs in which a machine died do not count";
    assert_eq!((disk.law, disk.why_not.as_deref()), (None, Some(why)));
    // A sixth run that is whole.
    let mut document = example::contention(Story::RamHelps);
    let disk = |run: &&crate::contention::ContentionRun| run.arm == Arm::Disk && run.agents == 8;
    let again = document.runs.iter().find(disk).expect("measured").clone();
    document.runs.push(crate::contention::ContentionRun { repeat: 6, ..again });
    assert!(of(&document).workloads[1].scalability[1].law.is_some());
}

#[test]
fn a_rate_that_was_not_reached_is_said_before_the_verdict() {
    let mut document = example::contention(Story::RamHelps);
    for run in document.runs.iter_mut().filter(|run| run.arm == Arm::Disk && run.agents >= 4) {
        for machine in &mut run.workloads[0].machines {
            let Some(result) = &mut machine.result else { continue };
            result["elapsedSeconds"] = json!(2.0 * result["elapsedSeconds"].as_f64().expect("seconds"));
        }
    }
    let found = of(&document);
    let said = "latency, each of 8 machines with the disk: the load was not carried: 200/s were asked for, 100/s done";
    assert_says(&found.headline[0], &[said]);
    assert_says(&found.headline[1], &["latency: with 8 machines RAM is faster at p99"]);
    let short = |arm: Arm| {
        let cells = found.workloads.iter().flat_map(|workload| &workload.cells);
        let lacking = cells.filter(|cell| cell.arm == arm && cell.shortfall.is_some());
        lacking.map(|cell| cell.agents).collect::<Vec<_>>()
    };
    assert_eq!((short(Arm::Ram), short(Arm::Disk)), (vec![], vec![4, 8]));
}

#[test]
fn a_disk_that_was_played_is_said_in_every_line() {
    let found = story(Story::SimulatedLimit);
    let said = found.simulated.as_deref().expect("a limit");
    assert_eq!(said, "SIMULATED: the disk was held to 500 operations and 50 MiB a second");
    assert!(found.headline.iter().all(|line| line.ends_with(said)), "{:?}", found.headline);
    let recommended: Vec<&String> = found.recommendations.iter().flat_map(|one| &one.sentences).collect();
    assert!(recommended.len() > 3 && recommended.iter().all(|line| line.ends_with(said)), "{recommended:?}");
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
          disk (4 were too many: the disk was the wall); 2 machines with the disk without flushes (4 were too many: the \
          disk was the wall); what lies between was not measured"
        ]
    );
    assert_says(
        &closed.sentences[1],
        &["throughput with RAM has no peak up to 8 machines, the most that was measured"],
    );
    assert_says(
        &closed.sentences[2],
        &[
            "the disk without flushes is highest with 3.4 machines",
            "with 4, as measured next to that, 32 operations are under way (N = X · R)",
        ],
    );
    let open_law = &found.workloads[0].scalability[0];
    assert_eq!(open_law.why_not.as_deref(), Some("an open loop does as many operations as it is asked for"));
}

#[test]
fn a_run_with_a_dead_machine_is_one_failure_and_it_is_said_how_many_would_show_a_difference() {
    let found = story(Story::RamHelps);
    let failures = &found.failures[0];
    assert_eq!(failures.comparison.baseline.counts.failures(), 1);
    assert_eq!(failures.comparison.baseline.counts.jobs(), 20, "machines of a run die together");
    assert_says(
        &failures.sentences[0],
        &["no difference in failures shown", "1 of 20 runs failed with the disk"],
    );
    assert_says(&failures.sentences[2], &["runs of each are needed", "with 80 % power"]);
    assert_says(&failures.sentences[3], &["0 of 75 machines with RAM, 1 of 75 machines with the disk"]);
    assert_says(found.headline.last().expect("lines"), &["1 of 20 runs failed with the disk"]);
    assert!(
        found.notes.iter().any(|note| note.contains("1 of 40 machines gave no result")),
        "{:?}",
        found.notes
    );
}

#[test]
fn another_image_another_way_and_a_disk_behind_the_page_cache_are_noted() {
    let mut document = example::contention(Story::RamHelps);
    document.design.agents = vec![1];
    document.runs.retain(|run| run.agents == 1);
    let clean = of(&document).notes;
    let noted = ["image", "entered", "page cache"];
    assert!(!clean.iter().any(|note| noted.iter().any(|word| note.contains(word))), "{clean:?}");
    document.runs[0].image = Some("another".to_owned());
    document.runs[0].via = Some(Way::Ssh);
    // One of before.
    document.runs[1].via = None;
    document.runs.iter_mut().filter(|run| run.arm == Arm::Disk).for_each(|run| run.direct = Some(false));
    let notes = of(&document).notes;
    let image =
        "machines stood on several versions of the image (another in 1 runs, sha256:example in 14 runs)";
    assert!(notes.iter().any(|note| note.starts_with(image)), "{notes:?}");
    let ways = "machines were entered by several ways (agent in 13 runs, ssh in 1 runs)";
    assert!(notes.iter().any(|note| note.starts_with(ways)), "{notes:?}");
    let cache = "in 5 of 10 runs on the disk machines went through the host's page cache";
    assert!(notes.iter().any(|note| note.starts_with(cache)), "{notes:?}");
}

#[test]
fn an_interrupted_experiment_says_what_it_still_shows() {
    let mut document = example::contention(Story::RamHelps);
    document.runs.truncate(24);
    let found = of(&document);
    assert_says(&found.headline[0], &["latency: nothing is shown with 8 machines"]);
    assert_says(&found.headline[0], &["too few runs (2, at least 5 are needed)"]);
    assert_eq!(found.notes[0], "24 of 60 planned runs were measured: it was interrupted");
    let said = &found.recommendations[0].sentences[0];
    assert_says(
        said,
        &["nothing is known of RAM: too few runs", "nothing is known of the disk: too few runs"],
    );

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
