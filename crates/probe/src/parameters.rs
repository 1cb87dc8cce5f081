//! What is to be measured, checked: everything that can be wrong with it is said at once, before anything is
//! written. No I/O.

mod files;
mod seed;

use std::{fmt::Display, time::Duration};

use serde::Serialize;
use winstead_spec::{ByteSize, Span};

use crate::{
    buffer::ALIGNMENT,
    cli::{Blocks, Caching, Direction, Engine, Flush, Open, Spacing, Workload},
    goal::Goal,
    pattern,
    samples::Operation,
};

pub(crate) use files::FileLoad;
pub(crate) use seed::{LARGE, SMALL, SeedLoad};

/// What has no place in a working set's arithmetic: folders, the file system's own blocks.
const ROOM_BESIDE: u64 = 16 << 20;

/// More threads than that measure the scheduler.
const MOST_WORKERS: u32 = 512;

/// Larger blocks only take memory.
const LARGEST_BLOCK: u64 = 64 << 20;

/// Each of them is kept in mind where all come once in random order: 256 MiB.
const MOST_SHUFFLED: u64 = 1 << 26;

const LONGEST: Duration = Duration::from_hours(24);

const DURATION: Span = Span::from_secs(30);

/// Of each step of a search.
const STEP_DURATION: Span = Span::from_secs(10);

/// What an open loop can be asked for: beyond it the loop's own microseconds are what is measured.
pub(crate) const HIGHEST_RATE: f64 = 1e6;

/// A load on blocks or on files. As it stands in a result.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Parameters {
    /// Blocks of large files.
    Blocks(BlockLoad),
    /// Trees of small files.
    Files(FileLoad),
    /// The four numbers of an old script.
    Seed(SeedLoad),
}

/// A load on the blocks of large files.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct BlockLoad {
    pub workload: &'static str,
    pub operation: Operation,
    pub access: Access,
    pub block_bytes: u64,
    pub queue_depth: u16,
    pub threads: u16,
    /// Of each of the `threads` files.
    pub file_bytes: u64,
    pub cache: Caching,
    pub engine: Engine,
    /// Nothing for a load that only reads.
    pub flush: Option<Flush>,
    /// Whether each block is written once, into files that have none yet.
    pub first_touch: bool,
    /// Nothing for a closed loop. With a goal it is where the search begins.
    pub arrivals: Option<Timing>,
    /// What is searched for; nothing without a search.
    pub goal: Option<Goal>,
    pub duration_seconds: f64,
    pub warmup_seconds: f64,
    pub timeout_seconds: f64,
    pub seed: u64,
}

/// In which order blocks come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Access {
    /// One after another.
    Sequential,
    /// Any.
    Random,
}

/// When operations of an open loop are due.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Timing {
    pub per_second: f64,
    pub spacing: Spacing,
}

/// One thing that is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What is wrong, beginning with the argument's name.
    pub what: String,
    /// What helps.
    pub hint: String,
}

/// Collects problems.
#[derive(Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn unless(&mut self, fine: bool, what: impl Display, hint: impl Display) {
        if !fine {
            self.0.push(Problem { what: what.to_string(), hint: hint.to_string() });
        }
    }

    fn or<T>(self, value: T) -> Result<T, Vec<Problem>> {
        if self.0.is_empty() { Ok(value) } else { Err(self.0) }
    }
}

/// How a block workload differs from the others.
struct Shape {
    name: &'static str,
    access: Access,
    block: ByteSize,
    queue_depth: u16,
    direction: Direction,
    first_touch: bool,
}

const SEQUENTIAL_BLOCK: ByteSize = ByteSize::from_mib(1);
const RANDOM_BLOCK: ByteSize = ByteSize::from_bytes(4096);

const fn sequential(name: &'static str, direction: Direction) -> Shape {
    Shape {
        name,
        access: Access::Sequential,
        block: SEQUENTIAL_BLOCK,
        queue_depth: 1,
        direction,
        first_touch: false,
    }
}

