//! The document of `winstead bench contention`: several machines at once, in several arms, again and again.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    distinct, probe,
    run::{ReadError, Run},
    wall::{HostSample, Wall},
};

/// What stands in `kind`.
pub const KIND: &str = "Contention";
/// Grows when a reader of older documents would misread a newer one.
pub const VERSION: u64 = 1;

/// An experiment: what was planned, where, and every run of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Contention {
    /// [`KIND`].
    pub kind: String,
    /// [`VERSION`].
    pub version: u64,
    /// The version of Winstead that measured.
    pub winstead: String,
    /// When it began.
    pub started_at: Timestamp,
    /// What was planned.
    pub design: Design,
    /// Where.
    pub host: Host,
    /// What was found, in the order in which it was measured. Fewer than planned when it was interrupted.
    pub runs: Vec<ContentionRun>,
}

/// What was planned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Design {
    /// What the machines are.
    pub machine: Machine,
    /// What is compared, in the order asked for.
    pub arms: Vec<Arm>,
    /// How many machines at once.
    pub agents: Vec<u32>,
    /// How often each arm is measured with each number of machines.
    pub repeats: u32,
    /// What each machine runs, one after another: the arguments of `winstead-probe`.
    pub workloads: Vec<Workload>,
    /// What all machines of the disk arms together are held to, when a slower disk is played. Every output says so.
    pub disk_limit: Option<DiskLimit>,
    /// The SHA-256 of the probe's program, in hexadecimal digits. Empty in documents of before.
    #[serde(default)]
    pub probe: String,
}

/// What one machine is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    /// The pool of the file.
    pub pool: String,
    /// The image's name.
    pub image: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest RAM.
    pub memory_bytes: u64,
    /// `linux` or `windows`.
    pub os: String,
    /// The whole pool as it was read, but for its number of machines. Null in documents of before.
    #[serde(default)]
    pub spec: Value,
}

/// One way to keep machines' disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arm {
    /// Overlay and base in RAM.
    Ram,
    /// On the disk, every flush of a guest carried out.
    Disk,
    /// On the disk, flushes ignored: the cheap rival.
    DiskNoflush,
}

/// A way into machines: what carries the probe there, and its result back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Their own agents.
    Agent,
    /// SSH.
    Ssh,
}

/// One load of an experiment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// What outputs call it: the probe's own name of it, `latency`.
    pub name: String,
    /// The arguments of `winstead-probe`, without folder and output.
    pub arguments: Vec<String>,
}

/// A rate that all machines of the disk arms together are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskLimit {
    /// Reads and, by themselves, writes a second.
    pub iops: Option<u64>,
    /// Bytes a second, likewise.
    pub bytes_per_second: Option<u64>,
}

/// The computer that ran the machines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Host {
    /// As its manufacturer calls it.
    pub cpu_model: Option<String>,
    /// Cores that it has, whoever may use them.
    pub cpus: u32,
    /// All RAM that may be used.
    pub memory_bytes: u64,
    /// Kernel release.
    pub kernel: String,
    /// QEMU's version.
    pub qemu: String,
    /// `kvm` or `tcg`: with `tcg` guests are emulated, and the CPU is soon the wall.
    pub accelerator: String,
    /// What the disk arms lie on.
    pub disk: Disk,
}

/// What disk arms lie on.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Disk {
    /// `ext4`.
    pub file_system: Option<String>,
    /// The mount's options.
    pub options: Option<String>,
    /// `vda`, as in `/proc/diskstats`. Unknown for file systems that span several.
    pub device: Option<String>,
}

/// One arm with one number of machines, once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContentionRun {
    /// Which arm.
    pub arm: Arm,
    /// How many machines at once.
    pub agents: u32,
    /// The how-manieth time, from 1.
    pub repeat: u32,
    /// When bringing its machines began.
    pub started_at: Timestamp,
    /// How many of its machines started how: `boot`, `memory`.
    pub started_from: BTreeMap<String, u32>,
    /// How long bringing them took.
    pub bring_seconds: f64,
    /// The version of the image that they stood on. Nothing when none came up.
    #[serde(default)]
    pub image: Option<String>,
    /// Whether their disks went around the host's page cache, all of them. Nothing when none came up.
    #[serde(default)]
    pub direct: Option<bool>,
    /// The way into its machines, one for all of them. Nothing when none was entered, and in documents of before.
    #[serde(default)]
    pub via: Option<Way>,
    /// What each workload found, in the design's order.
    pub workloads: Vec<WorkloadRun>,
}

/// One workload in all machines of a run at once.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadRun {
    /// The workload's name.
    pub name: String,
    /// When the barrier opened.
    pub started_at: Timestamp,
    /// How long the last machine was told to begin after the first.
    pub barrier_seconds: f64,
    /// What each machine found.
    pub machines: Vec<MachineRun>,
    /// What the host did meanwhile, oldest first, each since the one before.
    pub host: Vec<HostSample>,
    /// What held the machines back, strongest first; empty: nothing did.
    pub walls: Vec<Wall>,
}

/// What one machine found.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineRun {
    /// `agents-0`.
    pub machine: String,
    /// The probe's result document, whole. Null when the machine gave none.
    pub result: Option<Value>,
    /// Why there is none: the machine died, the probe failed. Counts as a failed job.
    pub failure: Option<String>,
}

impl Arm {
    /// All of them, the usual order.
    pub const ALL: [Self; 3] = [Self::Ram, Self::Disk, Self::DiskNoflush];

    /// As it is written on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ram => "ram",
            Self::Disk => "disk",
            Self::DiskNoflush => "disk-noflush",
        }
    }

    /// As sentences call it.
    #[must_use]
    pub const fn spoken(self) -> &'static str {
        match self {
            Self::Ram => "RAM",
            Self::Disk => "the disk",
            Self::DiskNoflush => "the disk without flushes",
        }
    }
}

impl Way {
    /// As it is written on the command line and in documents.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Ssh => "ssh",
        }
    }
}

impl Contention {
    /// Reads a document.
    ///
    /// # Errors
    /// When it is another one, one of a later version, or has a run twice.
    pub fn read(document: &Value) -> Result<Self, ReadError> {
        probe::check(document, KIND, VERSION)?;
        let content = |source| ReadError::Content { kind: KIND, source };
        let read = Self::deserialize(document).map_err(content)?;
        match distinct::doubt(&read.runs) {
            Some(doubt) => Err(content(serde::de::Error::custom(doubt))),
            None => Ok(read),
        }
    }

    /// The runs of one workload in one arm with one number of machines, in the order measured.
    pub fn workload_runs<'a>(
        &'a self,
        arm: Arm,
        agents: u32,
        workload: &'a str,
    ) -> impl Iterator<Item = &'a WorkloadRun> {
        let chosen = move |run: &&ContentionRun| run.arm == arm && run.agents == agents;
        let runs = self.runs.iter().filter(chosen).flat_map(|run| &run.workloads);
        runs.filter(move |run| run.name == workload)
    }
}

impl WorkloadRun {
    /// What its machines measured; those that gave nothing are left out.
    ///
    /// # Errors
    /// When a result cannot be read.
    pub fn measured(&self) -> Result<Vec<Run>, ReadError> {
        self.machines.iter().filter_map(|machine| machine.result.as_ref()).map(probe::read).collect()
    }

    /// How many machines gave no result.
    #[must_use]
    pub fn failed_machines(&self) -> usize {
        self.machines.iter().filter(|machine| machine.failure.is_some()).count()
    }
}
