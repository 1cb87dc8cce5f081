//! What the kernel counts, and what two looks at it say. Pure: texts in, numbers out.

use std::collections::BTreeMap;

use winstead_measurement::wall::{DiskSample, Held, HostSample};

use crate::limit::Done;

/// Sectors of `/proc/diskstats` have that many bytes, whatever the device's have.
const SECTOR: f64 = 512.0;

/// One look at a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counters {
    /// When, in seconds from any start.
    pub at: f64,
    /// Seconds of all cores since boot.
    pub cpu: Cpu,
    /// CPU seconds of the machines' QEMUs.
    pub qemu: f64,
    /// Seconds that somebody waited, by `cpu.some`, `io.full`, ….
    pub waited: BTreeMap<String, f64>,
    /// Memory that a new process could have.
    pub memory_available: u64,
    /// Each block device's counters.
    pub disks: BTreeMap<String, Disk>,
    /// What machines that are held to a rate have done.
    pub held: Option<Done>,
}

/// Seconds of all cores since boot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cpu {
    pub busy: f64,
    pub stolen: f64,
}

/// Counters of a block device: [iostats.rst]'s fields, times in seconds.
///
/// [iostats.rst]: https://docs.kernel.org/admin-guide/iostats.html
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Disk {
    reads: f64,
    read_sectors: f64,
    reading: f64,
    writes: f64,
    written_sectors: f64,
    writing: f64,
    busy: f64,
    in_flight: f64,
    flushes: f64,
    flushing: f64,
}

/// The first line of `/proc/stat`, in ticks of which a second has `ticks`. Time that waits for a disk is idle.
pub(crate) fn cpu(stat: &str, ticks: f64) -> Option<Cpu> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<f64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests' time is in user already.
    let &[user, nice, system, _, _, irq, softirq, steal] = fields.get(..8)?.first_chunk::<8>()?;
    Some(Cpu { busy: (user + nice + system + irq + softirq) / ticks, stolen: steal / ticks })
}

/// How many cores `/proc/stat` counts: all that are there, whoever may use them, as busy ones are counted there, too.
pub(crate) fn cores(stat: &str) -> u32 {
    let is_core = |line: &&str| line.starts_with("cpu") && !line.starts_with("cpu ");
    u32::try_from(stat.lines().filter(is_core).count()).unwrap_or(u32::MAX)
}

/// CPU seconds of a process, from its `/proc/PID/stat`. Its name, in brackets, may hold anything.
pub(crate) fn process(stat: &str, ticks: f64) -> Option<f64> {
    let (_, after) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // Fields 14 and 15; the first after the name is field 3.
    let time = |index: usize| fields.get(index)?.parse::<f64>().ok();
    Some((time(11)? + time(12)?) / ticks)
}

/// What `/proc/pressure/NAME` says: seconds in all, by `NAME.some` and `NAME.full`.
pub(crate) fn pressure(name: &str, text: &str) -> BTreeMap<String, f64> {
    let line = |line: &str| {
        let (kind, rest) = line.split_once(' ')?;
        let micros: f64 = rest.rsplit_once("total=")?.1.trim().parse().ok()?;
        Some((format!("{name}.{kind}"), micros / 1e6))
    };
    text.lines().filter_map(line).collect()
}

/// Each device of `/proc/diskstats`. Kernels before 5.5 count no flushes.
pub(crate) fn disks(diskstats: &str) -> BTreeMap<String, Disk> {
    diskstats.lines().filter_map(disk).collect()
}

fn disk(line: &str) -> Option<(String, Disk)> {
    let mut words = line.split_whitespace().skip(2);
    let name = words.next()?.to_owned();
    let fields: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>().ok()?;
    // The kernel's documentation counts from 1.
    let field = |number: usize| fields.get(number - 1).copied().unwrap_or_default();
    let seconds = |number: usize| field(number) / 1e3;
    fields.get(10)?;
    let disk = Disk {
        reads: field(1),
        read_sectors: field(3),
        reading: seconds(4),
        writes: field(5),
        written_sectors: field(7),
        writing: seconds(8),
        busy: seconds(10),
        in_flight: seconds(11),
        flushes: field(16),
        flushing: seconds(17),
    };
    Some((name, disk))
}

/// What is shorter says nothing: the kernel counts processor time in hundredths of a second.
const SHORTEST: f64 = 0.1;

