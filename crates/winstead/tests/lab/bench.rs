//! Many machines measured at once.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::lab::{Lab, eventually, kill, pool, ram};

/// Small enough for a guest that boots in seconds.
const LOAD: &str = "rand-write --working-set 1MiB --warmup 0s --duration 500ms";

pub(crate) fn probe() -> String {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let probe = runtime.block_on(winstead_testing::static_probe()).expect("build the probe");
    probe.to_str().expect("a path in UTF-8").to_owned()
}

pub(crate) fn document(folder: &Path) -> Value {
    let text = fs_err::read_to_string(folder.join("contention.json")).expect("the document");
    serde_json::from_str(&text).expect("JSON")
}

/// A file with one pool, the probe, and the folder of results.
fn experiment(lab: &Lab) -> (String, String, PathBuf) {
    let file = lab.file(&pool("many", 1, &ram("24MiB"))).to_str().expect("a path in UTF-8").to_owned();
    (file, probe(), lab.folder().join("results"))
}

#[test]
fn arms_are_measured_in_turns_with_fresh_machines_and_nothing_is_left() {
    let lab = Lab::new();
    let (file, probe, out) = experiment(&lab);
    let fixed = ["bench", "contention", "-f", &file, "--probe", &probe, "--out", out.to_str().unwrap()];
    let design = ["--agents", "1,2", "--arms", "ram,disk", "--workload", LOAD];
    let once = [&fixed[..], &design, &["--repeats", "1"]].concat();
    let said = lab.ok(&once);
    assert!(said.trim_end().ends_with("results/contention.json"), "{said}");
    let found = document(&out);
    let runs = found["runs"].as_array().unwrap();
    let order: Vec<(&str, u64)> =
        runs.iter().map(|run| (run["arm"].as_str().unwrap(), run["agents"].as_u64().unwrap())).collect();
    assert_eq!(order, [("ram", 1), ("disk", 1), ("ram", 2), ("disk", 2)]);
    for run in runs {
        let load = &run["workloads"][0];
        let machines = load["machines"].as_array().unwrap();
        assert_eq!(machines.len() as u64, run["agents"].as_u64().unwrap());
        for machine in machines {
            assert_eq!(machine["failure"], Value::Null, "{machine:#}");
            assert!(machine["result"]["operations"]["write"]["count"].as_u64() > Some(0), "{machine:#}");
        }
        assert!(
            load["host"].as_array().is_some_and(|samples| !samples.is_empty()),
            "the host was not watched"
        );
        assert_eq!(run["startedFrom"]["boot"], run["agents"], "each run has fresh machines");
        assert_eq!(run["via"], "ssh", "there is no agent in them");
    }
    lab.assert_nothing_left();

    // All of it is there already; what would differ is refused, and changes nothing.
    lab.ok(&once);
    assert_eq!(document(&out), found);
    let twice = [&fixed[..], &design, &["--repeats", "2"]].concat();
    let refused = lab.run(&twice);
    assert_eq!((refused.code, document(&out)), (Some(3), found), "{}", refused.stderr);
    assert!(refused.stderr.contains("repeats: 1 then, 2 now"), "{}", refused.stderr);
}

