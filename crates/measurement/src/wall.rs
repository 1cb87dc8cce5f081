//! What held machines back: the wall that was hit, decided from what the host said meanwhile.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::contention::DiskLimit;

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
    /// What machines that are held to a rate did on the disk, and nobody else. Nothing where none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<Held>,
}

/// What those who share a rate did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Held {
    /// Reads, a second.
    pub reads_per_second: f64,
    /// Writes, a second.
    pub writes_per_second: f64,
    /// Bytes read, a second.
    pub read_bytes_per_second: f64,
    /// Bytes written, a second.
    pub written_bytes_per_second: f64,
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

/// What is known of a host beside its samples.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// The host's cores.
    pub cpus: u32,
    /// Virtual processors of all machines together.
    pub virtual_cpus: u32,
    /// The block device that machines' disks lie on; `None` where they lie in memory, or nobody knows.
    pub device: Option<&'a str>,
    /// The rate that machines were held to.
    pub limit: Option<DiskLimit>,
}

/// From which share on something is a wall: cores are never all busy when work comes in bursts.
const FULL: f64 = 0.9;
/// A flush is a wall when somebody waits for one half of the time.
const OFTEN: f64 = 0.5;
/// Memory that everybody waits for is rare, and ruinous at once ([PSI], "full").
///
/// [PSI]: https://docs.kernel.org/accounting/psi.html
const STALLED: f64 = 0.05;

/// Of a stretch of time, the samples that lie in it, in seconds from the opening of the barrier: a host that was full while
/// all worked must not look idle because one of them took long to log out. All of them where none does.
#[must_use]
pub fn within(samples: &[HostSample], from: f64, to: f64) -> Vec<HostSample> {
    let inside = |sample: &&HostSample| sample.at_seconds - sample.seconds >= from && sample.at_seconds <= to;
    let chosen: Vec<HostSample> = samples.iter().filter(inside).cloned().collect();
    if chosen.is_empty() { samples.to_vec() } else { chosen }
}

/// What held machines back while these samples were taken, strongest first; nothing when nothing did, or without samples.
/// What lies in memory is never held back by a disk, so only the conditions' device is looked at.
#[must_use]
pub fn decide(samples: &[HostSample], conditions: Conditions<'_>) -> Vec<Wall> {
    let Some(mean) = Mean::of(samples, conditions.device) else { return Vec::new() };
    let mut found: Vec<(f64, Wall)> =
        [mean.limit(conditions), mean.cpu(conditions), mean.memory(), mean.flush(), mean.disk()]
            .into_iter()
            .flatten()
            .collect();
    // A stable sort: of two that are as full the one named first above is the cause of the other.
    found.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    found.into_iter().map(|(_, wall)| wall).collect()
}

/// The whole stretch, each sample by its length.
struct Mean<'a> {
    busy_cpus: f64,
    stolen_cpus: f64,
    qemu_cpus: f64,
    /// Nothing where the kernel does not say.
    cpu_pressure: Option<f64>,
    memory_stalled: f64,
    disk: Option<(&'a str, DiskSample)>,
    held: Held,
}

