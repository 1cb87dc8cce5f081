//! The Windows program under Wine: every workload, its documents, what it refuses, and that nothing is left.
//!
//! Wine answers from Linux's page cache whatever it is asked for, so its numbers mean nothing, and none is looked
//! at. It has no Ctrl-C for a program without a console either.

#![cfg(target_os = "linux")]

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Output, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

/// A Wine and the program.
struct Wine {
    wine: winstead_testing::Wine,
    program: PathBuf,
}

impl Wine {
    fn or_skip() -> Option<Self> {
        let wine = winstead_testing::Wine::or_skip(env!("CARGO_TARGET_TMPDIR"))?;
        let built = wine.build(&["build"], &["--package", env!("CARGO_PKG_NAME")]);
        let program = built.into_iter().next().expect("a program").path;
        Some(Self { wine, program })
    }

    /// Runs the program in `folder` and writes `input` to it.
    fn run(&self, folder: &Path, arguments: &str, input: &str) -> Output {
        let mut command = self.wine.command();
        command.current_dir(folder).arg(&self.program).args(arguments.split(' '));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("coreutils");
        child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        child.wait_with_output().expect("it ends")
    }

    /// The document of a run that must succeed and leave nothing.
    fn measure(&self, arguments: &str) -> Value {
        let folder = folder();
        let output = self.run(folder.path(), &format!("{arguments} -o json"), "");
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", stderr(&output));
        assert_eq!(entries(folder.path()), 0, "left behind: {arguments}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

fn entries(folder: &Path) -> usize {
    fs_err::read_dir(folder).expect("a folder").count()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).replace('\r', "")
}

const SHORT: &str = "--working-set 2MiB --duration 100ms --warmup 0s";

/// One test: its Windows takes ten seconds and 700 MB to make.
#[test]
fn the_windows_program_does_what_the_linux_one_does() {
    let Some(wine) = Wine::or_skip() else { return };
    each_workload_on_blocks_has_its_operations_with_both_engines(&wine);
    an_open_loop_has_as_many_operations_as_were_due(&wine);
    a_first_touch_writes_each_block_once(&wine);
    small_files_and_the_four_numbers_have_their_operations(&wine);
    a_goal_ends_in_a_rate(&wine);
    a_line_opens_the_barrier_and_an_end_of_input_does_not(&wine);
    what_cannot_be_measured_is_refused_and_nothing_is_written(&wine);
    a_document_says_what_computer_it_comes_from(&wine);
}

fn names(result: &Value) -> Vec<&str> {
    let mut names: Vec<&str> =
        result["operations"].as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

fn each_workload_on_blocks_has_its_operations_with_both_engines(wine: &Wine) {
    for (workload, expected) in [
        ("seq-read --queue-depth 3", vec!["read"]),
        ("rand-read --queue-depth 3 --threads 2", vec!["read"]),
        ("seq-write --queue-depth 3", vec!["flush", "write"]),
        ("rand-write --queue-depth 3 --flush never --cache cached", vec!["write"]),
        ("rand-write --flush each", vec!["durable-write"]),
        ("latency --operation write --rate 500", vec!["write"]),
    ] {
        for engine in ["overlapped", "threads"] {
            let result = wine.measure(&format!("{workload} --engine {engine} {SHORT}"));
            assert_eq!(names(&result), expected, "{workload} {engine}");
            assert_eq!(result["engine"]["name"], engine);
            assert_eq!((&result["errors"], &result["ended"]), (&serde_json::json!({}), &"complete".into()));
            let bytes = result["operations"][expected[expected.len() - 1]]["bytes"].as_u64();
            assert!(bytes > Some(0), "{workload} {engine}: nothing moved");
        }
    }
}

fn an_open_loop_has_as_many_operations_as_were_due(wine: &Wine) {
    let result = wine.measure(&format!("latency --engine overlapped --arrivals fixed --rate 500 {SHORT}"));
    assert_eq!(result["operations"]["read"]["count"], 50);
    assert_eq!(result["timeline"]["steps"][0]["operations"], 50);
}

fn a_first_touch_writes_each_block_once(wine: &Wine) {
    let touch =
        "rand-write --engine overlapped --first-touch --block 64KiB --queue-depth 3 --working-set 2MiB";
    assert_eq!(wine.measure(touch)["operations"]["write"]["count"], 32);
}

fn small_files_and_the_four_numbers_have_their_operations(wine: &Wine) {
    let files = wine.measure("files --files 30 --per-folder 10 --passes 1 --fsync");
    let count = |name: &str| files["operations"][name]["count"].as_u64();
    assert_eq!(["write-file", "rename", "unpack-file", "tree"].map(count), [30, 30, 30, 1].map(Some));
    let seed = wine.measure("seed --working-set 2MiB --files 10 --reads 10 --runs 2");
    assert_eq!(seed["comparison"]["measurements"].as_array().map(Vec::len), Some(4));
    assert_eq!(names(&seed), ["flush", "random-read", "read", "write", "write-file"]);
}

fn a_goal_ends_in_a_rate(wine: &Wine) {
    let result = wine.measure(&format!("latency --engine overlapped --goal p50=1s --rate 400000 {SHORT}"));
    assert!(!result["goal"]["steps"].as_array().expect("steps").is_empty());
}

fn a_line_opens_the_barrier_and_an_end_of_input_does_not(wine: &Wine) {
    let folder = folder();
    for (input, code) in [("go\n", 0), ("", 1)] {
        let output = wine.run(folder.path(), &format!("rand-read --barrier {SHORT}"), input);
        assert!(stderr(&output).contains("winstead-probe: ready\n"), "{}", stderr(&output));
        assert_eq!((output.status.code(), entries(folder.path())), (Some(code), 0), "{}", stderr(&output));
    }
}

fn what_cannot_be_measured_is_refused_and_nothing_is_written(wine: &Wine) {
    for (arguments, said) in [
        ("rand-read --engine io-uring", "--engine io-uring cannot be used here: only Linux has it"),
        ("rand-write --engine overlapped --flush each --queue-depth 2", "--queue-depth 2: flushing blocks"),
        ("rand-read --block 1000B --working-set 2MiB", "--block 1000 B: direct I/O takes multiples of 4 KiB"),
        ("rand-read --working-set 4000TiB", "hint: a smaller --working-set"),
        ("files missing", "name a folder that exists"),
    ] {
        let folder = folder();
        let output = wine.run(folder.path(), arguments, "");
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments}");
        assert!(stderr(&output).contains(said), "{arguments}: {}", stderr(&output));
        assert_eq!(entries(folder.path()), 0, "{arguments}");
    }
}

fn a_document_says_what_computer_it_comes_from(wine: &Wine) {
    let computer = &wine.measure(&format!("rand-read {SHORT}"))["computer"];
    assert_eq!(computer["system"], "Windows");
    assert!(
        computer["kernel"].as_str().is_some_and(|version| version.split('.').count() == 3),
        "{computer:#}"
    );
    assert!(computer["memoryBytes"].as_u64() >= computer["memoryAvailableBytes"].as_u64(), "{computer:#}");
    let file_system = &computer["fileSystem"];
    assert!(file_system["type"].is_string() && file_system["source"].is_string(), "{computer:#}");
    assert!(file_system["queue"]["logical_block_size"].is_string(), "{computer:#}");
}
