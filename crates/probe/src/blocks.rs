//! Loads on the blocks of large files: makes the files, warms up, measures.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, atomic::AtomicU64},
    time::Duration,
};

use crate::{
    buffer::{ALIGNMENT, Buffer},
    cli::{Caching, Engine, Flush, Spacing},
    clock::Stop,
    crew::{self, Job, Measured, Rules, Start},
    error::ProbeError,
    goal,
    load::{self, Arrivals, Device, Pace, Positions, Task, Worker},
    parameters::{Access, BlockLoad, Timing},
    pattern::Generator,
    place::Site,
    platform,
    result::ProbeResult,
    samples::Operation,
};

/// Bytes of one write when files are made.
const LAYOUT_BLOCK: u64 = 1 << 20;

/// Streams of random numbers, so that no two uses share one: what is written while measuring, while warming up,
/// when files are made; where blocks lie; when operations are due.
const DATA: u64 = 0;
const WARMUP: u64 = 1 << 31;
/// Between two steps of a search: more than there are workers.
const STEP: u64 = 1 << 16;
const LAYOUT: u64 = 1 << 32;
const POSITIONS: u64 = 2 << 32;
const ARRIVALS: u64 = 3 << 32;

/// A file that takes a worker's operations, with one buffer.
struct FileDevice {
    file: File,
    buffer: Buffer,
    generator: Generator,
}

impl FileDevice {
    fn open(path: &Path, caching: Caching, block: u64, generator: Generator) -> io::Result<Self> {
        let length = usize::try_from(block).map_err(io::Error::other)?;
        Ok(Self { file: platform::open(path, caching)?, buffer: Buffer::new(length), generator })
    }
}

impl Device for FileDevice {
    fn prepare(&mut self) {
        self.generator.fill(self.buffer.bytes());
    }

    fn read(&mut self, offset: u64) -> io::Result<u64> {
        platform::read_exact_at(&self.file, self.buffer.bytes(), offset)?;
        Ok(self.buffer.bytes().len() as u64)
    }

