//! The four numbers that an old benchmark script published, taken as it took them and as one should, side by side:
//! so that everybody can see on their own disk what the first ones are worth.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;

use crate::{
    blocks,
    buffer::Buffer,
    cli::Caching,
    crew::{self, Job, Lost, Measured, Post, Rules, Start},
    error::ProbeError,
    parameters::{LARGE, SMALL, SeedLoad},
    pattern::Generator,
    place::Site,
    platform,
    result::ProbeResult,
    samples::Operation,
};

/// Why the old method's numbers prove nothing.
pub(crate) const WHY: &str = "an old benchmark script's method wrote zeros through the cache, flushed nothing, and ran \
     once, on one thread. A disk need not store zeros, what was just written is read from memory, and what was \
     not flushed has not reached a disk: its numbers are those of memory, for as long as stands beside them";

/// One of the four numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Measurement {
    /// A file is made and written from its start to its end, in bytes.
    SequentialWrite,
    /// It is read from its start to its end, in bytes.
    SequentialRead,
    /// Files of 4 KiB are made in one folder, in files.
    SmallFiles,
    /// 4 KiB anywhere in the large file are read, one after another, in reads.
    RandomRead,
}

/// The four numbers, by both methods.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Comparison {
    pub measurements: Vec<Row>,
    /// Why those of the old method prove nothing.
    why: &'static str,
}

/// One number.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub measurement: Measurement,
    /// Zeros, cached, not flushed, once.
    pub as_the_old_script: Timed,
    /// Random data, around the cache where that can be, flushed, several times.
    pub honest: Honest,
}

/// What was done in how much time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timed {
    /// Bytes, files or reads.
    pub per_second: f64,
    /// How long the part was that this number comes from.
    pub timed_seconds: f64,
}

/// One number of several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Honest {
    pub median: Timed,
    pub lowest_per_second: f64,
    pub highest_per_second: f64,
    /// In the order in which they ran.
    pub runs: Vec<Timed>,
}

/// What makes the difference.
#[derive(Clone, Copy)]
struct Method {
    caching: Caching,
    random_data: bool,
    flush: bool,
    /// Whether random reads begin at multiples of their size.
    aligned: bool,
}

const OLD: Method = Method { caching: Caching::Cached, random_data: false, flush: false, aligned: false };

const fn honest(caching: Caching) -> Method {
    Method { caching, random_data: true, flush: true, aligned: true }
}

/// One run's files and the one thread that works on them.
struct Run {
    load: SeedLoad,
    method: Method,
    folder: PathBuf,
    generator: Generator,
    buffer: Buffer,
    /// Time that went into making data so far.
    generating: Duration,
}

type Part = fn(&mut Run, &Post) -> Result<(), Lost>;

/// In this order, in each run.
const PARTS: [(Measurement, Part); 4] = [
    (Measurement::SequentialWrite, Run::write),
    (Measurement::SequentialRead, Run::read),
    (Measurement::SmallFiles, Run::make_small_files),
    (Measurement::RandomRead, Run::read_anywhere),
];

/// How long each part of a run took, without making data.
type Spans = Vec<Duration>;

/// Measures by the old method once, and then honestly several times.
///
/// # Errors
/// When files cannot be made or no thread can be started. A disk that is lost on the way is in the answer.
pub(crate) fn measure(
    load: &SeedLoad,
    site: &Site<'_>,
    result: &mut ProbeResult,
) -> Result<Measured, ProbeError> {
    let (caching, refused) =
        blocks::usable_caching(site.scratch, Caching::Direct).map_err(ProbeError::prepare)?;
    result.cache_is(caching, refused);
    site.barrier.pass(site.stop)?;
    let (_, old) = match run_once(load, OLD, site, 0)? {
        whole if whole.1.len() == PARTS.len() => whole,
        (measured, _) => return Ok(measured),
    };
    let (mut total, mut spans) = (Measured::default(), Vec::new());
    for number in 1..=load.runs {
        let (measured, run) = run_once(load, honest(caching), site, number.into())?;
        total.absorb(measured);
        if run.len() < PARTS.len() {
            return Ok(total);
        }
        spans.push(run);
    }
    result.seed_was(Comparison::new(load, &old, &spans));
    Ok(total)
}