#[test]
fn a_machine_that_dies_is_a_failure_and_an_interrupted_experiment_goes_on() {
    let lab = Lab::new();
    let (file, probe, out) = experiment(&lab);
    let load = "rand-write --working-set 1MiB --warmup 0s --duration 6s";
    let command = [
        &["bench", "contention", "-f", &file, "--probe", &probe, "--out", out.to_str().unwrap()][..],
        &["--agents", "2", "--arms", "ram", "--repeats", "2", "--workload", load],
    ]
    .concat();
    let measuring = |lab: &Lab| {
        let child = lab.command(&command).stderr(std::process::Stdio::piped()).spawn().expect("winstead");
        // The probe is copied when all machines are ready; a while later it works.
        eventually("machines come up", || lab.phases() == ["Ready", "Ready"]);
        child
    };
    let child = measuring(&lab);
    let process = lab.ok(&["get", "machines", "-o", "json"]);
    assert!(process.contains("many-bench-ram-1"), "{process}");
    kill(qemu(&lab, "many-bench-ram-1"), rustix::process::Signal::KILL).unwrap();
    eventually("the first run is kept", || out.join("runs/001-ram-2.json").exists());
    kill(child.id(), rustix::process::Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    lab.assert_nothing_left();
    let machines = document(&out)["runs"][0]["workloads"][0]["machines"].clone();
    let failed = |index: usize| machines[index]["failure"].as_str().is_some();
    assert_eq!((failed(0), failed(1)), (false, true), "{machines:#}");

    lab.ok(&command);
    let runs = document(&out)["runs"].as_array().unwrap().len();
    assert_eq!(runs, 2, "it did not go on");
    lab.assert_nothing_left();
}

#[test]
fn a_machines_own_disk_is_measured_again_and_again() {
    let lab = Lab::new();
    let probe = probe();
    lab.up(&lab.file(&pool("disk", 1, &ram("24MiB"))));
    let out = lab.folder().join("disk.json");
    let fixed = ["bench", "disk", "--machine", "disk-0", "--probe", &probe, "--out", out.to_str().unwrap()];
    let load = [
        "--repeats",
        "2",
        "--",
        "rand-write",
        "--working-set",
        "1MiB",
        "--warmup",
        "0s",
        "--duration",
        "300ms",
    ];
    lab.ok(&[&fixed[..], &load].concat());
    let list: Value = serde_json::from_str(&fs_err::read_to_string(&out).unwrap()).unwrap();
    assert_eq!((&list["kind"], list["items"].as_array().unwrap().len()), (&"ProbeResultList".into(), 2));
    let again = lab.run(&[&fixed[..], &load].concat());
    assert_eq!(again.code, Some(2), "results are not written over: {again:?}");
    assert_no_probe(&lab, "disk-0");
}

#[test]
fn a_machines_own_disk_has_the_runs_before_an_interrupt() {
    let lab = Lab::new();
    let probe = probe();
    lab.up(&lab.file(&pool("disk", 1, &ram("24MiB"))));
    let out = lab.folder().join("disk.json");
    let command = [
        &["bench", "disk", "--machine", "disk-0", "--probe", &probe, "--out", out.to_str().unwrap()][..],
        &["--repeats", "1000", "--", "rand-write", "--working-set", "1MiB", "--warmup", "0s"],
        &["--duration", "1s"],
    ]
    .concat();
    let mut child = lab.command(&command).stderr(std::process::Stdio::piped()).spawn().expect("winstead");
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    said.read_line(&mut line).unwrap();
    assert_eq!(line, "run 1 of 1000 is over\n");
    kill(child.id(), rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let list: Value = serde_json::from_str(&fs_err::read_to_string(&out).unwrap()).unwrap();
    let runs = list["items"].as_array().unwrap().len();
    assert!(rest.contains(&format!("disk.json holds {runs} of 1000 runs")), "{rest}");
    assert_no_probe(&lab, "disk-0");
}

/// The program is not left in the machine's home folder.
pub(crate) fn assert_no_probe(lab: &Lab, machine: &str) {
    let there = lab.run(&["exec", machine, "--", "test", "-e", "winstead-probe"]);
    assert_eq!(there.code, Some(1), "{there:?}");
}

/// The process of a machine's QEMU.
fn qemu(lab: &Lab, machine: &str) -> u32 {
    let named = format!("guest={machine},");
    let is = |pid: &&u32| {
        let command = fs_err::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&named)
    };
    let processes = lab.processes();
    *processes.iter().find(is).unwrap_or_else(|| panic!("{machine} among {processes:?}"))
}
