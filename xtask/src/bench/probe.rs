//! `winstead-probe` against fio: the same load on the same folder, in turns.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use fs_err as fs;
use serde_json::Value;

use crate::{
    bench::{
        lab::Lab,
        record::{Bench, Goal, Series},
    },
    command::Command,
    product, report,
};

const SIZE_MIB: u32 = 256;
const SECONDS: u32 = 2;
const BLOCKS_KIB: [u32; 3] = [4, 64, 1024];
const DEPTHS: [u32; 2] = [1, 32];

/// One load in one place.
struct Cell {
    folder: PathBuf,
    place: &'static str,
    block_kib: u32,
    depth: u32,
    writes: bool,
}

/// What one run says.
#[derive(Clone, Copy)]
struct Found {
    per_second: f64,
    p99_nanos: f64,
    cpu_micros_each: f64,
}

/// What is compared, how far the ratio may be from 1, and whether less is fine.
struct Figure {
    name: &'static str,
    of: fn(&Found) -> f64,
    tolerance: f64,
    less_is_fine: bool,
}

const FIGURES: [Figure; 3] = [
    Figure { name: "IOPS", of: |found| found.per_second, tolerance: 0.03, less_is_fine: false },
    Figure { name: "p99", of: |found| found.p99_nanos, tolerance: 0.1, less_is_fine: false },
    Figure { name: "CPU per I/O", of: |found| found.cpu_micros_each, tolerance: 0.0, less_is_fine: true },
];

/// Measures every cell with both, each repeat beginning with the other one.
///
/// # Errors
/// When either fails.
pub(super) fn run(lab: &Lab) -> anyhow::Result<Bench> {
    let probe = product::static_probe()?;
    let (disk, memory) = (lab.scratch().join("probe"), PathBuf::from("/dev/shm/winstead-bench-probe"));
    let mut series = Vec::new();
    for cell in cells(&disk, &memory) {
        fs::create_dir_all(&cell.folder)?;
        let ratios = compare(&cell, &probe, lab.repeats());
        fs::remove_dir_all(&cell.folder)?;
        series.extend(ratios.with_context(|| format!("measure {}", cell.name()))?);
    }
    let goals = FIGURES.iter().map(|figure| goal(figure, &series)).collect::<anyhow::Result<_>>()?;
    let method = format!(
        "both with io_uring, direct I/O, {SIZE_MIB} MiB, new random data for each write (fio: refill_buffers), {SECONDS} s, \
         pairs in turn after one that is not counted; ratios of each pair, ours by fio's; CPU: user and system time of the \
         whole process with the kernel's io workers, by operations: of the measured seconds for ours, from start to end for \
         fio, which says only its own thread's"
    );
    Ok(Bench { name: "probe", method, series, goals })
}

fn cells(disk: &Path, memory: &Path) -> Vec<Cell> {
    let mut cells = Vec::new();
    for (place, folder) in [("disk", disk), ("tmpfs", memory)] {
        for block_kib in BLOCKS_KIB {
            for depth in DEPTHS {
                for writes in [false, true] {
                    cells.push(Cell { folder: folder.to_owned(), place, block_kib, depth, writes });
                }
            }
        }
    }
    cells
}

impl Cell {
    fn name(&self) -> String {
        let what = if self.writes { "write" } else { "read" };
        format!("{} {what} {}k QD{}", self.place, self.block_kib, self.depth)
    }

    /// Arguments of the probe.
    fn probe(&self, program: &Path) -> Vec<String> {
        let workload = if self.writes { "rand-write" } else { "rand-read" };
        let mut words = vec![program.display().to_string(), workload.to_owned()];
        words.push(self.folder.display().to_string());
        words.extend([
            format!("--block={}KiB", self.block_kib),
            format!("--queue-depth={}", self.depth),
            format!("--working-set={SIZE_MIB}MiB"),
            format!("--duration={SECONDS}s"),
            "--warmup=0s".to_owned(),
            "--engine=io-uring".to_owned(),
            "--output=json".to_owned(),
        ]);
        words.extend(self.writes.then(|| "--flush=never".to_owned()));
        words
    }

    fn fio(&self) -> Vec<String> {
        let what = if self.writes { "randwrite" } else { "randread" };
        [
            "fio".to_owned(),
            "--name=bench".to_owned(),
            format!("--filename={}", self.folder.join("fio").display()),
            format!("--rw={what}"),
            format!("--bs={}k", self.block_kib),
            format!("--iodepth={}", self.depth),
            format!("--size={SIZE_MIB}m"),
            format!("--runtime={SECONDS}"),
            "--time_based".to_owned(),
            "--ioengine=io_uring".to_owned(),
            "--direct=1".to_owned(),
            "--norandommap".to_owned(),
            "--randrepeat=0".to_owned(),
            "--refill_buffers".to_owned(),
            // The probe writes where its files have blocks already.
            "--overwrite=1".to_owned(),
            "--lat_percentiles=1".to_owned(),
            "--output-format=json".to_owned(),
        ]
        .into()
    }
}