/// One run in a folder of its own, which is removed after it. Parts that were not finished have no span.
fn run_once(
    load: &SeedLoad,
    method: Method,
    site: &Site<'_>,
    number: u64,
) -> Result<(Measured, Spans), ProbeError> {
    let folder = site.scratch.join(format!("run-{number}"));
    fs_err::create_dir(&folder).map_err(ProbeError::prepare)?;
    let mut run = Run::new(load, method, &folder, number);
    let spans: Arc<Mutex<Spans>> = Arc::default();
    let done = Arc::clone(&spans);
    let job: Job = Box::new(move |post| {
        for (_, part) in PARTS {
            let span = run.time(post, part)?;
            if post.rules.stop.asked() {
                break;
            }
            done.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
        Ok(())
    });
    let rules = Rules::new(site.stop, load.timeout_seconds);
    let start = Start::together(&rules, 1, Duration::ZERO);
    let measured = crew::run(&rules, start, vec![job])?;
    if measured.lost.is_none() {
        fs_err::remove_dir_all(&folder).map_err(ProbeError::prepare)?;
    }
    let spans = spans.lock().unwrap_or_else(PoisonError::into_inner).clone();
    Ok((measured, spans))
}

impl Run {
    fn new(load: &SeedLoad, method: Method, folder: &Path, number: u64) -> Self {
        let mut buffer = Buffer::new(LARGE);
        buffer.bytes().fill(0);
        Self {
            load: load.clone(),
            method,
            folder: folder.to_owned(),
            generator: Generator::new(load.seed, number),
            buffer,
            generating: Duration::ZERO,
        }
    }

    fn time(&mut self, post: &Post, part: Part) -> Result<Duration, Lost> {
        let (begun, generating) = (post.rules.clock.now(), self.generating);
        part(self, post)?;
        let took = post.rules.clock.now().saturating_sub(begun);
        Ok(took.saturating_sub(self.generating - generating))
    }

    fn write(&mut self, post: &Post) -> Result<(), Lost> {
        let file = self.open()?;
        for block in post.running(self.load.blocks()) {
            self.make_data(post, LARGE);
            let (data, offset) = (self.buffer.bytes(), u64::from(block) * LARGE as u64);
            post.perform(Operation::Write, None, || {
                platform::write_all_at(&file, data, offset).map(|()| LARGE as u64)
            })?;
        }
        if self.method.flush {
            post.perform(Operation::Flush, None, || file.sync_data().map(|()| 0))?;
        }
        // The file is closed here: that is part of the time.
        Ok(())
    }

    fn read(&mut self, post: &Post) -> Result<(), Lost> {
        let file = self.open()?;
        for block in post.running(self.load.blocks()) {
            let (buffer, offset) = (self.buffer.bytes(), u64::from(block) * LARGE as u64);
            post.perform(Operation::Read, None, || {
                platform::read_exact_at(&file, buffer, offset).map(|()| LARGE as u64)
            })?;
        }
        Ok(())
    }

    fn make_small_files(&mut self, post: &Post) -> Result<(), Lost> {
        for number in post.running(self.load.files) {
            self.make_data(post, SMALL);
            let path = self.folder.join(format!("small-{number}"));
            let (data, flush) = (&self.buffer.bytes()[..SMALL], self.method.flush);
            post.perform(Operation::WriteFile, None, || {
                let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
                file.write_all(data)?;
                if flush {
                    file.sync_all()?;
                }
                Ok(SMALL as u64)
            })?;
        }
        Ok(())
    }

    fn read_anywhere(&mut self, post: &Post) -> Result<(), Lost> {
        let file = self.open()?;
        for _ in post.running(self.load.reads) {
            let offset = self.anywhere();
            let buffer = &mut self.buffer.bytes()[..SMALL];
            post.perform(Operation::RandomRead, None, || {
                platform::read_exact_at(&file, buffer, offset).map(|()| SMALL as u64)
            })?;
        }
        Ok(())
    }

    /// Any byte that enough follow, or any block.
    fn anywhere(&mut self) -> u64 {
        let (size, block) = (self.load.file_bytes, SMALL as u64);
        if self.method.aligned {
            self.generator.below(size / block) * block
        } else {
            self.generator.below(size - block + 1)
        }
    }

    fn open(&self) -> Result<File, Lost> {
        platform::open(&self.folder.join("large"), self.method.caching)
            .map_err(|error: io::Error| Lost(error.to_string()))
    }

    fn make_data(&mut self, post: &Post, length: usize) {
        if self.method.random_data {
            let (generator, data) = (&mut self.generator, &mut self.buffer.bytes()[..length]);
            self.generating += post.make_data(|| generator.fill(data));
        }
    }
}

impl Comparison {
    fn new(load: &SeedLoad, old: &Spans, honest: &[Spans]) -> Self {
        let row = |(part, (measurement, _)): (usize, &(Measurement, Part))| {
            let amount = load.amount(*measurement);
            let runs = honest.iter().map(|spans| Timed::new(amount, spans[part])).collect();
            Row {
                measurement: *measurement,
                as_the_old_script: Timed::new(amount, old[part]),
                honest: Honest::new(runs),
            }
        };
        Self { measurements: PARTS.iter().enumerate().map(row).collect(), why: WHY }
    }
}

impl Timed {
    fn new(amount: u64, span: Duration) -> Self {
        let timed_seconds = span.as_secs_f64();
        Self { per_second: amount as f64 / timed_seconds.max(f64::MIN_POSITIVE), timed_seconds }
    }
}

impl Honest {
    /// Of an even number of runs the median is the lower of both in the middle: a run that there was.
    fn new(runs: Vec<Timed>) -> Self {
        let mut sorted = runs.clone();
        sorted.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
        let at = |index: usize| sorted[index];
        let last = sorted.len() - 1;
        Self {
            median: at(last / 2),
            lowest_per_second: at(0).per_second,
            highest_per_second: at(last).per_second,
            runs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timed(per_second: f64) -> Timed {
        Timed { per_second, timed_seconds: 1.0 / per_second }
    }

    #[test]
    fn the_median_is_a_run_that_there_was() {
        let found = Honest::new([4.0, 1.0, 3.0, 2.0].map(timed).to_vec());
        assert_eq!(found.median, timed(2.0));
        assert_eq!((found.lowest_per_second, found.highest_per_second), (1.0, 4.0));
        assert_eq!(found.runs[0], timed(4.0));
        assert_eq!(Honest::new(vec![timed(5.0)]).median, timed(5.0));
    }

    #[test]
    fn rates_are_amounts_over_the_timed_part() {
        assert_eq!(Timed::new(1000, Duration::from_micros(21_800)).per_second.round(), 45_872.0);
        assert!(Timed::new(1, Duration::ZERO).per_second.is_finite());
    }
}