/// What a host did between two looks; `None` when hardly any time passed between them.
pub(crate) fn between(before: &Counters, after: &Counters) -> Option<HostSample> {
    let seconds = after.at - before.at;
    if seconds < SHORTEST {
        return None;
    }
    // Counters of what has ended in between go back.
    let rate = |before: f64, after: f64| ((after - before) / seconds).max(0.0);
    let pressure = after
        .waited
        .iter()
        .filter_map(|(name, waited)| Some((name.clone(), rate(*before.waited.get(name)?, *waited).min(1.0))));
    let disks = after.disks.iter().filter_map(|(name, disk)| {
        let sample = disk_sample(before.disks.get(name)?, disk, &rate);
        (sample != DiskSample::default()).then(|| (name.clone(), sample))
    });
    Some(HostSample {
        at_seconds: after.at,
        seconds,
        busy_cpus: rate(before.cpu.busy, after.cpu.busy),
        stolen_cpus: rate(before.cpu.stolen, after.cpu.stolen),
        qemu_cpus: rate(before.qemu, after.qemu),
        pressure: pressure.collect(),
        memory_available_bytes: after.memory_available,
        disks: disks.collect(),
        held: before.held.zip(after.held).map(|(before, after)| Held {
            reads_per_second: rate(before.reads, after.reads),
            writes_per_second: rate(before.writes, after.writes),
            read_bytes_per_second: rate(before.read_bytes, after.read_bytes),
            written_bytes_per_second: rate(before.written_bytes, after.written_bytes),
        }),
    })
}

fn disk_sample(before: &Disk, after: &Disk, rate: &impl Fn(f64, f64) -> f64) -> DiskSample {
    let of = |field: fn(&Disk) -> f64| rate(field(before), field(after));
    let each = |time: fn(&Disk) -> f64, count: fn(&Disk) -> f64| {
        let count = of(count);
        if count > 0.0 { of(time) / count * 1e3 } else { 0.0 }
    };
    DiskSample {
        reads_per_second: of(|disk| disk.reads),
        writes_per_second: of(|disk| disk.writes),
        read_bytes_per_second: of(|disk| disk.read_sectors) * SECTOR,
        written_bytes_per_second: of(|disk| disk.written_sectors) * SECTOR,
        read_millis: each(|disk| disk.reading, |disk| disk.reads),
        write_millis: each(|disk| disk.writing, |disk| disk.writes),
        flushes_per_second: of(|disk| disk.flushes),
        flush_millis: each(|disk| disk.flushing, |disk| disk.flushes),
        in_flight: of(|disk| disk.in_flight),
        busy: of(|disk| disk.busy).min(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_for_a_disk_is_idle_and_stolen_time_is_not_ours() {
        let read = cpu("cpu  100 20 30 4000 500 6 4 70 15 0\ncpu0 1 2 3", 100.0).expect("a cpu line");
        assert_eq!(read, Cpu { busy: 1.6, stolen: 0.7 });
        assert_eq!(cpu("intr 5", 100.0), None);
        assert_eq!(cores("cpu  1 2\ncpu0 1 2\ncpu1 1 2\nintr 5"), 2);
    }

    #[test]
    fn a_process_may_be_called_anything() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194560 5 0 0 0 150 50 0 0 20 0 1 0 100 0 0";
        assert_eq!(process(stat, 100.0), Some(2.0));
        assert_eq!(process("42 nothing", 100.0), None);
    }

    #[test]
    fn pressure_is_read_in_seconds() {
        let text =
            "some avg10=0.00 avg60=1.5 avg300=2 total=1500000\nfull avg10=0 avg60=0 avg300=0 total=20\n";
        let read = pressure("io", text);
        assert_eq!(read, [("io.full".to_owned(), 2e-5), ("io.some".to_owned(), 1.5)].into());
    }

    /// The example of a busy disk: 1000 reads of 8 sectors that took 2 s together, half of the time busy.
    #[test]
    fn diskstats_become_what_a_person_means() {
        let before = Counters { disks: disks("254 0 vda 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"), ..at(10.0) };
        let line = "254 0 vda 1000 0 8000 2000 50 0 800 400 1 500 2400 0 0 0 0 20 60";
        let after = Counters { disks: disks(line), ..at(11.0) };
        let sample = between(&before, &after).expect("a second passed").disks["vda"];
        let expected = DiskSample {
            reads_per_second: 1000.0,
            writes_per_second: 50.0,
            read_bytes_per_second: 4_096_000.0,
            written_bytes_per_second: 409_600.0,
            read_millis: 2.0,
            write_millis: 8.0,
            flushes_per_second: 20.0,
            flush_millis: 3.0,
            in_flight: 2.4,
            busy: 0.5,
        };
        assert_eq!(sample, expected);
    }

    #[test]
    fn devices_that_did_nothing_and_lines_that_are_none_are_left_out() {
        let lines = "254 0 vda 1 0 8 2 0 0 0 0 0 1 1\n7 0 loop0 0\nnonsense\n";
        let counters = |at: f64| Counters { disks: disks(lines), ..self::at(at) };
        assert_eq!(counters(0.0).disks.len(), 1);
        assert!(between(&counters(0.0), &counters(1.0)).expect("time").disks.is_empty());
        assert_eq!(between(&counters(1.0), &counters(1.05)), None);
    }

    fn at(at: f64) -> Counters {
        Counters { at, ..Counters::default() }
    }
}
