//! `winstead bench disk`: one place, again and again.

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
};

use clap::Args;
use indicatif::ProgressBar;
use winstead_bench::{
    BenchError,
    disk::{Measured, Place, Series, measure},
};
use winstead_spec::GuestOs;

use crate::{
    commands::{
        bench::probe::{ProbeArgs, workload},
        channel::Via,
    },
    context::Context,
    error::CliError,
    output::{self, counted},
    selection::machine_name,
};

/// What is measured unless something else is asked for: what a build's durable writes wait.
const USUAL: [&str; 7] = ["latency", "--rate", "100", "--operation", "write", "--flush", "each"];

/// Measures one disk several times with `winstead-probe`, and keeps all results in one file.
///
/// One run says nothing about the next: `winstead bench compare` needs at least five of each side. To compare two disks
/// honestly, measure them in turns. When a run fails, or Ctrl-C ends it, the runs before it are kept.
///
/// In a machine the program is copied into the home folder of its user, and removed from there afterwards.
#[derive(Clone, Debug, Args)]
#[command(after_help = "\
Examples:
  winstead bench disk /mnt/build
  winstead bench disk --machine agents-0 --out agents-0.json
  winstead bench disk /mnt/build --repeats 10 -- rand-write --flush each --duration 10s

Without `--` and a workload: latency --rate 100 --operation write --flush each.
`winstead-probe --help` explains the workloads.")]
pub(crate) struct DiskArgs {
    /// A folder of this computer: it decides which disk.
    #[arg(value_name = "FOLDER", default_value = ".", conflicts_with = "machine")]
    folder: PathBuf,
    /// A machine, whose own disk is measured.
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// The way into the machine. Default: its agent where one answers, else ssh.
    #[arg(long, value_name = "WAY", requires = "machine")]
    via: Option<Via>,
    /// How many runs.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeats: u32,
    /// The file of results. One that is there is not written over.
    #[arg(long, value_name = "FILE", default_value = "disk.json")]
    out: PathBuf,
    #[command(flatten)]
    probe: ProbeArgs,
    /// The probe's workload with its options.
    #[arg(value_name = "WORKLOAD", last = true)]
    workload: Vec<String>,
}

/// Runs `bench disk`.
///
/// # Errors
/// When the place cannot be measured, or the results not be written.
pub(crate) async fn run(context: &Context, args: &DiskArgs) -> Result<(), CliError> {
    let usual = || USUAL.map(str::to_owned).to_vec();
    let words = if args.workload.is_empty() { usual() } else { args.workload.clone() };
    let workload = workload(&words)
        .map_err(|why| CliError::usage(format!("read the workload {}", words.join(" ")), why))?;
    let engine = match &args.machine {
        Some(_) => Some(context.engine().await?),
        None => None,
    };
    let (place, os) = match (&args.machine, &engine) {
        (Some(name), Some(engine)) => {
            let name = machine_name(name)?;
            let os = engine.machine(&name).await?.spec.os;
            (Place::Machine(engine, name, args.via.map(Into::into)), os)
        }
        _ => (Place::Folder(&args.folder), GuestOs::Linux),
    };
    if args.machine.is_none() && !args.folder.is_dir() {
        let what = format!("measure in {}: there is no such folder", args.folder.display());
        return Err(CliError::usage(what, "name an existing folder: it decides which disk is measured"));
    }
    let series = Series {
        program: args.probe.program(os)?,
        workload,
        repeats: args.repeats,
        limit: args.probe.deadline.duration(),
    };
    series.program.check_workload(&series.workload, &context.stop).await?;
    let file = create(&args.out)?;
    let measured = watched(context, &place, &series).await;
    keep(context, args, file, measured)?;
    context.ui.hint(&format!("`winstead bench compare {} OTHER.json` compares it", args.out.display()));
    context.ui.data(&format!("{}\n", args.out.display()))
}

/// Measures with a bar on a terminal, and a line for each run elsewhere.
async fn watched(context: &Context, place: &Place<'_>, series: &Series) -> Measured {
    let bar = context.ui.bars().add(ProgressBar::new(series.repeats.into()));
    bar.enable_steady_tick(std::time::Duration::from_millis(250));
    let done = |run: u32| {
        bar.set_position(run.into());
        if !context.ui.moves() {
            context.ui.note(&format!("run {run} of {} is over", series.repeats));
        }
    };
    let measured = measure(place, series, done, &context.stop).await;
    bar.finish_and_clear();
    measured
}

/// Writes what was found, also when that is less than was asked for; a file of nothing is taken away.
fn keep(
    context: &Context,
    args: &DiskArgs,
    mut file: fs_err::File,
    measured: Measured,
) -> Result<(), CliError> {
    let Measured { results, failure } = measured;
    if results.items.is_empty() {
        // What went wrong with the measurement is more important.
        if let Err(error) = fs_err::remove_file(&args.out) {
            context.ui.warn(&format!("an empty file of results is left: {error}"));
        }
    } else {
        let text = output::json(&results)?;
        file.write_all(text.as_bytes()).map_err(|source| unwritable(&args.out, source))?;
    }
    let Some(failure) = failure else { return Ok(()) };
    if !results.items.is_empty() {
        let (kept, of) = (results.items.len(), counted(args.repeats as usize, "run"));
        context.ui.note(&format!("{} holds {kept} of {of}", args.out.display()));
    }
    Err(match failure {
        // Nothing goes on where it stopped: all that there is to say has been said.
        BenchError::Interrupted => CliError::Stopped,
        failure => failure.into(),
    })
}

/// Before anything is measured: nobody should wait for results that cannot be written.
fn create(path: &Path) -> Result<fs_err::File, CliError> {
    fs_err::File::create_new(path).map_err(|source| match source.kind() {
        ErrorKind::AlreadyExists => CliError::usage(
            format!("write {}: it is there already", path.display()),
            "name another file with --out FILE, or remove this one",
        ),
        _ => unwritable(path, source),
    })
}

fn unwritable(path: &Path, source: std::io::Error) -> CliError {
    CliError::System { what: format!("write {}", path.display()), source, hints: Vec::new() }
}