const fn random(name: &'static str, direction: Direction) -> Shape {
    Shape { name, access: Access::Random, block: RANDOM_BLOCK, queue_depth: 1, direction, first_touch: false }
}

/// Users do not wait for each other before they ask, so an open loop is to have places left.
const fn open_loop(direction: Direction) -> Shape {
    Shape { queue_depth: 16, ..random("latency", direction) }
}

impl Shape {
    const fn touching(self, first_touch: bool) -> Self {
        Self { first_touch, ..self }
    }
}

impl Parameters {
    /// What the command line asks for.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub(crate) fn read(workload: &Workload) -> Result<Self, Vec<Problem>> {
        use Direction::{Read, Write};
        let (shape, blocks, flush, open) = match workload {
            Workload::SeqRead(args) => (sequential("seq-read", Read), &args.blocks, None, None),
            Workload::RandRead(args) => (random("rand-read", Read), &args.blocks, None, None),
            Workload::SeqWrite(args) => (
                sequential("seq-write", Write).touching(args.first_touch),
                &args.blocks,
                Some(args.flush),
                None,
            ),
            Workload::RandWrite(args) => {
                (random("rand-write", Write).touching(args.first_touch), &args.blocks, Some(args.flush), None)
            }
            Workload::Latency(args) => {
                (open_loop(args.operation), &args.blocks, Some(args.flush), Some(args))
            }
            Workload::Files(tree) => return FileLoad::read(tree).map(Self::Files),
            Workload::Seed(args) => return SeedLoad::read(args).map(Self::Seed),
        };
        BlockLoad::read(&shape, blocks, flush, open).map(Self::Blocks)
    }

    /// Bytes that must be free before anything is written.
    pub(crate) fn needed_bytes(&self) -> u64 {
        ROOM_BESIDE
            + match self {
                Self::Blocks(load) => load.file_bytes * u64::from(load.threads),
                Self::Files(load) => load.needed_bytes(),
                Self::Seed(load) => load.file_bytes + SMALL as u64 * u64::from(load.files),
            }
    }

    /// Files and folders that must be free.
    pub(crate) fn needed_files(&self) -> u64 {
        match self {
            Self::Blocks(load) => u64::from(load.threads) + 2,
            Self::Files(load) => load.needed_files(),
            Self::Seed(load) => u64::from(load.files) + 4,
        }
    }
}

impl BlockLoad {
    fn read(
        shape: &Shape,
        args: &Blocks,
        flush: Option<Flush>,
        open: Option<&Open>,
    ) -> Result<Self, Vec<Problem>> {
        let block = args.block.unwrap_or(shape.block);
        let mut problems = Problems::default();
        check_block(&mut problems, args, block);
        let queue_depth = args.queue_depth.unwrap_or(shape.queue_depth);
        check_amounts(&mut problems, args, queue_depth, block);
        let goal = open.and_then(|open| open.goal);
        let duration = args.duration.unwrap_or(if goal.is_some() { STEP_DURATION } else { DURATION });
        check_times(&mut problems, args, duration);
        check_order(&mut problems, args, shape, block);
        if let Some(open) = open {
            check_rate(&mut problems, open, duration);
        }
        let each = args.working_set.bytes() / u64::from(args.threads.max(1));
        let flush = flush.filter(|_| shape.direction == Direction::Write);
        problems.or(Self {
            workload: shape.name,
            operation: operation(shape.direction, flush),
            access: shape.access,
            block_bytes: block.bytes(),
            queue_depth,
            threads: args.threads,
            file_bytes: each - each % block.bytes().max(1),
            cache: args.cache,
            engine: args.engine,
            flush,
            first_touch: shape.first_touch,
            arrivals: open.map(|open| Timing { per_second: open.rate, spacing: open.arrivals }),
            goal,
            duration_seconds: duration.duration().as_secs_f64(),
            // Warming up would be the first touch.
            warmup_seconds: if shape.first_touch { 0.0 } else { args.warmup.duration().as_secs_f64() },
            timeout_seconds: args.timeout.duration().as_secs_f64(),
            seed: args.seed.unwrap_or_else(pattern::fresh_seed),
        })
    }

