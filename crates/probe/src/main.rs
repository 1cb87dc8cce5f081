//! `winstead-probe`: measures a disk honestly, by hand on any computer, in a machine, a container or a Job.
//!
//! One program without libraries beside it, for Linux and Windows from the same source, so no engine and no
//! async runtime. [`cli`] says what each workload shows and does not show; [`load`] and [`files`] are the
//! loads, [`crew`] the threads that do them, [`result`] what comes out.

mod archive;
mod barrier;
mod blocks;
mod buffer;
mod cli;
mod clock;
mod computer;
mod crew;
mod error;
mod files;
mod goal;
mod lane;
mod load;
mod parameters;
mod pattern;
mod place;
mod result;
mod samples;
mod seed;
mod table;
mod timeline;

#[cfg(unix)]
#[path = "unix.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    barrier::Barrier,
    cli::{Cli, Output, Workload},
    clock::Stop,
    crew::Measured,
    error::ProbeError,
    parameters::{Parameters, Problem},
    place::{Place, Site},
    result::ProbeResult,
};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}

fn run(cli: &Cli) -> Result<(), ProbeError> {
    let parameters = Parameters::read(&cli.workload).map_err(ProbeError::Arguments)?;
    if cli.check {
        return Ok(());
    }
    let stop = Stop::default();
    watch_for_interrupts(&stop)?;
    check_engine(&parameters)?;
    let place = Place::check(folder(&cli.workload), &parameters)?;
    let mut result = ProbeResult::begin(&parameters, &place);
    let scratch = place.scratch()?;
    let barrier = if cli.barrier { Barrier::Closed } else { Barrier::Open };
    let site = Site { scratch: scratch.path(), stop: &stop, barrier };
    let outcome = measure(&parameters, &site, &mut result)
        .and_then(|measured| finish(&measured, result, &stop, cli.output));
    match (outcome, place::remove(scratch)) {
        // Both are to be said; what is left behind decides, as somebody has to act.
        (Err(error), Err(left)) => {
            error.report();
            Err(left)
        }
        (outcome, removed) => outcome.and(removed),
    }
}

/// Prints what was found, also when the disk was lost on the way. Files are removed after that: on a disk that
/// hangs it may take for ever.
fn finish(
    measured: &Measured,
    mut result: ProbeResult,
    stop: &Stop,
    output: Output,
) -> Result<(), ProbeError> {
    if result.end(measured, stop.asked()).is_worth_printing() {
        print(&result, output)?;
        result.warn_of_failures();
    }
    result.into_outcome()
}

fn measure(
    parameters: &Parameters,
    site: &Site<'_>,
    result: &mut ProbeResult,
) -> Result<Measured, ProbeError> {
    match parameters {
        Parameters::Blocks(load) => blocks::measure(load, site, result),
        Parameters::Files(load) => files::measure(load, site),
        Parameters::Seed(load) => seed::measure(load, site, result),
    }
}

fn check_engine(parameters: &Parameters) -> Result<(), ProbeError> {
    let Parameters::Blocks(load) = parameters else { return Ok(()) };
    platform::check_engine(load.engine).map_err(|error| {
        let what = format!("--engine {} cannot be used here: {error}", load.engine);
        let hint = "--engine threads works everywhere".to_owned();
        ProbeError::Refused(vec![Problem { what, hint }])
    })
}

const fn folder(workload: &Workload) -> &std::path::PathBuf {
    match workload {
        Workload::SeqRead(args) | Workload::RandRead(args) => &args.blocks.folder,
        Workload::SeqWrite(args) | Workload::RandWrite(args) => &args.blocks.folder,
        Workload::Latency(args) => &args.blocks.folder,
        Workload::Files(args) => &args.folder,
        Workload::Seed(args) => &args.folder,
    }
}

/// The first Ctrl-C (or SIGTERM) ends the run in order, the second ends the program at once.
fn watch_for_interrupts(stop: &Stop) -> Result<(), ProbeError> {
    let (stop, mut times) = (stop.clone(), 0);
    ctrlc::set_handler(move || {
        stop.ask();
        times += 1;
        if times > 1 {
            let left = "winstead-probe: ended at once; a folder winstead-probe-… may be left behind";
            drop(writeln!(io::stderr(), "{left}"));
            std::process::exit(error::INTERRUPTED.into());
        }
    })
    .map_err(|error| ProbeError::System {
        what: "listen for Ctrl-C".to_owned(),
        source: io::Error::other(error),
    })
}

fn print(result: &ProbeResult, output: Output) -> Result<(), ProbeError> {
    let text = match output {
        Output::Table => table::render(result),
        Output::Json => {
            serde_json::to_string_pretty(result).map_err(io::Error::from).map_err(ProbeError::print)?
        }
    };
    writeln!(io::stdout().lock(), "{}", text.trim_end()).map_err(ProbeError::print)
}
