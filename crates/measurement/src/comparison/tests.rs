//! Runs that are alike are compared, others refused.

use serde_json::json;

use super::*;
use crate::{example, probe, run::Operation};

/// Five runs whose operations take `micros` on average, some percent more or less.
fn runs(micros: f64) -> Vec<Run> {
    let levels = [1.0, 0.97, 1.04, 0.99, 1.02];
    levels.iter().map(|level| probe::read(&example::probe_result(micros * level)).expect("a run")).collect()
}

fn options(ignore: &[&str]) -> Options {
    let ignore = ignore.iter().map(ToString::to_string).collect();
    Options { ignore, primary: Percentile::P99, seed: Seed(1) }
}

fn compared(a: &[Run], b: &[Run], ignore: &[&str]) -> Result<RunComparison, CompareError> {
    compare(Set { name: "A", runs: a }, Set { name: "B", runs: b }, &options(ignore))
}

#[test]
fn runs_that_are_alike_are_compared_at_p99() {
    let found = compared(&runs(100.0), &runs(200.0), &[]).expect("alike");
    assert_eq!(found.sentences, ["durable-write: B is slower at p99 by 2.0× (1.9-2.1)"]);
    let operation = &found.operations[0];
    assert_eq!(operation.comparison.secondary.len(), 3);
    assert_eq!(operation.a.percentiles.len(), 5);
    assert_eq!(operation.throughput, None, "an open loop does what it is asked for");
    assert_eq!((found.places.len(), found.elapsed.is_none()), (0, true));
}

#[test]
fn runs_of_which_different_things_were_asked_are_refused_with_all_differences() {
    let mut other = runs(100.0);
    other.iter_mut().for_each(|run| {
        run.settings.insert("blockBytes".to_owned(), json!(8192));
        run.source.name = "fio".to_owned();
    });
    let Err(CompareError::Unlike { differences }) = compared(&runs(100.0), &other, &[]) else {
        panic!("alike")
    };
    assert_eq!(
        serde_json::to_value(differences).expect("JSON"),
        json!([
            {"key": "blockBytes", "a": [4096], "b": [8192]},
            {"key": "program", "a": ["winstead-probe"], "b": ["fio"]},
        ])
    );
    let found = compared(&runs(100.0), &other, &["blockBytes", "program"]).expect("allowed");
    assert_eq!(found.compared_settings.len(), 2);
    let Err(CompareError::UnknownSetting { key, .. }) = compared(&other, &other, &["blockSize"]) else {
        panic!()
    };
    assert_eq!(key, "blockSize");
}

#[test]
fn a_set_that_is_not_alike_in_itself_is_refused() {
    let mut mixed = runs(100.0);
    mixed[3].settings.remove("cache");
    let Err(CompareError::Unlike { differences }) = compared(&mixed, &mixed, &[]) else { panic!("alike") };
    assert_eq!(differences[0].key, "cache");
    assert_eq!(differences[0].a, [json!("direct"), serde_json::Value::Null]);
}

#[test]
fn another_place_is_listed_and_compared_all_the_same() {
    let mut other = runs(100.0);
    other.iter_mut().for_each(|run| {
        run.place.insert("fileSystem.type".to_owned(), json!("tmpfs"));
        run.place.insert("fileSystem.freeBytes".to_owned(), json!(17));
    });
    let found = compared(&runs(100.0), &other, &[]).expect("alike");
    assert_eq!(found.sentences, ["durable-write: no difference shown at p99 (0.96-1.05)"]);
    let keys: Vec<&str> = found.places.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(keys, ["fileSystem.type"]);
}

#[test]
fn a_rate_that_was_not_reached_is_said_before_the_verdict() {
    let mut slow = runs(200.0);
    slow.iter_mut().for_each(|run| run.elapsed = run.elapsed.mul_f64(2.0));
    let found = compared(&runs(100.0), &slow, &[]).expect("alike");
    let [first, second] = &found.sentences[..] else { panic!("{:?}", found.sentences) };
    assert!(first.starts_with("B: the load was not carried: 200/s were asked for, 100/s done;"), "{first}");
    assert!(second.starts_with("durable-write: B is slower at p99"), "{second}");
}

#[test]
fn what_failed_is_said_first() {
    let mut failing = runs(100.0);
    failing[0].ended = Ended::Lost;
    let failed = &mut failing[1].operations.get_mut("durable-write").expect("done").latencies;
    (0..3).for_each(|_| failed.record_failure(std::time::Duration::from_secs(30)));
    let found = compared(&runs(100.0), &failing, &[]).expect("alike");
    assert!(found.sentences[0].starts_with("no difference in failures shown: 1 of 5 runs failed with B"));
    let operations = "durable-write: 3 of 30003 failed with B (0.01 %), 0 of 30000 failed with A (0.00 %)";
    let at = found.sentences.iter().position(|sentence| sentence == operations).expect("said");
    assert!(found.sentences[at + 1].starts_with("durable-write: no difference shown at p99"), "{found:?}");
    assert_eq!((found.a.lost_runs, found.b.lost_runs), (0, 1));
}

