//! Made-up experiments, the same each time: for tests of what is computed from one, and of how it is drawn.
//!
//! Nothing here was measured. Results in them are as `winstead-probe` writes them, with histograms of few values.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use winstead_statistics::Latencies;

use crate::{
    contention::{
        Arm, Contention, ContentionRun, Design, Disk, DiskLimit, Host, KIND, Machine, MachineRun, VERSION,
        Way, Workload, WorkloadRun,
    },
    wall::{DiskSample, HostSample, Wall, WallKind},
};

/// What an experiment found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// Machines in RAM are faster than both others; the disk is the wall.
    RamHelps,
    /// The disk without flushes is as fast as RAM: flushes were the wall.
    FlushesWereTheWall,
    /// Two cores: all arms are alike, and the CPU is the wall.
    CpuIsTheWall,
    /// As [`Story::RamHelps`], with a slower disk that was played.
    SimulatedLimit,
}

/// With how many machines at once.
pub const AGENTS: [u32; 4] = [1, 2, 4, 8];
/// How often each.
pub const REPEATS: u32 = 5;
/// Operations under way of each machine in the closed loop.
pub const WORKERS: u32 = 8;
/// Operations of each machine that are due in a second in the open loop.
pub const RATE: f64 = 200.0;

/// The run, in the disk arm with most machines, in which a machine died.
const DIED_IN: u32 = 3;
const DIED: &str = "agents-5";

/// What an arm of a story is like.
struct Character {
    /// What an operation takes with one machine.
    micros: f64,
    /// The law by which more machines slow each other down: σ and κ of the scalability law.
    slowing: (f64, f64),
    /// What holds four machines and more back.
    wall: Option<(WallKind, &'static str)>,
}

const DISK: Character = Character {
    micros: 900.0,
    slowing: (0.3, 0.06),
    wall: Some((WallKind::Disk, "9.4 operations were under way on nvme0n1, a write took 11.2 ms")),
};
const FLUSHES: Character =
    Character { wall: Some((WallKind::Flush, "a flush of nvme0n1 took 7.9 ms, 310 a second")), ..DISK };
const QUICK: Character = Character { micros: 180.0, slowing: (0.02, 0.0), wall: None };
const CROWDED: Character = Character {
    micros: 400.0,
    slowing: (0.5, 0.0),
    wall: Some((WallKind::Cpu, "1.98 of 2 cores were busy")),
};
const LIMITED: Character = Character {
    wall: Some((WallKind::SimulatedLimit, "492 of the 500 operations a second that were allowed")),
    ..DISK
};

impl Story {
    const fn character(self, arm: Arm) -> Character {
        match (self, arm) {
            (Self::CpuIsTheWall, _) => CROWDED,
            (_, Arm::Ram) | (Self::FlushesWereTheWall, Arm::DiskNoflush) => QUICK,
            (Self::FlushesWereTheWall, Arm::Disk) => FLUSHES,
            (Self::RamHelps, _) => DISK,
            (Self::SimulatedLimit, _) => LIMITED,
        }
    }

