//! What people and CI start through `./x`: installs what is missing, then runs the demo, the tests, the checks or the
//! benchmarks. It drives the product from outside, as a user does; nothing of the product lives here.

#[cfg(feature = "bench")]
mod bench;
mod check;
mod command;
mod demo;
mod fuzz;
mod interrupt;
mod libtest;
mod package;
mod packages;
mod place;
mod product;
mod report;
mod test;
mod tools;
mod windows;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::interrupt::Interrupted;

/// Winstead's own tasks.
#[derive(Parser)]
#[command(bin_name = "./x")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Builds a golden image, starts four machines from it, resets one, takes everything away, and shows the times.
    Demo,
    /// Runs all tests; ends with one line `N passed, N failed, N skipped`.
    Test,
    /// Formatting, lints, documentation, licences, snapshots: what must hold for every commit.
    Check,
    /// Measures, keeps every sample in `bench/results`, and prints a table. Takes long: leave the computer alone meanwhile.
    Bench(BenchArguments),
    /// Everything that reads what others send, against the bytes that a fuzzer finds, one target after the other.
    Fuzz(FuzzArguments),
    /// Makes a `.deb` and an MSI of winstead-agent, in `target/packages`.
    Package,
    /// What the benchmarks' scripts wait with.
    #[cfg(feature = "bench")]
    #[command(hide = true)]
    Ready(bench::ready::ReadyArguments),
}

/// What to fuzz.
#[derive(clap::Args)]
struct FuzzArguments {
    /// Only these targets.
    names: Vec<String>,
    /// How long each of them runs.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

/// What to measure.
#[derive(clap::Args)]
struct BenchArguments {
    /// Only these benchmarks; the usual ones when none is named.
    names: Vec<String>,
    /// How often each arm is run.
    #[arg(long, default_value_t = 5)]
    repeats: usize,
    /// Lists the benchmarks.
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    match interrupt::watch().and_then(|()| run(&Arguments::parse().task)) {
        Ok(code) => code,
        Err(error) => {
            report::error(&error);
            if error.is::<Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

fn run(task: &Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Demo => demo::run(),
        Task::Test => test::run(),
        Task::Check => check::run(),
        Task::Fuzz(arguments) => fuzz::run(arguments.minutes, &arguments.names),
        Task::Package => package::run(),
        Task::Bench(arguments) => measure(arguments),
        #[cfg(feature = "bench")]
        Task::Ready(arguments) => bench::ready::run(arguments),
    }
}

#[cfg(feature = "bench")]
fn measure(arguments: &BenchArguments) -> anyhow::Result<ExitCode> {
    bench::run(arguments)
}

#[cfg(not(feature = "bench"))]
fn measure(_: &BenchArguments) -> anyhow::Result<ExitCode> {
    let again = ["cargo", "run", "--release", "--quiet", "--package", "xtask", "--features", "bench", "--"];
    let argv = again.into_iter().map(str::to_owned).chain(std::env::args().skip(1));
    // Not a child: `sudo` would wait for ever for a terminal that is not its own.
    Err(command::Command::new(argv).exec())
}
