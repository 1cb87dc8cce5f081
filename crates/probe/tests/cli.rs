//! The program as people and scripts meet it. Small files in the build's temporary folder; nothing depends on
//! how fast this computer is.

#![cfg(unix)]

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStderr, ChildStdin, Output, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use winstead_testing::skip;

/// A folder on the disk that the build is on.
fn folder() -> TempDir {
    TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

#[expect(clippy::disallowed_methods, reason = "the test is the user's shell: it also sends signals")]
fn start(folder: &Path, arguments: &str) -> Child {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_winstead-probe"));
    command.env_clear().current_dir(folder).args(arguments.split(' '));
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start winstead-probe")
}

const READY: &str = "winstead-probe: ready";

/// A program that waits at the barrier, and where to write what it waits for.
struct Waiting {
    probe: Child,
    /// Nothing when it was closed.
    input: Option<ChildStdin>,
    said: BufReader<ChildStderr>,
}

fn wait_at_barrier(folder: &Path, arguments: &str) -> Waiting {
    let mut probe = start(folder, &format!("--barrier {arguments}"));
    let input = probe.stdin.take();
    let mut said = BufReader::new(probe.stderr.take().expect("piped"));
    // A file system without direct I/O is said before.
    let before: Vec<String> =
        (&mut said).lines().map_while(Result::ok).take_while(|line| line != READY).collect();
    assert!(before.iter().all(|line| line.starts_with("note: ")), "{arguments}: {before:?}");
    assert_eq!(entries(folder).len(), 1, "nothing was prepared: {arguments}");
    Waiting { probe, input, said }
}

impl Waiting {
    fn write(&mut self, text: &[u8]) {
        self.input.as_mut().expect("open").write_all(text).expect("it reads");
    }

    /// What it writes to standard error until it ends, and how it ends.
    fn end(mut self) -> (String, Output) {
        let mut text = String::new();
        self.said.read_to_string(&mut text).expect("text");
        (text, self.probe.wait_with_output().expect("it ends"))
    }
}

fn run(folder: &Path, arguments: &str) -> Output {
    start(folder, arguments).wait_with_output().expect("it ends")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The result of a run that must succeed; whatever happened, nothing may be left.
fn measure(arguments: &str) -> Value {
    let folder = folder();
    let output = run(folder.path(), arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_empty(folder.path());
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn assert_empty(folder: &Path) {
    let left: Vec<_> = entries(folder);
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn entries(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs_err::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// Waits until the program has made the folder that it works in.
fn scratch_of(folder: &Path) -> std::path::PathBuf {
    let begun = Instant::now();
    loop {
        if let Some(path) = entries(folder).pop() {
            return path;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "no folder appears");
        std::thread::yield_now();
    }
}

const SHORT: &str = "--working-set 2MiB --duration 100ms --warmup 0s -o json";

fn operations(result: &Value) -> Vec<&str> {
    result["operations"].as_object().expect("an object").keys().map(String::as_str).collect()
}

/// All keys of a document, as paths. What stands below `queue` and `errors` is not ours.
fn keys(value: &Value, path: &str, into: &mut BTreeSet<String>) {
    let Some(object) = value.as_object().filter(|_| !path.ends_with("queue")) else { return };
    for (key, value) in object {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        keys(value, &path, into);
        into.insert(path);
    }
}

#[test]
fn a_result_document_has_these_keys() {
    let result = measure(&format!("latency --rate 200 {SHORT}"));
    assert_eq!((result["kind"].as_str(), result["version"].as_u64()), (Some("ProbeResult"), Some(1)));
    let mut found = BTreeSet::new();
    keys(&result, "", &mut found);
    // A clock that never was late is not told from one that was: there may be no sample of it.
    found.retain(|key| !key.starts_with("lateness.percentileNanos."));
    insta::assert_snapshot!(found.into_iter().collect::<Vec<_>>().join("\n"));
}

#[test]
fn parameters_are_in_the_result_as_they_were_used() {
    let result = measure(&format!("rand-write --flush each --threads 2 --block 8KiB --seed 5 {SHORT}"));
    insta::assert_json_snapshot!(result["parameters"], @r#"
    {
      "workload": "rand-write",
      "operation": "durable-write",
      "access": "random",
      "blockBytes": 8192,
      "queueDepth": 1,
      "threads": 2,
      "fileBytes": 1048576,
      "cache": "direct",
      "engine": "threads",
      "flush": "each",
      "firstTouch": false,
      "arrivals": null,
      "goal": null,
      "durationSeconds": 0.1,
      "warmupSeconds": 0.0,
      "timeoutSeconds": 30.0,
      "seed": 5
    }
    "#);
}

/// The engines of this computer, and how many threads a queue of two is with each.
fn engines() -> Vec<(&'static str, u32)> {
    let folder = folder();
    let ring = run(folder.path(), &format!("rand-read --engine io-uring {SHORT}"));
    if ring.status.success() {
        return vec![("threads", 2), ("io-uring", 1)];
    }
    let said = stderr(&ring);
    assert_eq!(ring.status.code(), Some(2), "{said}");
    assert!(said.contains("hint: --engine threads"), "{said}");
    skip(said.lines().nth(1).unwrap_or_default().trim());
    vec![("threads", 2)]
}

#[test]
fn each_workload_records_its_operations() {
    let expected = [
        ("seq-read", vec!["read"]),
        ("rand-read", vec!["read"]),
        ("seq-write", vec!["flush", "write"]),
        ("rand-write --flush never", vec!["write"]),
        ("seq-write --first-touch --block 4KiB", vec!["flush", "write"]),
        ("rand-write --flush each", vec!["durable-write"]),
        ("latency --operation write --flush each --arrivals fixed --rate 500", vec!["durable-write"]),
    ];
    for (arguments, mut names) in expected {
        names.sort_unstable();
        for (engine, threads) in engines() {
            let result =
                measure(&format!("{arguments} --engine {engine} --cache cached --queue-depth 2 {SHORT}"));
            let mut found = operations(&result);
            found.sort_unstable();
            assert_eq!(found, names, "{arguments}");
            assert_eq!(result["engine"]["threads"], threads, "{arguments} {engine}");
            assert_eq!(result["engine"]["name"], engine);
            assert_eq!(result["errors"], serde_json::json!({}));
        }
    }
}

#[test]
fn an_open_loop_has_as_many_operations_as_were_due() {
    for (engine, _) in engines() {
        let result = measure(&format!("latency --engine {engine} --arrivals fixed --rate 500 {SHORT}"));
        assert_eq!(result["operations"]["read"]["count"], 50, "{engine}");
        let steps = result["timeline"]["steps"].as_array().expect("steps");
        assert_eq!((steps.len(), &steps[0]["operations"]), (1, &Value::from(50)), "{engine}");
    }
}

#[test]
fn a_goal_finds_a_rate_that_meets_it_and_one_that_does_not() {
    let search = "latency --goal p50=20ms --rate 250000 --queue-depth 2 --cache cached --seed 3";
    let result = measure(&format!("{search} {SHORT}"));
    let goal = &result["goal"];
    let rate = |name: &str| goal[name].as_f64();
    let (met, failed) = (rate("highestMetPerSecond"), rate("lowestFailedPerSecond"));
    // A computer that serves a million a second fails none; one that is busy may meet none.
    let within_a_tenth = met.zip(failed).is_none_or(|(met, failed)| met < failed && failed <= 1.1 * met);
    assert!(within_a_tenth, "{goal:#}");
    assert_eq!((&goal["percentile"], &goal["nanos"]), (&"p50".into(), &20_000_000.into()));
    let steps = goal["steps"].as_array().expect("steps");
    assert!(steps.iter().all(|step| step["met"] == step["why"].is_null()), "{goal:#}");
    let shown = steps.iter().find(|step| step["perSecond"].as_f64() == met.or(failed)).expect("a step");
    assert_eq!(shown["percentileNanos"], result["operations"]["read"]["percentileNanos"]["p50"]);
    assert_eq!(result["parameters"]["durationSeconds"], 0.1);
}

#[test]
fn a_first_touch_writes_each_block_once_and_ends() {
    let workloads =
        ["seq-write", "rand-write"].map(|name| engines().into_iter().map(move |engine| (name, engine.0)));
    for (workload, engine) in workloads.into_iter().flatten() {
        let result = measure(&format!(
            "{workload} --engine {engine} --first-touch --block 64KiB --threads 2 --queue-depth 3 --working-set 2MiB --duration 10m \
             --flush end -o json"
        ));
        assert_eq!(result["operations"]["write"]["count"], 32, "{workload}");
        assert_eq!(result["parameters"]["warmupSeconds"], 0.0);
    }
}

#[test]
fn a_tree_of_small_files_has_all_its_operations() {
    let result = measure("files --files 30 --per-folder 10 --passes 2 --threads 2 --fsync -o json");
    let count = |name: &str| result["operations"][name]["count"].as_u64();
    let once = ["create-file", "write-file", "stat", "read-file", "rename", "unpack-file"];
    assert_eq!(once.map(count), [Some(120); 6]);
    // The tree's own and those that were unpacked.
    assert_eq!(["flush-file", "delete-file"].map(count), [Some(240); 2]);
    assert_eq!(["make-folder", "delete-folder"].map(count), [Some(24); 2]);
    assert_eq!(["tree", "unpack"].map(count), [Some(4); 2]);
    let bytes = |name: &str| result["operations"][name]["bytes"].as_u64();
    assert_eq!(bytes("write-file"), bytes("read-file"));
    assert!(bytes("write-file") > Some(120 * 256) && bytes("unpack-file") > Some(120 * 256));
}

#[test]
fn the_old_numbers_stand_beside_honest_ones() {
    let result = measure("seed --working-set 4MiB --files 20 --reads 30 --runs 3 -o json");
    let rows = result["comparison"]["measurements"].as_array().expect("rows");
    let names: Vec<&str> = rows.iter().filter_map(|row| row["measurement"].as_str()).collect();
    assert_eq!(names, ["sequential-write", "sequential-read", "small-files", "random-read"]);
    for (row, amount) in rows.iter().zip([4_194_304.0, 4_194_304.0, 20.0, 30.0]) {
        let number = |value: &Value| value.as_f64().expect("a number");
        let runs = row["honest"]["runs"].as_array().expect("runs");
        assert_eq!(runs.len(), 3);
        for timed in runs.iter().chain([&row["asTheOldScript"], &row["honest"]["median"]]) {
            let done = number(&timed["perSecond"]) * number(&timed["timedSeconds"]);
            assert!((done / amount - 1.0).abs() < 1e-6, "{row:#}");
        }
    }
    // The histograms are those of the honest runs only.
    let count = |name: &str| result["operations"][name]["count"].as_u64();
    let counts = ["write", "flush", "read", "write-file", "random-read"].map(count);
    assert_eq!(counts, [12, 3, 12, 60, 90].map(Some));
    assert!(result["notes"].to_string().contains("zeros"), "{}", result["notes"]);
}

#[test]
fn direct_io_goes_to_the_disk_and_cached_io_does_not() {
    for (engine, _) in engines() {
        check_direct_io(engine);
    }
}

fn check_direct_io(engine: &str) {
    let run = |workload: &str, cache: &str| {
        measure(&format!("{workload} --engine {engine} --queue-depth 4 --cache {cache} {SHORT}"))
    };
    let direct = run("rand-read", "direct");
    let kind = direct["computer"]["fileSystem"]["type"].as_str().unwrap_or_default();
    if !["ext4", "xfs", "btrfs"].contains(&kind) || direct["storage"].is_null() {
        skip(&format!("{kind} has no block device whose traffic the kernel counts for us"));
        return;
    }
    assert_eq!(direct["cacheUsed"], "direct");
    // Each byte came from the device, although all had just been written.
    assert_eq!(direct["storage"]["readBytes"], direct["operations"]["read"]["bytes"]);
    let cached = run("rand-read", "cached");
    assert_eq!(cached["cacheUsed"], "cached");
    assert_eq!(cached["storage"]["readBytes"], 0);
    let written = run("rand-write", "direct");
    assert!(written["storage"]["writtenBytes"].as_u64() >= written["operations"]["write"]["bytes"].as_u64());
}

#[test]
fn a_file_system_without_direct_io_is_measured_through_the_cache_and_says_so() {
    // Linux 6.6 and later take direct I/O on a tmpfs; whichever it is, the result must say it.
    let folder = TempDir::new_in("/dev/shm").expect("a folder in memory");
    let output = run(folder.path(), &format!("rand-read {SHORT}"));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let notes = result["notes"].to_string();
    let said = stderr(&output).contains("refuses direct I/O");
    assert_eq!(result["cacheUsed"] == "cached", said && notes.contains("refuses direct I/O"));
    assert!(notes.contains("no disk was measured"), "{notes}");
}

#[test]
fn what_cannot_be_measured_is_refused_before_anything_is_written() {
    let folder = folder();
    fs_err::write(folder.path().join("file"), "").expect("a file");
    let refused = |arguments: &str| {
        let output = run(folder.path(), arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments}");
        assert_eq!(entries(folder.path()).len(), 1, "{arguments}");
        stderr(&output)
    };
    insta::assert_snapshot!(refused("latency --block 1000B --rate 0 --working-set 1B"), @"
    error: failed to read the arguments; nothing was written
      --block 1000 B: direct I/O takes multiples of 4 KiB
      --working-set 1 B: each of 1 files would be smaller than a block of 1000 B
      --rate 0: must be above 0 and at most 1000000 a second
    hint: round it up, or measure through the cache with --cache cached
    hint: --working-set 1000B or more
    hint: --rate 100 is a quiet machine, 1000 a busy one
    ");
    insta::assert_snapshot!(refused("rand-read missing"), @"
    error: failed to begin; nothing was written
      missing: No such file or directory (os error 2)
    hint: name a folder that exists on the disk to be measured
    ");
    insta::assert_snapshot!(refused("rand-read file"), @"
    error: failed to begin; nothing was written
      file is no folder
    hint: name the folder that it is in
    ");
    let full = refused("rand-write --working-set 4000TiB");
    assert!(full.contains("3.9 PiB must be free") || full.contains("4000 TiB must be free"), "{full}");
    assert!(full.contains("hint: a smaller --working-set"), "{full}");
    let many = refused("files --files 1000000 --threads 256 --largest 64MiB");
    assert!(many.contains("hint: smaller --files"), "{many}");
    let clap = refused("rand-read --working-set 12");
    assert!(clap.contains("--working-set") && clap.contains("has no unit"), "{clap}");
}

#[test]
fn help_teaches_with_examples_and_exit_codes() {
    let folder = folder();
    let output = run(folder.path(), "--help");
    insta::assert_snapshot!(String::from_utf8_lossy(&output.stdout));
}

#[test]
fn at_the_barrier_everything_is_prepared_and_a_line_begins_the_load() {
    for arguments in ["files --files 10 --passes 1 -o json".to_owned(), format!("rand-read {SHORT}")] {
        let folder = folder();
        let mut waiting = wait_at_barrier(folder.path(), &arguments);
        waiting.write(b"go\n");
        let (said, output) = waiting.end();
        assert_eq!((said.as_str(), output.status.code()), ("", Some(0)), "{arguments}");
        let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert!(!operations(&result).is_empty());
        assert_empty(folder.path());
    }
}

#[test]
fn an_input_that_ends_without_a_line_is_an_error_and_ctrl_c_ends_the_wait() {
    let gone = folder();
    let mut waiting = wait_at_barrier(gone.path(), &format!("rand-read {SHORT}"));
    waiting.write(b"g");
    waiting.input = None;
    let (said, output) = waiting.end();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    insta::assert_snapshot!(said, @"
    error: failed to wait at the barrier
      caused by: standard input ended before a line came
    hint: standard input must stay open until one line is written to it: `ssh` without -n, `docker run -i`
    ");
    assert_empty(gone.path());

    let stopped = folder();
    let waiting = wait_at_barrier(stopped.path(), "files --files 10");
    kill_process(Pid::from_child(&waiting.probe), Signal::INT).expect("it runs");
    let (said, output) = waiting.end();
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert_eq!(said, "error: failed to finish: interrupted\n");
    assert_empty(stopped.path());
}

#[test]
fn operations_that_failed_are_a_result_which_is_said_and_no_failure_of_the_measurement() {
    let folder = folder();
    let arguments = format!("latency --rate 1000000 --timeout 1ms --queue-depth 1 --cache cached {SHORT}");
    let output = run(folder.path(), &arguments);
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), result["ended"].as_str()), (Some(0), Some("complete")));
    let failures = result["operations"]["read"]["failures"].as_u64().expect("a number");
    let note =
        format!("{failures} operations failed: they are in the percentiles; compare their share first");
    assert!(failures > 0 && stderr(&output).contains(&format!("note: {note}\n")), "{}", stderr(&output));
    assert!(result["notes"].as_array().expect("notes").contains(&Value::from(note)));
}

#[test]
fn ctrl_c_and_sigterm_end_in_order_and_leave_nothing() {
    for (signal, arguments) in [
        (Signal::INT, "rand-read --working-set 2MiB --duration 10m"),
        (Signal::TERM, "files --files 100 --passes 10000"),
        (Signal::INT, "seed --working-set 4MiB --files 1000000 --runs 100"),
        (Signal::INT, "rand-write --engine io-uring --queue-depth 8 --working-set 2MiB --duration 10m"),
        (Signal::INT, "latency --engine io-uring --rate 0.1 --working-set 2MiB --duration 10m --warmup 0s"),
        (Signal::INT, "latency --rate 0.1 --working-set 2MiB --duration 10m --warmup 0s"),
    ] {
        if arguments.contains("io-uring") && engines().len() == 1 {
            continue;
        }
        let folder = folder();
        let probe = start(folder.path(), arguments);
        scratch_of(folder.path());
        kill_process(Pid::from_child(&probe), signal).expect("it runs");
        let output = probe.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{arguments}: {}", stderr(&output));
        assert_eq!(stderr(&output), "error: failed to finish: interrupted\n");
        assert_eq!(output.stdout.len(), 0);
        assert_empty(folder.path());
    }
}

#[test]
fn a_disk_that_is_lost_half_way_is_an_error_with_what_was_measured_until_then() {
    let folder = folder();
    let probe = start(folder.path(), "files --files 200 --per-folder 10 --passes 10000 -o json");
    let scratch = scratch_of(folder.path());
    // Before that it would be files that cannot be made, which is another error.
    let begun = Instant::now();
    while !scratch.join("tree-0/folder-0").exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "no tree appears");
        std::thread::yield_now();
    }
    // Files appear while it is deleted.
    while scratch.exists() {
        drop(fs_err::remove_dir_all(&scratch));
    }
    let output = probe.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert!(stderr(&output).contains("the disk was lost: No such file or directory"), "{}", stderr(&output));
    let result: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(result["ended"], "lost");
    let failures = |name: &str| result["operations"][name]["failures"].as_u64().unwrap_or(0);
    assert!(operations(&result).into_iter().map(failures).sum::<u64>() >= 16);
    assert_empty(folder.path());
}

/// Measures for four seconds, one of which the program spends stopped, as a computer that hangs would stop it. The
/// percentiles of its reads, in seconds.
#[expect(
    clippy::disallowed_methods,
    reason = "the program must have worked for a while before it is stopped"
)]
fn percentiles_with_a_stall(load: &str) -> impl Fn(&str) -> f64 + use<> {
    let folder = folder();
    let common = "--working-set 1MiB --cache cached --warmup 0s --duration 4s --output json";
    let mut waiting = wait_at_barrier(folder.path(), &format!("{load} {common}"));
    waiting.write(b"\n");
    let process = Pid::from_child(&waiting.probe);
    std::thread::sleep(Duration::from_millis(1500));
    kill_process(process, Signal::STOP).expect("stopped");
    std::thread::sleep(Duration::from_secs(1));
    kill_process(process, Signal::CONT).expect("continued");
    let (said, output) = waiting.end();
    let result: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    let read = result["operations"]["read"]["percentileNanos"].clone();
    move |name| read[name].as_f64().expect("nanoseconds") / 1e9
}

#[test]
fn a_stall_has_its_true_length_in_an_open_loop_and_is_understated_by_a_closed_one() {
    let open = percentiles_with_a_stall("latency --rate 200 --arrivals fixed");
    // 200 of 800 operations were due meanwhile: the slowest waited for all of it, half of them for half of it.
    assert!((0.9..2.0).contains(&open("p99.9")), "{}", open("p99.9"));
    assert!(open("p95") > 0.5, "{}", open("p95"));
    // One of many thousands met it.
    let closed = percentiles_with_a_stall("rand-read");
    assert!(closed("p99.9") < 0.1, "{}", closed("p99.9"));
}

#[test]
fn options_can_be_checked_without_measuring() {
    let folder = folder();
    assert!(run(folder.path(), "latency --rate 100 --check").status.success());
    let wrong = run(folder.path(), "latency --rate 0 --check");
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
    assert_empty(folder.path());
}