    fn write(&mut self, offset: u64) -> io::Result<u64> {
        platform::write_all_at(&self.file, self.buffer.bytes(), offset)?;
        Ok(self.buffer.bytes().len() as u64)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// Makes the files in `scratch`, warms up and measures.
///
/// # Errors
/// When files cannot be made or opened, or no thread can be started. A disk that is lost while it is measured
/// is in the answer.
pub(crate) fn measure(
    load: &BlockLoad,
    site: &Site<'_>,
    result: &mut ProbeResult,
) -> Result<Measured, ProbeError> {
    let (caching, refused) = usable_caching(site.scratch, load.cache).map_err(ProbeError::prepare)?;
    result.cache_is(caching, refused);
    let files = make_files(load, site).map_err(ProbeError::prepare)?;
    site.barrier.pass(site.stop)?;
    let field = Field { files, caching, rules: Rules::new(site.stop, load.timeout_seconds) };
    let Some((goal, timing)) = load.goal.zip(load.arrivals) else { return field.run(load, 0) };
    let step = |number: usize, per_second: f64| {
        let load = BlockLoad { arrivals: Some(Timing { per_second, ..timing }), ..load.clone() };
        field.run(&load, number as u64)
    };
    let bounds = goal.bounds(timing.per_second, load.duration_seconds);
    let (reached, measured) = goal::search(goal, bounds, || site.stop.asked(), step)?;
    result.goal_was(reached);
    Ok(measured)
}

/// What a load runs on.
struct Field {
    files: Vec<PathBuf>,
    caching: Caching,
    rules: Rules,
}

impl Field {
    /// Warms up and measures, for the `number`-th time.
    fn run(&self, load: &BlockLoad, number: u64) -> Result<Measured, ProbeError> {
        if load.warmup_seconds > 0.0 {
            let phase = Phase { seconds: load.warmup_seconds, stream: WARMUP + number * STEP };
            let warm = run(load, self, &phase)?;
            if self.rules.stop.asked() {
                return Ok(warm);
            }
        }
        run(load, self, &Phase { seconds: load.duration_seconds, stream: DATA + number * STEP })
    }
}

/// What this file system can do of `asked`, and what it said where it cannot. Some let a file be opened for direct
/// I/O and then refuse the I/O, so both are tried.
///
/// # Errors
/// When a file cannot be made, written or read for another reason.
pub(crate) fn usable_caching(scratch: &Path, asked: Caching) -> io::Result<(Caching, Option<String>)> {
    if asked == Caching::Cached {
        return Ok((asked, None));
    }
    let path = scratch.join("trial");
    let block = ALIGNMENT as u64;
    let trial = FileDevice::open(&path, asked, block, Generator::new(0, 0))
        .and_then(|mut device| device.write(0).and_then(|_| device.read(0)));
    judge(trial)
}

/// What a trial of direct I/O says.
fn judge(trial: io::Result<u64>) -> io::Result<(Caching, Option<String>)> {
    match trial {
        Ok(_) => Ok((Caching::Direct, None)),
        Err(error) if platform::is_no_direct_io(&error) => Ok((Caching::Cached, Some(error.to_string()))),
        Err(error) => Err(error),
    }
}

fn make_files(load: &BlockLoad, site: &Site<'_>) -> io::Result<Vec<PathBuf>> {
    let files: Vec<PathBuf> = (0..load.threads).map(|n| site.scratch.join(format!("data-{n}"))).collect();
    for (stream, path) in (LAYOUT..).zip(&files) {
        if load.first_touch {
            leave_empty(path, load.file_bytes)?;
        } else {
            lay_out(path, load.file_bytes, Generator::new(load.seed, stream), site.stop)?;
        }
    }
    Ok(files)
}

/// Writes a whole file of random data, so that no read meets a hole and no write has to find a place.
fn lay_out(path: &Path, size: u64, generator: Generator, stop: &Stop) -> io::Result<()> {
    let mut device = FileDevice::open(path, Caching::Cached, LAYOUT_BLOCK, generator)?;
    for offset in (0..size).step_by(1 << 20) {
        if stop.asked() {
            return Ok(());
        }
        device.prepare();
        device.write(offset)?;
    }
    device.file.set_len(size)?;
    device.file.sync_all()
}

/// Makes a file of that size in which no block has a place on the disk yet.
fn leave_empty(path: &Path, size: u64) -> io::Result<()> {
    let file = platform::open(path, Caching::Cached)?;
    file.set_len(size)?;
    file.sync_all()
}

/// A stretch of time under load.
struct Phase {
    seconds: f64,
    /// Where its data begins.
    stream: u64,
}

fn run(load: &BlockLoad, field: &Field, phase: &Phase) -> Result<Measured, ProbeError> {
    let Field { files, caching, rules } = field;
    let ready = if load.arrivals.is_some() { READY } else { Duration::ZERO };
    let start = Start::together(rules, load.workers(), ready);
    let pace = Arc::new(pace(load, start.origin, Duration::from_secs_f64(phase.seconds)));
    let fronts: Vec<Front> = (0..).zip(files).map(|(n, _)| Front::new(load, n)).collect();
    let mut jobs = Vec::with_capacity(load.workers());
    for worker in 0..load.workers() as u64 {
        let file = usize::try_from(worker).unwrap_or(0) % files.len();
        let generator = Generator::new(load.seed, phase.stream + worker);
        // Buffers are made and files opened here, before the common start.
        let opened = FileDevice::open(&files[file], *caching, load.block_bytes, generator);
        let positions = positions(load, &fronts[file], phase.stream + worker);
        let job = opened.and_then(|device| job(load, device, &pace, positions));
        jobs.push(job.map_err(ProbeError::prepare)?);
    }
    crew::run(rules, start, jobs)
}

/// How long workers have to wake before the first operation of an open loop is due.
const READY: Duration = Duration::from_millis(5);

fn pace(load: &BlockLoad, begin: Duration, length: Duration) -> Pace {
    load.arrivals.map_or(Pace::Closed { end: begin + length }, |timing| {
        let random = (timing.spacing == Spacing::Poisson).then(|| Generator::new(load.seed, ARRIVALS));
        Pace::Open(Mutex::new(Arrivals::new(begin, begin + length, timing.per_second, random)))
    })
}

/// What workers of one file share.
struct Front {
    taken: Arc<AtomicU64>,
    /// For blocks that come once and in no order.
    order: Option<Arc<Vec<u32>>>,
}

impl Front {
    fn new(load: &BlockLoad, file: u64) -> Self {
        let shuffle = load.first_touch && load.access == Access::Random;
        let order = shuffle.then(|| {
            // 2³² blocks of 4 KiB are 16 TiB, more than anybody writes once.
            let blocks = u32::try_from(load.file_bytes / load.block_bytes).unwrap_or(u32::MAX);
            Arc::new(load::shuffled(blocks, &mut Generator::new(load.seed, POSITIONS + file)))
        });
        Self { taken: Arc::default(), order }
    }
}

/// Warming up must not read the very blocks that are measured next: a cache below us would have them.
fn positions(load: &BlockLoad, front: &Front, stream: u64) -> Positions {
    let taken = Arc::clone(&front.taken);
    match (load.first_touch, load.access) {
        (true, _) => Positions::Once { taken, order: front.order.clone() },
        (false, Access::Sequential) => Positions::Sequential(taken),
        (false, Access::Random) => Positions::Random(Generator::new(load.seed, POSITIONS + stream)),
    }
}

fn job(load: &BlockLoad, device: FileDevice, pace: &Arc<Pace>, positions: Positions) -> io::Result<Job> {
    let task = Task {
        positions,
        pace: Arc::clone(pace),
        operation: load.operation,
        block: load.block_bytes,
        blocks: load.file_bytes / load.block_bytes,
        flush_at_end: load.operation == Operation::Write && load.flush == Some(Flush::End),
    };
    if load.engine == Engine::IoUring {
        let FileDevice { file, generator, .. } = device;
        return platform::ring_job(Lane { file, generator, depth: load.queue_depth, task });
    }
    let worker = Worker { device: Box::new(device), task };
    Ok(Box::new(move |post| worker.work(post)))
}

/// All that one thread with a queue of its own does on a file.
#[cfg_attr(windows, expect(dead_code, reason = "Windows has no engine with queues here yet"))]
pub(crate) struct Lane {
    /// The file.
    pub file: File,
    /// Makes data.
    pub generator: Generator,
    /// How many operations can be under way.
    pub depth: u16,
    /// What is done.
    pub task: Task,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{cli::Cli, parameters::Parameters};

    #[test]
    fn warming_up_goes_elsewhere_and_so_does_each_worker() {
        let cli = Cli::try_parse_from(["winstead-probe", "rand-read", "--seed", "1"]).expect("arguments");
        let Ok(Parameters::Blocks(load)) = Parameters::read(&cli.workload) else {
            panic!("no load on blocks")
        };
        let front = Front::new(&load, 0);
        let first = |stream| -> Vec<u64> {
            let mut positions = positions(&load, &front, stream);
            (0..8).filter_map(|_| positions.next(1 << 30)).collect()
        };
        assert_eq!(first(DATA), first(DATA));
        assert_ne!(first(DATA), first(WARMUP));
        assert_ne!(first(DATA), first(DATA + 1));
    }

    #[test]
    fn a_file_system_that_refuses_direct_io_is_told_from_a_disk_that_fails() {
        assert_eq!(judge(Ok(1)).expect("direct"), (Caching::Direct, None));
        let refused = judge(Err(io::Error::from_raw_os_error(platform::NO_DIRECT_IO[0])));
        let (used, said) = refused.expect("through the cache");
        assert!(used == Caching::Cached && said.is_some());
        judge(Err(io::ErrorKind::StorageFull.into()))
            .expect_err("a full disk is no reason to measure a cache");
    }
}