#[test]
fn the_same_work_is_compared_by_its_time_and_a_given_time_by_what_was_done() {
    let closed = |micros: f64, duration: serde_json::Value| {
        let mut runs = runs(micros);
        for (index, run) in runs.iter_mut().enumerate() {
            run.settings.remove("arrivals.perSecond");
            run.settings.insert("durationSeconds".to_owned(), duration.clone());
            run.elapsed = run.elapsed.mul_f64(micros * (1.0 + 0.01 * index as f64));
        }
        runs
    };
    let work = compared(&closed(100.0, json!(null)), &closed(200.0, json!(null)), &[]).expect("alike");
    assert!(work.sentences[0].starts_with("B does worse, with more seconds: "), "{:?}", work.sentences);
    let time = compared(&closed(100.0, json!(30)), &closed(200.0, json!(30)), &[]).expect("alike");
    assert!(
        time.sentences[0].starts_with("B does worse, with fewer operations a second: "),
        "{:?}",
        time.sentences
    );
    assert!(time.elapsed.is_none() && work.elapsed.is_some());

    let mut unfinished = closed(200.0, json!(null));
    unfinished[0].ended = Ended::Interrupted;
    let unfinished = compared(&closed(100.0, json!(null)), &unfinished, &[]).expect("alike");
    assert_eq!(unfinished.elapsed, None, "its time is not that of all the work");
    assert_eq!(unfinished.notes, ["B: 1 of 5 runs were interrupted"]);
}

#[test]
fn runs_that_looked_for_a_rate_are_compared_by_it() {
    let searched = |rate: f64| {
        let mut runs = runs(100.0);
        for (index, run) in runs.iter_mut().enumerate() {
            run.settings.insert("goal.nanos".to_owned(), json!(5_000_000));
            run.elapsed = run.elapsed.div_f64(rate * (1.0 + 0.01 * index as f64));
        }
        runs
    };
    let found = compared(&searched(1.0), &searched(3.0), &[]).expect("alike");
    assert!(
        found.sentences[0].starts_with("B does better, with more operations a second: "),
        "{:?}",
        found.sentences
    );
    assert!(found.notes[0].starts_with("each run looked for its highest rate"), "{:?}", found.notes);
}

#[test]
fn nothing_and_nothing_in_common_are_refused() {
    assert_eq!(compared(&[], &runs(100.0), &[]), Err(CompareError::Empty { name: "A".to_owned() }));
    let mut other = runs(100.0);
    other.iter_mut().for_each(|run| run.operations = [("read".to_owned(), Operation::default())].into());
    let refused = compared(&runs(100.0), &other, &[]).expect_err("nothing in common").to_string();
    assert_eq!(refused, "no kind of operation was done in both: durable-write in the one, read in the other");
}

#[test]
fn a_disk_that_was_played_is_named_in_each_sentence() {
    let limited = |iops: u64| {
        let mut runs = runs(100.0);
        runs.iter_mut().for_each(|run| drop(run.settings.insert("diskLimit.iops".to_owned(), json!(iops))));
        runs
    };
    let mark = "; SIMULATED: the disk was held to 500 operations a second";
    let found = compared(&limited(500), &limited(500), &[]).expect("alike");
    assert!(found.sentences.iter().all(|sentence| sentence.ends_with(mark)), "{:?}", found.sentences);
    let Err(CompareError::Unlike { differences }) = compared(&limited(500), &runs(100.0), &[]) else {
        panic!("a played disk is like one that was not")
    };
    assert_eq!(differences[0].key, "diskLimit.iops");
    let found = compared(&runs(100.0), &limited(500), &["diskLimit.iops"]).expect("allowed");
    assert!(found.sentences[0].ends_with("; B: SIMULATED: the disk was held to 500 operations a second"));
}

#[test]
fn a_run_of_which_nothing_is_left_is_lost_and_the_others_are_compared() {
    let with_a_lost_one = || {
        let mut six = [runs(100.0), runs(100.0)].concat();
        six.truncate(6);
        (six[0].ended, six[0].operations) = (Ended::Lost, Default::default());
        six
    };
    let found = compared(&runs(100.0), &with_a_lost_one(), &[]).expect("alike");
    assert!(found.sentences[0].contains("1 of 6 runs failed with B"), "{:?}", found.sentences);
    assert!(found.sentences.iter().any(|said| said.starts_with("durable-write: no difference shown at p99")));
}

#[test]
fn numbers_are_the_same_however_they_are_written() {
    let mut other = runs(100.0);
    other.iter_mut().for_each(|run| drop(run.settings.insert("queueDepth".to_owned(), json!(8.0))));
    assert!(compared(&runs(100.0), &other, &[]).expect("alike").compared_settings.is_empty());
}

#[test]
fn errors_that_are_in_no_percentile_are_said() {
    let mut other = runs(100.0);
    other[0].errors.insert("error 28".to_owned(), 3);
    let found = compared(&runs(100.0), &other, &[]).expect("alike");
    assert_eq!(found.sentences[0], "3 operations failed with B, 0 with A, which are in no percentile");
}
