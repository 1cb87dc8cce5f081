//! `winstead report`: every form of it, and what it refuses.

use serde_json::Value;
use winstead_measurement::example::{Story, document, probe_result};

use crate::sandbox::Sandbox;

/// A sandbox with a made-up experiment in `results/`.
fn measured(story: Story) -> Sandbox {
    let sandbox = Sandbox::new();
    fs_err::create_dir(sandbox.path("results")).expect("a folder in the sandbox");
    sandbox.write("results/contention.json", &document(story).to_string());
    sandbox
}

#[test]
fn a_folder_and_the_file_in_it_are_the_same_report() {
    let sandbox = measured(Story::CpuIsTheWall);
    let text = sandbox.ok(&["report", "results"]);
    assert_eq!(text, sandbox.ok(&["report", "results/contention.json"]));
    assert!(text.lines().next().unwrap().contains("RAM"), "{text}");
    assert!(!sandbox.home().exists(), "a report needs no home");
}

#[test]
fn a_goal_is_answered_and_the_seed_is_said() {
    let sandbox = measured(Story::RamHelps);
    let text = sandbox.ok(&["report", "results", "--goal", "p99=5ms", "--seed", "7"]);
    assert!(text.contains("for p99 within 5 ms"), "{text}");
    assert!(text.contains("seed 7"), "{text}");
}

#[test]
fn markdown_csv_and_json_go_to_standard_output() {
    let sandbox = measured(Story::SimulatedLimit);
    let markdown = sandbox.ok(&["report", "results", "--markdown"]);
    assert!(markdown.starts_with("## ") && markdown.contains("| ram | 8 |"), "{markdown}");
    let csv = sandbox.ok(&["report", "results", "--csv"]);
    assert_eq!(csv.lines().count(), 1 + 60 * 2);
    let json: Value = serde_json::from_str(&sandbox.ok(&["report", "results", "-o", "json"])).unwrap();
    assert_eq!((&json["kind"], &json["version"]), (&"Findings".into(), &1.into()));
    assert!(json["simulated"].is_string(), "{json}");
}

#[test]
fn a_page_is_written_and_its_path_is_the_last_line() {
    let sandbox = measured(Story::RamHelps);
    let ran = sandbox.run(&["report", "results", "--html", "report.html"]);
    assert_eq!((ran.code, ran.stdout.as_str(), ran.stderr.as_str()), (Some(0), "report.html\n", ""));
    let page = fs_err::read_to_string(sandbox.path("report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.contains("contention.json"));
}

#[test]
fn runs_of_one_disk_have_a_table_and_a_page_but_no_verdict() {
    let sandbox = Sandbox::new();
    let items: Vec<Value> = [900.0, 950.0, 920.0, 940.0, 910.0].map(probe_result).to_vec();
    let list = serde_json::json!({"kind": "ProbeResultList", "version": 1, "items": items});
    sandbox.write("disk.json", &list.to_string());
    let text = sandbox.ok(&["report", "disk.json"]);
    assert!(text.starts_with("latency: p99 of durable-write is 2."), "{text}");
    assert!(text.contains("nothing is compared here"), "{text}");
    assert!(sandbox.ok(&["report", "disk.json", "--markdown"]).contains("| all | "));
    assert_eq!(sandbox.ok(&["report", "disk.json", "--html", "disk.html"]), "disk.html\n");
    let json: Value = serde_json::from_str(&sandbox.ok(&["report", "disk.json", "-o", "json"])).unwrap();
    assert_eq!(
        (&json["kind"], &json["loads"][0]["runs"][4]["operations"]),
        (&"RunSummary".into(), &6000.into())
    );
    insta::assert_snapshot!(sandbox.run(&["report", "disk.json", "--csv"]).whole(), @r"
    exit code 2
    error: failed to report on disk.json with --csv or --goal: they are for experiments with many machines
    hint: `winstead bench contention` measures one
    ");
}

#[test]
fn what_is_no_experiment_ends_with_2_and_says_what_to_name() {
    let sandbox = measured(Story::RamHelps);
    sandbox.write("pool.json", r#"{"kind": "Pool"}"#);
    sandbox.write("half.json", r#"{"kind": "#);
    sandbox.write("newer.json", r#"{"kind": "Contention", "version": 99}"#);
    fs_err::create_dir(sandbox.path("empty")).unwrap();
    insta::assert_snapshot!(sandbox.run(&["report", "pool.json"]).whole(), @r#"
    exit code 2
    error: failed to read pool.json
      cause: it is a "Pool"; known are results of winstead-probe (ProbeResult, ProbeResultList), documents of `winstead bench contention`, fio's json+, DiskSpd's XML, and dumps of windows_exporter
    hint: name a file of measurements, or the folder that `winstead bench contention --out` wrote
    "#);
    insta::assert_snapshot!(sandbox.run(&["report", "half.json"]).whole(), @r"
    exit code 2
    error: failed to read half.json
      1: it is broken JSON
      2: EOF while parsing a value at line 1 column 9
    hint: name a file of measurements, or the folder that `winstead bench contention --out` wrote
    ");
    insta::assert_snapshot!(sandbox.run(&["report", "newer.json"]).whole(), @r"
    exit code 2
    error: failed to read newer.json
      cause: it is of version 99; this program reads versions up to 1
    hint: name a file of measurements, or the folder that `winstead bench contention --out` wrote
    ");
    insta::assert_snapshot!(sandbox.run(&["report", "empty"]).whole(), @r"
    exit code 2
    error: failed to read empty/contention.json
      cause: failed to open file `empty/contention.json`: No such file or directory (os error 2)
    hint: name a file of measurements, or the folder that `winstead bench contention --out` wrote
    ");
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_anything_is_computed() {
    let sandbox = measured(Story::RamHelps);
    insta::assert_snapshot!(sandbox.run(&["report", "results", "--html", "none/report.html"]).whole(), @r"
    exit code 2
    error: failed to write the page none/report.html: there is no folder none
    hint: make it first: mkdir -p none
    ");
    insta::assert_snapshot!(sandbox.run(&["report", "results", "--html", "results"]).whole(), @r"
    exit code 2
    error: failed to write the page results: it is a folder
    hint: name a file in it: --html results/report.html
    ");
    insta::assert_snapshot!(sandbox.run(&["report", "results", "--csv", "-o", "json"]).whole(), @r"
    exit code 2
    error: failed to write a report in two formats at once
    hint: leave out -o, or --html, --markdown and --csv
    ");
    insta::assert_snapshot!(sandbox.run(&["report", "results", "--goal", "p98=5ms"]).whole(), @r"
    exit code 2
    error: invalid value 'p98=5ms' for '--goal <PERCENTILE=TIME>': p98 is none of p50, p95, p99, p99.9

    For more information, try '--help'.
    ");
}
