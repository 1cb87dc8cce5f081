//! Measurements compared and explained: answers, refusals, exit codes.

use crate::sandbox::Sandbox;

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
    write: no difference shown at p99 (1.000-1.000)
    no difference shown in operations a second: 17396 against 17396 (medians of 5 and 5 runs; Mann-Whitney: p = 1.000)

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
    assert!(text.starts_with("write: no difference shown at p99"), "{text}");
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