/// Ratios of each pair, a series for each figure.
fn compare(cell: &Cell, program: &Path, repeats: usize) -> anyhow::Result<Vec<Series>> {
    let mut series: Vec<Series> =
        FIGURES.iter().map(|figure| Series::new(format!("{}: {}", figure.name, cell.name()), "×")).collect();
    // Lays fio's file out, and warms both up.
    of_fio(cell)?;
    of_probe(cell, program)?;
    for repeat in 0..repeats {
        let (ours, fio) = if repeat.is_multiple_of(2) {
            let ours = of_probe(cell, program)?;
            (ours, of_fio(cell)?)
        } else {
            let fio = of_fio(cell)?;
            (of_probe(cell, program)?, fio)
        };
        for (series, figure) in series.iter_mut().zip(&FIGURES) {
            series.samples.push((figure.of)(&ours) / (figure.of)(&fio));
        }
    }
    let shown: Vec<String> = series
        .iter()
        .zip(&FIGURES)
        .map(|(series, figure)| Ok(format!("{} {:.2}", figure.name, series.median()?)))
        .collect::<anyhow::Result<_>>()?;
    report::line(format_args!("  {:<24} {}", cell.name(), shown.join("   ")));
    Ok(series)
}

fn of_probe(cell: &Cell, program: &Path) -> anyhow::Result<Found> {
    let said: Value = serde_json::from_str(&Command::new(cell.probe(program)).read()?)?;
    let done = &said["operations"][if cell.writes { "write" } else { "read" }];
    let number = |value: &Value| value.as_f64().context("find a number of the probe's");
    Ok(Found {
        per_second: number(&done["perSecond"])?,
        p99_nanos: number(&done["percentileNanos"]["p99"])?,
        cpu_micros_each: number(&said["cpuSeconds"])? * 1e6 / number(&done["count"])?,
    })
}

fn of_fio(cell: &Cell) -> anyhow::Result<Found> {
    let before = cpu_of_children()?;
    let said = Command::new(cell.fio()).read()?;
    let busy = cpu_of_children()? - before;
    // fio writes remarks before its document.
    let said: Value = serde_json::from_str(said.get(said.find('{').unwrap_or(0)..).unwrap_or_default())?;
    let job = &said["jobs"][0];
    let done = &job[if cell.writes { "write" } else { "read" }];
    let number = |value: &Value| value.as_f64().context("find a number of fio's");
    Ok(Found {
        per_second: number(&done["iops"])?,
        p99_nanos: number(&done["lat_ns"]["percentile"]["99.000000"])?,
        cpu_micros_each: busy * 1e6 / number(&done["total_ios"])?,
    })
}

/// Processor seconds of all processes that this one has waited for, and of theirs (proc(5), fields 16 and 17 of `stat`).
fn cpu_of_children() -> anyhow::Result<f64> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, after) = stat.rsplit_once(')').context("find the fields of /proc/self/stat")?;
    let ticks: Vec<f64> =
        after.split_whitespace().skip(13).take(2).map(str::parse).collect::<Result<_, _>>()?;
    #[expect(clippy::cast_precision_loss, reason = "a hundred")]
    let a_second = rustix::param::clock_ticks_per_second() as f64;
    Ok(ticks.iter().sum::<f64>() / a_second)
}

/// How many cells are further from fio than allowed.
fn goal(figure: &Figure, series: &[Series]) -> anyhow::Result<Goal> {
    let own = series.iter().filter(|series| series.arm.starts_with(&format!("{}: ", figure.name)));
    let ratios = own.map(Series::median).collect::<anyhow::Result<Vec<f64>>>()?;
    let (low, high) = (1.0 - figure.tolerance, 1.0 + figure.tolerance);
    let off = ratios.iter().filter(|ratio| **ratio > high || (**ratio < low && !figure.less_is_fine)).count();
    #[expect(clippy::cast_precision_loss, reason = "two dozen")]
    let off = off as f64;
    let allowed = match (figure.less_is_fine, figure.tolerance) {
        (true, _) => "above fio's".to_owned(),
        (false, share) => format!("more than {:.0} % from fio's", share * 100.0),
    };
    Ok(Goal::at_most(format!("{} of {} loads {allowed}", figure.name, ratios.len()), off, 0.0))
}
