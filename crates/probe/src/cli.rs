//! The command line. Its texts are the help, and what a workload shows and does not show stands there.

use std::{fmt, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::Serialize;
use winstead_spec::{ByteSize, Span};

use crate::goal::Goal;

/// Measures a disk honestly: data that cannot be packed, direct I/O, every latency kept.
///
/// Makes a folder of its own in FOLDER, measures there, removes it, and prints what it found: a table for
/// people, or one JSON document with every parameter, the whole histograms and a description of this computer.
/// Nothing else is written, and nothing before it is known that it fits.
#[derive(Debug, Parser)]
#[command(name = "winstead-probe", version, max_term_width = 110, after_help = AFTER)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub workload: Workload,
    /// How the result is printed.
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// Prepare everything, say `winstead-probe: ready` on standard error, and begin when a line comes on standard
    /// input: for starting many machines at once. Preparing is then in nobody's numbers.
    #[arg(long, global = true)]
    pub barrier: bool,
    /// Say what is wrong with the options, if anything is, and measure nothing.
    #[arg(long, global = true)]
    pub check: bool,
}

const AFTER: &str = "\
Examples:
  winstead-probe rand-read /mnt/build           how fast single blocks come, nothing cached
  winstead-probe latency /mnt/build --rate 200  what 200 reads a second really wait, stalls included
  winstead-probe latency --goal p99=5ms         how many reads a second it serves within 5 ms
  winstead-probe rand-write --flush each        what a database's commits cost
  winstead-probe files -o json > result.json    a build's small files, for comparing later

To compare two disks, run the same command five times on each, in turns (A B B A …), and compare
p99. Sizes are written 4KiB or 1GiB, times 500ms, 30s or 5m.

Exit codes: 0 measured, also when single operations failed: these are results, in all numbers and
said on standard error; 1 failed, or the disk was lost on the way; 2 the arguments cannot be run
here, nothing was written; 130 interrupted.";

/// How a result is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Percentiles, for people.
    Table,
    /// Everything, for programs.
    Json,
}

/// The workloads.
#[derive(Debug, Subcommand)]
pub(crate) enum Workload {
    /// Read a file from its start to its end, again and again (closed loop).
    ///
    /// Shows how much a disk can read at most. Does not show what a build feels: hardly anything in a build
    /// reads megabytes in order, and a closed loop asks nothing of a disk that hangs.
    SeqRead(Reading),
    /// Write a file from its start to its end, again and again (closed loop).
    ///
    /// The file was written once before, so this shows how much a disk can overwrite at most. Does not show
    /// what the first write of a block costs, where a file system or an image file must find a place for it;
    /// that is what `--first-touch` shows.
    SeqWrite(Writing),
    /// Read blocks anywhere in a file (closed loop).
    ///
    /// Shows how many single reads a disk can do, and with a queue depth of 1 what one takes on an idle disk.
    /// Does not show stalls honestly: for that there is `latency`.
    RandRead(Reading),
    /// Write blocks anywhere in a file that was written once before (closed loop).
    ///
    /// Shows how many single writes a disk can do; with `--flush each` how many that survive a power cut. Does
    /// not show the cost of a block's first write (`--first-touch` does), nor a drive that slows down after many
    /// gigabytes.
    RandWrite(Writing),
    /// Read or write blocks at times that do not depend on the disk (open loop).
    ///
    /// Shows what users wait: latency counts from the time an operation was due, so a stall is charged to all
    /// that it delayed. Does not show how much the disk can do; a rate above that makes latencies grow until
    /// the time-out, as they would for real. `lateness` is what our own waking adds, and it is said how often all
    /// of the queue's places were taken: then a longer queue might have waited less.
    Latency(Open),
    /// Make, write, stat, read, rename and delete many small files, and unpack an archive of as many, as a build does
    /// (closed loop, fixed work).
    ///
    /// Shows what a tree of small files costs, each kind of operation for itself, and what unpacking one does: the
    /// archive was written just before, so reading it costs next to nothing. Without `--fsync` most of it
    /// happens in the cache, as in a build; what is read was written just before. Does not show compiling,
    /// nor reading a tree that is not in the cache.
    Files(FileTree),
    /// The four numbers of an old benchmark script, as it took them and as one should, side by side.
    ///
    /// Named after the scripts that Winstead grew from. They wrote a file of zeros through the cache, read it back,
    /// made 1000 small files and read 1000 times anywhere: once, on one thread, nothing flushed. This does the
    /// same, and beside it the same amounts honestly: random data, around the cache, flushed, several runs. Shows what numbers of the
    /// first kind are worth. Does not show what a disk does under load; that is what the other workloads are for.
    Seed(FourNumbers),
}

