//! Measurements compared and explained: answers, refusals, exit codes.

use winstead_measurement::example::{Story, document};

use crate::sandbox::Sandbox;

const FIO: &str = include_str!("../../../measurement/tests/fio-3.33-rand-write.json");
const RESULT: &str = include_str!("../../../measurement/tests/probe-result-v1.json");
const DUMP: &str = include_str!("../../../measurement/tests/windows_exporter-0.31-not-run.txt");
const LATER: &str = include_str!("../../../measurement/tests/windows_exporter-0.31-not-run-60s-later.txt");

/// Five runs that measured the same.
fn list(result: &str) -> String {
    let items = [result; 5].join(",");
    format!(r#"{{"kind": "ProbeResultList", "version": 1, "items": [{items}]}}"#)
}

fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("a.json", &list(RESULT));
    sandbox.write("b.json", &list(&RESULT.replace(r#""type": "ext4""#, r#""type": "xfs""#)));
    sandbox.write("larger.json", &list(&RESULT.replace(r#""blockBytes": 4096"#, r#""blockBytes": 8192"#)));
    sandbox
}

#[test]
fn two_sets_of_runs_are_compared_and_the_verdict_comes_first() {
    let text = sandbox().ok(&["bench", "compare", "a.json", "b.json", "--names", "disk,RAM"]);
    insta::assert_snapshot!(text, @r"
    no difference shown in operations a second: 17396 against 17396 (medians of 5 and 5 runs; Mann-Whitney: p = 1.000)
    write: no difference shown at p99 (1.000-1.000)

    OPERATION   PERCENTILE   DISK                        RAM
    write       p50          46.37 µs (46.37-46.37)      46.37 µs (46.37-46.37)
    write       p95          53.63 µs (53.63-53.63)      53.63 µs (53.63-53.63)
    write       p99          72.96 µs (72.96-72.96)      72.96 µs (72.96-72.96)
    write       p99.9        139.01 µs (139.01-139.01)   139.01 µs (139.01-139.01)
    write       max          2.11 ms                     2.11 ms

    write: no difference shown at p50 (1.000-1.000); secondary, p99 decides
    write: no difference shown at p95 (1.000-1.000); secondary, p99 decides
    write: no difference shown at p99.9 (1.000-1.000); secondary, p99 decides
    place fileSystem.type: ext4 in disk, xfs in RAM
    -o wide shows also: flush
    note: disk: making random data took over a tenth of the time: latencies are right, rates are too low
    note: disk: the disk has a cache of its own, and a write has ended when it is there: --flush each waits longer
    note: RAM: making random data took over a tenth of the time: latencies are right, rates are too low
    note: RAM: the disk has a cache of its own, and a write has ended when it is there: --flush each waits longer
    ");
}

#[test]
fn scripts_get_the_whole_comparison() {
    let sandbox = sandbox();
    let answer = sandbox.ok(&["bench", "compare", "a.json#rand-write", "b.json", "-o", "json"]);
    let answer: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["kind"], "RunComparison");
    assert_eq!(answer["operations"][0]["comparison"]["primary"]["verdict"], "no-difference-shown");
    assert_eq!(answer["places"][0]["b"][0], "xfs");
}

#[test]
fn a_folder_is_all_its_results() {
    let sandbox = sandbox();
    fs_err::create_dir(sandbox.path("runs")).unwrap();
    (1..=5).for_each(|number| sandbox.write(&format!("runs/{number}.json"), RESULT));
    sandbox.write("runs/README.md", "no result");
    let text = sandbox.ok(&["bench", "compare", "runs", "a.json"]);
    assert!(text.contains("\nwrite: no difference shown at p99"), "{text}");
}

#[test]
fn runs_that_are_not_alike_and_files_that_are_no_measurements_are_refused() {
    let sandbox = sandbox();
    insta::assert_snapshot!(sandbox.run(&["bench", "compare", "a.json", "larger.json"]).whole(), @r"
    exit code 2
    error: failed to compare B with A: not the same was asked for in all runs
      blockBytes: 4096 in A, 8192 in B
    hint: if that is what you compare: --ignore blockBytes
    ");
    sandbox.ok(&["bench", "compare", "a.json", "larger.json", "--ignore", "blockBytes"]);
    sandbox.write("pool.yaml", "kind: Pool\n");
    insta::assert_snapshot!(sandbox.run(&["bench", "compare", "a.json", "pool.yaml"]).whole(), @r#"
    exit code 2
    error: failed to read pool.yaml
      cause: it is text that begins with "kind: Pool"; known are results of winstead-probe (ProbeResult, ProbeResultList), documents of `winstead bench contention`, fio's json+, DiskSpd's XML, and dumps of windows_exporter
    hint: `winstead bench compare --help` says which files and folders are read
    "#);
    insta::assert_snapshot!(sandbox.run(&["bench", "compare", "a.json#latency", "b.json"]).whole(), @r#"
    exit code 2
    error: failed to choose runs of a.json: no run is called "latency"; there are rand-write
    hint: write it behind the file: a.json#NAME
    "#);
    insta::assert_snapshot!(sandbox.run(&["bench", "compare", "a.json", "none.json"]).whole(), @r"
    exit code 2
    error: failed to read none.json
      cause: failed to open file `none.json`: No such file or directory (os error 2)
    hint: `winstead bench compare --help` says which files and folders are read
    ");
}

#[test]
fn counters_of_windows_are_explained() {
    let sandbox = Sandbox::new();
    sandbox.write("before.txt", DUMP);
    sandbox.write("after.txt", LATER);
    let text = sandbox.ok(&["bench", "explain", "before.txt", "after.txt"]);
    assert!(
        text.starts_with(
            "volume C: had 20.0 operations under way on average, which dashboards show as 2000 %"
        )
    );
    insta::assert_snapshot!(sandbox.run(&["bench", "explain", "after.txt", "before.txt"]).whole(), @r"
    exit code 2
    error: failed to explain the dumps: the second dump is not later than the first
    hint: name the earlier dump first
    ");
    insta::assert_snapshot!(sandbox.run(&["bench", "compare", "after.txt", "before.txt"]).whole(), @r"
    exit code 2
    error: failed to choose runs of after.txt: it holds counters of Windows, which are no runs
    hint: `winstead bench explain after.txt`
    ");
}

#[test]
fn five_results_of_fio_are_compared_with_five_others_as_the_help_says() {
    let sandbox = Sandbox::new();
    for folder in ["fio-before", "fio-after"] {
        fs_err::create_dir(sandbox.path(folder)).unwrap();
        (1..=5).for_each(|number| sandbox.write(&format!("{folder}/{number}.json"), FIO));
    }
    let text = sandbox.ok(&["bench", "compare", "fio-before/", "fio-after/", "--percentile", "p95"]);
    assert!(text.contains("\nwrite: no difference shown at p95 ("), "{text}");
}

#[test]
fn an_arms_played_disk_and_its_walls_are_said_with_the_verdict() {
    let sandbox = Sandbox::new();
    sandbox.write("found.json", &document(Story::SimulatedLimit).to_string());
    let refused =
        sandbox.run(&["bench", "compare", "found.json#disk/latency", "found.json#ram/latency"]).whole();
    let hint = "hint: if that is what you compare: --ignore diskLimit.bytesPerSecond --ignore diskLimit.iops";
    assert!(refused.contains(hint), "{refused}");
    let text = sandbox.ok(&[
        "bench",
        "compare",
        "found.json#disk/latency",
        "found.json#ram/latency",
        "--ignore",
        "diskLimit.bytesPerSecond",
        "--ignore",
        "diskLimit.iops",
    ]);
    let mark = "A: SIMULATED: the disk was held to 500 operations and 50 MiB a second";
    let verdict = text.lines().find(|line| line.starts_with("durable-write: B is faster at p99")).unwrap();
    assert!(verdict.ends_with(mark), "{text}");
    assert!(text.contains(&format!("note: {mark}")), "{text}");
    assert!(text.contains("note: A: the limit was the wall in 5 of 5 runs (492 of the 500"), "{text}");

    sandbox.write("crowded.json", &document(Story::CpuIsTheWall).to_string());
    let text = sandbox.ok(&["bench", "compare", "crowded.json#disk/latency", "crowded.json#ram/latency"]);
    let caution = "the CPU was the wall in 5 of 5 runs (1.98 of 2 cores were busy): a difference says little";
    assert!(text.contains(&format!("note: B: {caution}")), "{text}");
}

#[test]
fn words_of_a_file_steer_no_terminal_and_are_quoted_where_they_are_pasted() {
    let sandbox = sandbox();
    let hostile = "a\\u001b[2J\\nhint: b\\u202e; rm -rf ~";
    let note = format!(r#""notes": ["{hostile}", "#);
    let noted = RESULT.replacen(r#""notes": ["#, &note, 1).replacen(
        r#""write": {"#,
        &format!(r#""{hostile}": {{"#),
        1,
    );
    sandbox.write("hostile.json", &list(&noted));
    let text = sandbox.ok(&["bench", "compare", "hostile.json", "hostile.json"]);
    assert!(
        !text.contains(|letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}'),
        "{text:?}"
    );
    assert!(text.contains("rm -rf ~") && text.lines().all(|line| !line.starts_with("hint: b")), "{text}");

    let keyed = RESULT.replacen(r#""blockBytes": 4096"#, r#""blockBytes": 4096, "x; rm -rf ~\n": 1"#, 1);
    sandbox.write("keyed.json", &list(&keyed));
    let refused = sandbox.run(&["bench", "compare", "a.json", "keyed.json"]).whole();
    assert!(refused.ends_with("hint: if that is what you compare: --ignore 'x; rm -rf ~ '\n"), "{refused}");
}