    const fn cpus(self) -> u32 {
        if matches!(self, Self::CpuIsTheWall) { 2 } else { 16 }
    }
}

impl Character {
    fn micros_with(&self, agents: u32) -> f64 {
        let (agents, (sigma, kappa)) = (f64::from(agents), self.slowing);
        self.micros * (1.0 + (agents - 1.0) * (sigma + kappa * agents))
    }
}

/// A whole experiment: three arms, [`AGENTS`], [`REPEATS`], an open loop `latency` and a closed one `rand-write`, and
/// one machine that died.
#[must_use]
pub fn contention(story: Story) -> Contention {
    let limit = DiskLimit { iops: Some(500), bytes_per_second: Some(50 << 20) };
    Contention {
        kind: KIND.to_owned(),
        version: VERSION,
        winstead: "0.1.0".to_owned(),
        started_at: at(0),
        design: Design {
            machine: machine(),
            arms: Arm::ALL.to_vec(),
            agents: AGENTS.to_vec(),
            repeats: REPEATS,
            workloads: vec![
                workload("latency", &["latency", "--operation", "write", "--flush", "each", "--rate", "200"]),
                workload("rand-write", &["rand-write", "--queue-depth", "8"]),
            ],
            disk_limit: (story == Story::SimulatedLimit).then_some(limit),
            probe: String::new(),
        },
        host: host(story),
        runs: runs(story),
    }
}

/// The same as a document.
///
/// # Panics
/// Never: all of it can be written.
#[must_use]
pub fn document(story: Story) -> Value {
    serde_json::to_value(contention(story)).expect("an experiment can be written")
}

/// A result of the open loop whose operations took `micros` on average.
#[must_use]
pub fn probe_result(micros: f64) -> Value {
    latency_result(micros, at(0))
}

fn at(seconds: i64) -> Timestamp {
    const BEGINNING: i64 = 1_767_600_000;
    Timestamp::UNIX_EPOCH + SignedDuration::from_secs(BEGINNING + seconds)
}

fn machine() -> Machine {
    Machine {
        pool: "agents".to_owned(),
        image: "debian".to_owned(),
        cpus: 1,
        memory_bytes: 1 << 30,
        os: "linux".to_owned(),
        spec: Value::Null,
    }
}

fn workload(name: &str, arguments: &[&str]) -> Workload {
    Workload { name: name.to_owned(), arguments: arguments.iter().map(ToString::to_string).collect() }
}

fn host(story: Story) -> Host {
    Host {
        cpu_model: Some("Example CPU".to_owned()),
        cpus: story.cpus(),
        memory_bytes: 64 << 30,
        kernel: "6.12.0".to_owned(),
        qemu: "10.0.2".to_owned(),
        accelerator: if story == Story::CpuIsTheWall { "tcg" } else { "kvm" }.to_owned(),
        disk: Disk {
            file_system: Some("ext4".to_owned()),
            options: Some("rw,relatime".to_owned()),
            device: Some("nvme0n1".to_owned()),
        },
    }
}

/// In turns: each repeat goes through the arms the other way round.
fn runs(story: Story) -> Vec<ContentionRun> {
    let mut runs = Vec::new();
    for repeat in 1..=REPEATS {
        let mut arms = Arm::ALL;
        if repeat % 2 == 0 {
            arms.reverse();
        }
        for agents in AGENTS {
            for arm in arms {
                let began = at(60 * i64::try_from(runs.len()).unwrap_or_default());
                runs.push(run(story, arm, agents, repeat, began));
            }
        }
    }
    runs
}

fn run(story: Story, arm: Arm, agents: u32, repeat: u32, started_at: Timestamp) -> ContentionRun {
    let character = story.character(arm);
    // Runs differ by some percent, and not in the same order in each arm.
    const LEVELS: [f64; 5] = [1.0, 0.96, 1.05, 0.98, 1.03];
    let turn = repeat as usize + 2 * arm as usize + agents as usize;
    let micros = character.micros_with(agents) * LEVELS[turn % LEVELS.len()];
    let died = |machine: &str| {
        arm == Arm::Disk && agents == AGENTS[AGENTS.len() - 1] && repeat == DIED_IN && machine == DIED
    };
    let machines = |result: fn(f64, Timestamp) -> Value| {
        let each = |index: u32| {
            let (machine, own) = (format!("agents-{index}"), 1.0 + 0.01 * f64::from(index % 3));
            let failure = died(&machine).then(|| "QEMU ended: signal 9".to_owned());
            let result = failure.is_none().then(|| result(micros * own, started_at));
            MachineRun { machine, result, failure }
        };
        (0..agents).map(each).collect()
    };
    let workload = |name: &str, machines| WorkloadRun {
        name: name.to_owned(),
        started_at,
        barrier_seconds: 0.004,
        machines,
        host: samples(story, arm, agents),
        walls: walls(&character, agents),
    };
    ContentionRun {
        arm,
        agents,
        repeat,
        started_at,
        started_from: BTreeMap::from([("memory".to_owned(), agents)]),
        bring_seconds: 2.5,
        image: Some("sha256:example".to_owned()),
        direct: Some(true),
        via: Some(Way::Agent),
        workloads: vec![
            workload("latency", machines(latency_result)),
            workload("rand-write", machines(rand_write_result)),
        ],
    }
}

fn walls(character: &Character, agents: u32) -> Vec<Wall> {
    let wall = character.wall.filter(|_| agents >= 4);
    wall.map(|(kind, evidence)| Wall { kind, evidence: evidence.to_owned() }).into_iter().collect()
}

fn samples(story: Story, arm: Arm, agents: u32) -> Vec<HostSample> {
    let busy = f64::from(agents.min(story.cpus())) * 0.99;
    let on_disk = arm != Arm::Ram;
    let disk = DiskSample {
        writes_per_second: 310.0,
        written_bytes_per_second: 310.0 * 4096.0,
        write_millis: 11.2,
        flushes_per_second: if arm == Arm::Disk { 310.0 } else { 0.0 },
        flush_millis: if arm == Arm::Disk { 7.9 } else { 0.0 },
        in_flight: 9.4,
        busy: 0.97,
        ..DiskSample::default()
    };
    let sample = |number: u32| HostSample {
        at_seconds: f64::from(number) * 2.5,
        seconds: 2.5,
        busy_cpus: busy,
        qemu_cpus: busy * 0.9,
        pressure: [("cpu.some", 0.04 * busy), ("io.some", if on_disk { 0.7 } else { 0.0 })]
            .map(|(name, share)| (name.to_owned(), share))
            .into(),
        memory_available_bytes: 40 << 30,
        disks: on_disk.then(|| ("nvme0n1".to_owned(), disk)).into_iter().collect(),
        ..HostSample::default()
    };
    (1..=3).map(sample).collect()
}

/// How many operations of each machine.
const OPERATIONS: u64 = 6000;
/// How many different latencies they have.
const VALUES: u64 = 200;

/// Operations that take `micros` on average, most of them less, a few much more: a Pareto distribution.
fn latencies(micros: f64) -> Latencies {
    const TAIL: f64 = 0.3;
    let mut latencies = Latencies::new();
    for value in 0..VALUES {
        let share = (value as f64 + 0.5) / VALUES as f64;
        let took = micros * (1.0 - TAIL) / (1.0 - share).powf(TAIL);
        let took = Duration::from_secs_f64(took / 1e6);
        (0..OPERATIONS / VALUES).for_each(|_| latencies.record(took));
    }
    latencies
}

fn done(latencies: &Latencies, bytes_each: u64, elapsed: f64) -> Value {
    let bytes = latencies.count() * bytes_each;
    json!({
        "count": latencies.count(), "failures": 0, "bytes": bytes,
        "perSecond": latencies.count() as f64 / elapsed, "bytesPerSecond": bytes as f64 / elapsed,
        "percentileNanos": {}, "latencies": latencies,
    })
}

fn latency_result(micros: f64, started_at: Timestamp) -> Value {
    let elapsed = OPERATIONS as f64 / RATE;
    let mut result = result("latency", started_at, elapsed);
    result["parameters"]["operation"] = json!("durable-write");
    result["parameters"]["flush"] = json!("each");
    result["parameters"]["arrivals"] = json!({"perSecond": RATE, "spacing": "poisson"});
    result["operations"] = json!({"durable-write": done(&latencies(micros), 4096, elapsed)});
    result
}

fn rand_write_result(micros: f64, started_at: Timestamp) -> Value {
    let latencies = latencies(micros);
    let mean = latencies.succeeded.mean().unwrap_or_default().as_secs_f64();
    // A closed loop: so many a second as its latency allows.
    let elapsed = OPERATIONS as f64 * mean / f64::from(WORKERS);
    let mut result = result("rand-write", started_at, elapsed);
    result["operations"] = json!({"write": done(&latencies, 4096, elapsed)});
    result
}

/// All of a result but its numbers.
fn result(workload: &str, started_at: Timestamp, elapsed: f64) -> Value {
    json!({
        "kind": "ProbeResult", "version": 1,
        "program": {"name": "winstead-probe", "version": "0.1.0"},
        "startedAt": started_at, "folder": "/var/tmp",
        "parameters": {
            "workload": workload, "operation": "write", "access": "random", "blockBytes": 4096,
            "queueDepth": WORKERS, "threads": 1, "fileBytes": 268_435_456, "cache": "direct", "engine": "threads",
            "flush": "end", "firstTouch": false, "arrivals": null, "durationSeconds": 30.0, "warmupSeconds": 2.0,
            "timeoutSeconds": 30.0, "seed": 7,
        },
        "engine": {"name": "threads", "threads": WORKERS},
        "cacheUsed": "direct",
        "computer": {
            "system": "Linux", "kernel": "6.12.0", "architecture": "x86_64",
            "cpu": {"model": "Example CPU", "count": 1}, "usableCpus": 1, "memoryBytes": 1_073_741_824,
            "memoryAvailableBytes": 805_306_368, "memoryLimitBytes": null, "underHypervisor": true, "product": null,
            "fileSystem": {"type": "ext4", "source": "/dev/vda", "options": "rw", "freeBytes": 4_294_967_296_u64, "queue": {}},
        },
        "ended": "complete", "lost": null, "elapsedSeconds": elapsed, "operations": {}, "errors": {},
        "lateness": null, "generatingSeconds": 0.01, "storage": null, "notes": [],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe;

    #[test]
    fn a_made_up_experiment_is_read_like_a_real_one_and_is_the_same_each_time() {
        let written = document(Story::RamHelps);
        assert_eq!(written, document(Story::RamHelps));
        let read = Contention::read(&written).expect("an experiment");
        assert_eq!(read.runs.len(), 60);
        let runs: Vec<_> = read.workload_runs(Arm::Disk, 8, "latency").collect();
        assert_eq!(runs.iter().map(|run| run.failed_machines()).sum::<usize>(), 1);
        let measured = runs[0].measured().expect("results");
        assert_eq!(measured[0].main_operation(), Some("durable-write"));
        assert_eq!(probe::read(&probe_result(100.0)).expect("a run").failures(), 0);
    }
}