/// What all loads on blocks take.
#[derive(Args, Debug)]
pub(crate) struct Blocks {
    /// Where to measure: an existing folder. It decides which disk.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Bytes of one operation [default: 1MiB for seq-read and seq-write, else 4KiB].
    #[arg(long, value_name = "SIZE")]
    pub block: Option<ByteSize>,
    /// Operations under way at once on each file, at most; with threads each is one [default: 16 for latency, else
    /// 1].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub queue_depth: Option<u16>,
    /// Files, each with a queue of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// Bytes of all files together: what is read and written.
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub working_set: ByteSize,
    /// Whether the operating system's cache takes part.
    #[arg(long, value_enum, default_value_t = Caching::Direct)]
    pub cache: Caching,
    /// How operations are brought to the system: for comparing, the same on both sides.
    #[arg(long, value_enum, default_value_t = Engine::Threads)]
    pub engine: Engine,
    /// How long to measure [default: 30s, or 10s for each step of --goal].
    #[arg(long, value_name = "TIME")]
    pub duration: Option<Span>,
    /// How long to run before that without recording, also before each step of --goal.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    pub warmup: Span,
    /// An operation that takes longer has failed.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Span,
    /// Decides data and positions [default: another one each time].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
}

/// Loads that read.
#[derive(Args, Debug)]
pub(crate) struct Reading {
    #[command(flatten)]
    pub blocks: Blocks,
}

/// Loads that write.
#[derive(Args, Debug)]
pub(crate) struct Writing {
    #[command(flatten)]
    pub blocks: Blocks,
    /// When data must have reached the disk.
    #[arg(long, value_enum, default_value_t = Flush::End)]
    pub flush: Flush,
    /// Write each block once, into files without blocks, and end when all are written: what a block's first
    /// write costs. No warm-up.
    #[arg(long)]
    pub first_touch: bool,
}

/// The open loop.
#[derive(Args, Debug)]
pub(crate) struct Open {
    #[command(flatten)]
    pub blocks: Blocks,
    /// Operations that are due each second.
    #[arg(long, value_name = "N", default_value_t = 100.0)]
    pub rate: f64,
    /// Find the highest rate at which this percentile of all operations is at most that long, like p99=5ms or p99=200us: from
    /// --rate on it is doubled or halved, then approached to within a tenth. The numbers are those of that rate.
    #[arg(long, value_name = "pN=TIME")]
    pub goal: Option<Goal>,
    /// When they are due: at a fixed rate, or at random as independent users are.
    #[arg(long, value_enum, default_value_t = Spacing::Poisson)]
    pub arrivals: Spacing,
    /// What is due.
    #[arg(long, value_enum, default_value_t = Direction::Read)]
    pub operation: Direction,
    /// When written data must have reached the disk.
    #[arg(long, value_enum, default_value_t = Flush::Never)]
    pub flush: Flush,
}