    /// How many threads this takes.
    pub(crate) fn workers(&self) -> usize {
        let each = if self.engine == Engine::Threads { usize::from(self.queue_depth) } else { 1 };
        each * usize::from(self.threads)
    }
}

const fn operation(direction: Direction, flush: Option<Flush>) -> Operation {
    match (direction, flush) {
        (Direction::Read, _) => Operation::Read,
        (Direction::Write, Some(Flush::Each)) => Operation::DurableWrite,
        (Direction::Write, _) => Operation::Write,
    }
}

fn check_order(problems: &mut Problems, args: &Blocks, shape: &Shape, block: ByteSize) {
    let blocks = args.working_set.bytes() / block.bytes().max(1);
    problems.unless(
        blocks <= MOST_SHUFFLED || !(shape.first_touch && shape.access == Access::Random),
        format_args!("--first-touch: {} are {blocks} blocks in random order", args.working_set),
        format_args!("at most {MOST_SHUFFLED}: a larger --block, or seq-write"),
    );
}

fn check_block(problems: &mut Problems, args: &Blocks, block: ByteSize) {
    let size = block.bytes();
    problems.unless(
        (1..=LARGEST_BLOCK).contains(&size),
        format_args!("--block {block}: must be between 1 B and {}", ByteSize::from_bytes(LARGEST_BLOCK)),
        "4KiB and 1MiB are what disks are usually compared by",
    );
    problems.unless(
        args.cache == Caching::Cached || size.is_multiple_of(ALIGNMENT as u64),
        format_args!("--block {block}: direct I/O takes multiples of 4 KiB"),
        "round it up, or measure through the cache with --cache cached",
    );
}

fn check_amounts(problems: &mut Problems, args: &Blocks, queue_depth: u16, block: ByteSize) {
    let workers = u32::from(queue_depth) * u32::from(args.threads);
    problems.unless(
        workers <= MOST_WORKERS,
        format_args!("--queue-depth {queue_depth} × --threads {}: {workers} threads", args.threads),
        format_args!("at most {MOST_WORKERS}: more would measure the scheduler"),
    );
    problems.unless(
        args.working_set.bytes() / u64::from(args.threads.max(1)) >= block.bytes(),
        format_args!(
            "--working-set {}: each of {} files would be smaller than a block of {block}",
            args.working_set, args.threads
        ),
        format_args!("--working-set {}B or more", block.bytes().saturating_mul(args.threads.into())),
    );
}

fn check_times(problems: &mut Problems, args: &Blocks, duration: Span) {
    let times =
        [("--duration", duration, true), ("--warmup", args.warmup, false), ("--timeout", args.timeout, true)];
    for (name, span, positive) in times {
        let time = span.duration();
        problems.unless(
            time <= LONGEST && !(positive && time.is_zero()),
            format_args!(
                "{name} {span}: must be {} and 24h",
                if positive { "between 1ms" } else { "between 0ms" }
            ),
            "30s is enough for p99; p99.9 takes minutes",
        );
    }
}

