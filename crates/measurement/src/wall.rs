//! What held machines back: the wall that was hit, decided from what the host said meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a host did in a stretch of time. Shares are of that time, 1 for all of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HostSample {
    /// Its end, in seconds from the opening of the barrier.
    pub at_seconds: f64,
    /// How long it was.
    pub seconds: f64,
    /// How many cores worked, on average, of all that may be used.
    pub busy_cpus: f64,
    /// How many cores' worth of time the hypervisor below gave to others.
    pub stolen_cpus: f64,
    /// How many cores' worth the machines' QEMUs took.
    pub qemu_cpus: f64,
    /// Pressure (PSI), by `cpu.some`, `io.some`, `io.full`, `memory.some`, `memory.full`: the share of the time in which
    /// some task, or all that were not idle, waited for it. Empty where the kernel does not say.
    pub pressure: BTreeMap<String, f64>,
    /// Memory that a new process could have had at its end.
    pub memory_available_bytes: u64,
    /// Block devices that did something, by name. What lies on a tmpfs never appears here.
    pub disks: BTreeMap<String, DiskSample>,
}

/// What a block device did, from `/proc/diskstats`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiskSample {
    /// Reads completed, a second.
    pub reads_per_second: f64,
    /// Writes completed, a second.
    pub writes_per_second: f64,
    /// Bytes read, a second.
    pub read_bytes_per_second: f64,
    /// Bytes written, a second.
    pub written_bytes_per_second: f64,
    /// What a read took, queue included. 0 without reads.
    pub read_millis: f64,
    /// What a write took, queue included. 0 without writes.
    pub write_millis: f64,
    /// Flushes completed, a second.
    pub flushes_per_second: f64,
    /// What a flush took. 0 without flushes.
    pub flush_millis: f64,
    /// How many operations were under way, on average.
    pub in_flight: f64,
    /// The share of the time in which at least one was. A disk that does many at once is not full at 1.
    pub busy: f64,
}

/// Something that held machines back, and what says so.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wall {
    /// What it is.
    pub kind: WallKind,
    /// The numbers that say so, for a person: `1.98 of 2 cores were busy`.
    pub evidence: String,
}

/// What can hold machines back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WallKind {
    /// The host's cores.
    Cpu,
    /// The host's memory.
    Memory,
    /// The disk's operations.
    Disk,
    /// The disk's flushes.
    Flush,
    /// The rate that a `--disk-limit` allowed: nobody's disk.
    SimulatedLimit,
}