/// Small files.
#[derive(Args, Debug)]
pub(crate) struct FileTree {
    /// Where to measure: an existing folder. It decides which disk.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Files of each tree.
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub files: u32,
    /// Files of each folder.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub per_folder: u32,
    /// The smallest file.
    #[arg(long, value_name = "SIZE", default_value = "256B")]
    pub smallest: ByteSize,
    /// The largest; sizes between are spread evenly over the orders of magnitude.
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    pub largest: ByteSize,
    /// Trees at once, each in a thread of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub threads: u16,
    /// How many times each tree is made and deleted.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub passes: u32,
    /// Flush each file before it is closed.
    #[arg(long)]
    pub fsync: bool,
    /// An operation that takes longer has failed.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Span,
    /// Decides data and sizes [default: another one each time].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
}

/// How much of each of the four.
#[derive(Args, Debug)]
pub(crate) struct FourNumbers {
    /// Where to measure: an existing folder. It decides which disk.
    #[arg(default_value = ".")]
    pub folder: PathBuf,
    /// Bytes of the large file.
    #[arg(long, value_name = "SIZE", default_value = "1GiB")]
    pub working_set: ByteSize,
    /// Small files.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub files: u32,
    /// Reads anywhere in the large file.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub reads: u32,
    /// How many times the honest ones are taken.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub runs: u32,
    /// An operation that takes longer has failed.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub timeout: Span,
    /// Decides data and positions [default: another one each time].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..1 << 53))]
    pub seed: Option<u64>,
}

/// Whether the operating system's cache takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Caching {
    /// Around the cache (`O_DIRECT`, `FILE_FLAG_NO_BUFFERING`). A disk may still have one of its own.
    Direct,
    /// Through the cache, as ordinary programs do.
    Cached,
}

/// How operations are brought to the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    /// Threads that block, one for each operation under way. Works everywhere.
    Threads,
    /// Linux's io_uring: one thread for each file, with all its operations. Containers often forbid it.
    IoUring,
    /// Windows' overlapped I/O with a completion port: one thread for each file, with all its operations.
    Overlapped,
}

impl fmt::Display for Engine {
    /// As it is written on the command line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// When written data must have reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Flush {
    /// Whenever the system likes. Through the cache this measures memory.
    Never,
    /// Once at the end; it counts into the throughput.
    End,
    /// After each write, which is one sample with it.
    Each,
}

/// When operations of an open loop are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Spacing {
    /// All with the same time between them.
    Fixed,
    /// A Poisson process: at random, sometimes many at once.
    Poisson,
}

/// What an open loop does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// Read a block anywhere.
    Read,
    /// Write a block anywhere.
    Write,
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::parameters::Parameters;

    fn words(list: &Value) -> Vec<&str> {
        list.as_array().expect("a list").iter().filter_map(Value::as_str).collect()
    }

    #[test]
    fn the_example_of_a_job_runs_as_nobody_with_arguments_that_are_taken() {
        let job: Value =
            serde_saphyr::from_str(include_str!("../../../examples/probe-job.yaml")).expect("YAML");
        assert_eq!((&job["apiVersion"], &job["kind"]), (&json!("batch/v1"), &json!("Job")));
        let pod = &job["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let restricted = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], restricted);

        let command = words(&container["command"]).into_iter().chain(words(&container["args"]));
        let cli = Cli::try_parse_from(command).expect("arguments");
        let Ok(Parameters::Blocks(load)) = Parameters::read(&cli.workload) else {
            panic!("no load on blocks")
        };
        assert_eq!((cli.output, load.engine), (Output::Json, Engine::Threads));
        let Workload::Latency(args) = cli.workload else { panic!("another workload") };
        // Where it may write, and with room for the file.
        assert_eq!(container["volumeMounts"][0]["mountPath"], json!(args.blocks.folder));
        assert_eq!(container["volumeMounts"][0]["name"], pod["volumes"][0]["name"]);
        assert_eq!(
            (pod["volumes"][0]["emptyDir"]["sizeLimit"].as_str(), load.file_bytes),
            (Some("2Gi"), 1 << 30)
        );
    }
}