fn check_rate(problems: &mut Problems, open: &Open, duration: Span) {
    let (rate, seconds) = (open.rate, duration.duration().as_secs_f64());
    // Also refuses what is not a number.
    let possible = rate > 0.0 && rate <= HIGHEST_RATE;
    problems.unless(
        possible,
        format_args!("--rate {rate}: must be above 0 and at most {HIGHEST_RATE} a second"),
        "--rate 100 is a quiet machine, 1000 a busy one",
    );
    problems.unless(
        !possible || rate * seconds >= 1.0,
        format_args!("--rate {rate}: nothing would be due within {duration}"),
        "a higher --rate or a longer --duration",
    );
    let Some(goal) = open.goal else { return };
    let fewest = goal.fewest_operations();
    problems.unless(
        !possible || rate * seconds >= fewest as f64,
        format_args!("--goal {goal}: a step of {duration} at --rate {rate} is less than {fewest} operations"),
        "a higher --rate or a longer --duration",
    );
    problems.unless(
        (1..=open.blocks.timeout.duration().as_nanos()).contains(&goal.nanos.into()),
        format_args!("--goal {goal}: must be above 0 and at most --timeout {}", open.blocks.timeout),
        "--goal p99=5ms",
    );
}

fn check_timeout(problems: &mut Problems, timeout: Span) {
    problems.unless(
        !timeout.duration().is_zero() && timeout.duration() <= LONGEST,
        format_args!("--timeout {timeout}: must be between 1ms and 24h"),
        "--timeout 30s",
    );
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn read(arguments: &str) -> Result<Parameters, Vec<String>> {
        let cli = Cli::try_parse_from(["winstead-probe"].into_iter().chain(arguments.split(' ')));
        Parameters::read(&cli.expect("arguments that clap takes").workload)
            .map_err(|problems| problems.into_iter().map(|problem| problem.what).collect())
    }

    fn blocks(arguments: &str) -> BlockLoad {
        match read(arguments) {
            Ok(Parameters::Blocks(load)) => load,
            other => panic!("{arguments}: {other:?}"),
        }
    }

    #[test]
    fn all_problems_are_said_at_once_and_name_the_argument() {
        let said = read(
            "latency --block 1000B --queue-depth 256 --threads 256 --working-set 1kB --duration 0s \
             --timeout 25h --rate 0",
        )
        .expect_err("nothing of it is right");
        let names: Vec<&str> = said.iter().filter_map(|what| what.split([' ', ':']).next()).collect();
        let expected = ["--block", "--queue-depth", "--working-set", "--duration", "--timeout", "--rate"];
        assert_eq!(names, expected, "{said:#?}");
    }

    #[test]
    fn what_is_not_a_rate_is_refused() {
        for rate in ["nan", "inf", "-1", "0.001", "2e6"] {
            let said = read(&format!("latency --rate={rate}")).expect_err("no rate");
            assert!(said[0].starts_with("--rate"), "{said:?}");
        }
    }

    #[test]
    fn files_are_whole_blocks_and_together_no_larger_than_the_working_set() {
        let load = blocks("rand-write --working-set 1000000B --threads 3 --flush each");
        assert_eq!(load.file_bytes, 81 * 4096);
        assert_eq!((load.operation, load.block_bytes), (Operation::DurableWrite, 4096));
    }

    #[test]
    fn a_load_that_reads_has_no_flush() {
        assert_eq!(blocks("latency --flush each").flush, None);
        assert_eq!(blocks("latency --operation write --flush each").flush, Some(Flush::Each));
    }

    #[test]
    fn an_order_that_does_not_fit_into_memory_is_refused() {
        let said = read("rand-write --first-touch --working-set 1TiB").expect_err("too many");
        assert!(said[0].starts_with("--first-touch"), "{said:?}");
        assert!(blocks("seq-write --first-touch --working-set 1TiB").first_touch);
    }

    #[test]
    fn room_is_counted_for_every_file_of_every_thread() {
        let files = read("files --files 10 --threads 2 --largest 5000B").expect("fine");
        // Each file twice: once in an archive, where 5,000 bytes are ten blocks of 512 and a head.
        assert_eq!(files.needed_bytes(), ROOM_BESIDE + 20 * (8192 + 11 * 512));
        assert_eq!(files.needed_files(), 44);
        let blocks = read("seq-read --working-set 64MiB --threads 4").expect("fine");
        assert_eq!(blocks.needed_bytes(), ROOM_BESIDE + (64 << 20));
    }
}