impl<'a> Mean<'a> {
    fn of(samples: &[HostSample], device: Option<&'a str>) -> Option<Self> {
        let seconds: f64 = samples.iter().map(|sample| sample.seconds).sum();
        if seconds <= 0.0 {
            return None;
        }
        let mean = |of: &dyn Fn(&HostSample) -> f64| {
            samples.iter().map(|sample| of(sample) * sample.seconds).sum::<f64>() / seconds
        };
        let pressure = |name: &str| mean(&|sample| sample.pressure.get(name).copied().unwrap_or_default());
        let held =
            |value: fn(&Held) -> f64| mean(&|sample| sample.held.as_ref().map(value).unwrap_or_default());
        let disk = |device: &'a str| {
            let of = |value: fn(&DiskSample) -> f64| {
                mean(&|sample| sample.disks.get(device).map(value).unwrap_or_default())
            };
            let (flushes, waited) =
                (of(|disk| disk.flushes_per_second), of(|disk| disk.flushes_per_second * disk.flush_millis));
            let disk = DiskSample {
                flushes_per_second: flushes,
                flush_millis: if flushes > 0.0 { waited / flushes } else { 0.0 },
                in_flight: of(|disk| disk.in_flight),
                busy: of(|disk| disk.busy),
                ..DiskSample::default()
            };
            (device, disk)
        };
        Some(Self {
            busy_cpus: mean(&|sample| sample.busy_cpus),
            stolen_cpus: mean(&|sample| sample.stolen_cpus),
            qemu_cpus: mean(&|sample| sample.qemu_cpus),
            cpu_pressure: samples[0].pressure.contains_key("cpu.some").then(|| pressure("cpu.some")),
            memory_stalled: pressure("memory.full"),
            disk: device.map(disk),
            held: Held {
                reads_per_second: held(|held| held.reads_per_second),
                writes_per_second: held(|held| held.writes_per_second),
                read_bytes_per_second: held(|held| held.read_bytes_per_second),
                written_bytes_per_second: held(|held| held.written_bytes_per_second),
            },
        })
    }

    /// Cores that somebody else got are as little there as busy ones. Machines have reached it, too, when their own
    /// processors are full.
    fn cpu(&self, conditions: Conditions<'_>) -> Option<(f64, Wall)> {
        let host = (self.busy_cpus + self.stolen_cpus) / f64::from(conditions.cpus.max(1));
        let own = self.qemu_cpus / f64::from(conditions.virtual_cpus.max(1));
        let stolen = if self.stolen_cpus >= 0.05 {
            format!(", {:.2} more were taken by the hypervisor below", self.stolen_cpus)
        } else {
            String::new()
        };
        let waited = self.cpu_pressure.map_or(String::new(), |share| {
            format!("; somebody waited for one {:.0} % of the time", share * 100.0)
        });
        let evidence = if host >= FULL {
            format!(
                "{:.2} of {} cores were busy, {:.2} of them with the machines{stolen}{waited}",
                self.busy_cpus, conditions.cpus, self.qemu_cpus
            )
        } else {
            let virtual_cpus = conditions.virtual_cpus;
            format!("the machines' own processors were full: {:.2} of {virtual_cpus}", self.qemu_cpus)
        };
        let share = host.max(own.min(1.0));
        (share >= FULL).then_some((share, Wall { kind: WallKind::Cpu, evidence }))
    }

    fn memory(&self) -> Option<(f64, Wall)> {
        let evidence =
            format!("everybody waited for memory {:.0} % of the time", self.memory_stalled * 100.0);
        // Twenty times: that much waiting is worse than a core that is busy all the time.
        let share = self.memory_stalled / STALLED;
        (self.memory_stalled >= STALLED).then_some((share, Wall { kind: WallKind::Memory, evidence }))
    }

    fn flush(&self) -> Option<(f64, Wall)> {
        let (device, disk) = self.disk?;
        let share = disk.flushes_per_second * disk.flush_millis / 1e3;
        let evidence = format!(
            "{device} flushed {:.0} times a second for {:.1} ms each",
            disk.flushes_per_second, disk.flush_millis
        );
        // Ahead of the disk that is busy with them: they are why.
        (share >= OFTEN).then_some((share.max(disk.busy).min(1.0), Wall { kind: WallKind::Flush, evidence }))
    }

    /// A disk that does many operations at once may be busy all the time and have room left; so what was under way is
    /// said, too.
    fn disk(&self) -> Option<(f64, Wall)> {
        let (device, disk) = self.disk?;
        let evidence = format!(
            "{device} was busy {:.0} % of the time, with {:.1} operations under way on average",
            disk.busy * 100.0,
            disk.in_flight
        );
        (disk.busy >= FULL).then(|| (disk.busy.min(1.0), Wall { kind: WallKind::Disk, evidence }))
    }

    /// Reads and writes are limited each by itself, as the kernel does it.
    fn limit(&self, conditions: Conditions<'_>) -> Option<(f64, Wall)> {
        let (held, limit) = (self.held, conditions.limit?);
        let rate = |most: Option<u64>, done: [f64; 2], unit: &str| {
            let (most, done) = (most? as f64, done[0].max(done[1]));
            Some((done / most, format!("{done:.0} of the {most:.0} {unit} a second that were allowed")))
        };
        let reached = [
            rate(limit.iops, [held.reads_per_second, held.writes_per_second], "operations"),
            rate(
                limit.bytes_per_second,
                [held.read_bytes_per_second, held.written_bytes_per_second],
                "bytes",
            ),
        ];
        let (share, evidence) =
            reached.into_iter().flatten().max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        // Before everything else that is full: it is why.
        (share >= FULL).then_some((share.max(1.0) + 1.0, Wall { kind: WallKind::SimulatedLimit, evidence }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(busy_cpus: f64, disk: DiskSample) -> HostSample {
        HostSample {
            seconds: 0.5,
            busy_cpus,
            qemu_cpus: busy_cpus * 0.9,
            disks: [("vda".to_owned(), disk)].into(),
            ..HostSample::default()
        }
    }

    fn kinds(samples: &[HostSample], device: Option<&str>, limit: Option<DiskLimit>) -> Vec<WallKind> {
        let conditions = Conditions { cpus: 2, virtual_cpus: 8, device, limit };
        decide(samples, conditions).iter().map(|wall| wall.kind).collect()
    }

    const BUSY: DiskSample = DiskSample {
        busy: 0.97,
        in_flight: 8.0,
        writes_per_second: 480.0,
        reads_per_second: 0.0,
        read_bytes_per_second: 0.0,
        written_bytes_per_second: 2e6,
        read_millis: 0.0,
        write_millis: 15.0,
        flushes_per_second: 100.0,
        flush_millis: 2.0,
    };

    #[test]
    fn an_idle_host_has_no_wall_and_no_samples_say_nothing() {
        assert_eq!(kinds(&[sample(0.7, DiskSample::default())], Some("vda"), None), []);
        assert_eq!(kinds(&[], Some("vda"), None), []);
    }

    #[test]
    fn busy_cores_are_the_wall_and_so_are_stolen_ones() {
        let busy = [sample(1.98, DiskSample::default())];
        let walls = decide(&busy, Conditions { cpus: 2, virtual_cpus: 8, device: None, limit: None });
        assert_eq!(walls[0].kind, WallKind::Cpu);
        assert!(walls[0].evidence.starts_with("1.98 of 2 cores were busy, 1.78 of them"), "{walls:?}");
        let stolen = HostSample { stolen_cpus: 0.9, ..sample(1.0, DiskSample::default()) };
        assert_eq!(kinds(&[stolen], None, None), [WallKind::Cpu]);
    }

    #[test]
    fn machines_whose_own_processors_are_full_have_met_a_wall_on_an_idle_host() {
        let one = Conditions { cpus: 16, virtual_cpus: 1, device: Some("vda"), limit: None };
        let walls = decide(&[sample(1.1, DiskSample::default())], one);
        assert_eq!(walls[0].evidence, "the machines' own processors were full: 0.99 of 1");
    }

    #[test]
    fn what_comes_after_the_load_does_not_count() {
        let at = |at_seconds, busy| HostSample { at_seconds, ..sample(busy, DiskSample::default()) };
        let samples = [at(0.5, 0.1), at(1.0, 2.0), at(1.5, 2.0), at(2.0, 0.1), at(2.5, 0.1)];
        assert_eq!(kinds(&samples, None, None), []);
        assert_eq!(kinds(&within(&samples, 0.5, 1.6), None, None), [WallKind::Cpu]);
        assert_eq!(within(&samples, 7.0, 8.0).len(), 5);
    }

    #[test]
    fn flushes_come_before_the_disk_that_is_busy_with_them() {
        let flushing = DiskSample { busy: 1.0, flush_millis: 9.8, ..BUSY };
        let found = kinds(&[sample(0.5, flushing)], Some("vda"), None);
        assert_eq!(found, [WallKind::Flush, WallKind::Disk]);
    }

    #[test]
    fn a_disk_is_no_wall_for_machines_in_memory() {
        assert_eq!(kinds(&[sample(0.5, BUSY)], Some("vda"), None), [WallKind::Disk]);
        assert_eq!(kinds(&[sample(0.5, BUSY)], None, None), []);
    }

    #[test]
    fn flushes_that_somebody_waits_for_half_of_the_time_are_a_wall() {
        let flushing = DiskSample { busy: 0.5, flush_millis: 6.0, ..BUSY };
        assert_eq!(kinds(&[sample(0.5, flushing)], Some("vda"), None), [WallKind::Flush]);
    }

    #[test]
    fn a_limit_that_is_reached_comes_first_whatever_else_is_full() {
        let limit = DiskLimit { iops: Some(500), bytes_per_second: None };
        let held = Held { writes_per_second: 490.0, ..Held::default() };
        let reached = HostSample { held: Some(held), ..sample(1.98, BUSY) };
        let found = kinds(&[reached], Some("vda"), Some(limit));
        assert_eq!(found, [WallKind::SimulatedLimit, WallKind::Cpu, WallKind::Disk]);
        let of_others = HostSample { held: Some(Held::default()), ..sample(0.5, BUSY) };
        assert_eq!(kinds(&[of_others], Some("vda"), Some(limit)), [WallKind::Disk]);
    }

    #[test]
    fn long_samples_count_for_more_than_short_ones() {
        let short = HostSample { seconds: 0.1, ..sample(2.0, DiskSample::default()) };
        let long = HostSample { seconds: 10.0, ..sample(0.2, DiskSample::default()) };
        assert_eq!(kinds(&[short, long], None, None), []);
    }

    #[test]
    fn memory_that_everybody_waits_for_is_a_wall() {
        let pressure = [("memory.full".to_owned(), 0.2)].into();
        let starved = HostSample { pressure, ..sample(0.2, DiskSample::default()) };
        assert_eq!(kinds(&[starved], None, None), [WallKind::Memory]);
    }
}
