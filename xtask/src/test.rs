//! `./x test`: all tests of the workspace, the quick ones first, then the laboratory ones that boot guests.

use std::{
    io::Write,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use fs_err as fs;

use crate::{
    command::{Command, Stream},
    libtest::Tally,
    packages::{self, Need},
    place, report, windows,
};

struct Stage {
    name: &'static str,
    targets: &'static [&'static str],
}

/// A broken unit shows within seconds of its build, before any guest is booted.
const STAGES: &[Stage] = &[
    Stage { name: "unit tests", targets: &["--lib", "--bins"] },
    Stage { name: "integration tests", targets: &["--test", "*"] },
    Stage { name: "documentation tests", targets: &["--doc"] },
];
/// CI ends a run after 90 minutes; a hanging test must be named before that.
const LIMIT: Duration = Duration::from_mins(80);

/// Runs it; the exit code is a failure when a test failed or none ran.
///
/// # Errors
/// When packages are missing, cargo cannot be started, or the run is interrupted or too long.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    packages::ensure(&needs())?;
    if let Err(why) = windows::ensure_std()? {
        report::line(format_args!("{why}: the tests of the Windows programs will be skipped"));
    }
    let mut tally = Tally::default();
    let mut log = Log::create()?;
    let mut broken = Vec::new();
    for stage in STAGES {
        report::heading(stage.name);
        let left = LIMIT.checked_sub(begun.elapsed()).context("the tests took too long")?;
        let failed_before = tally.failed();
        let ended =
            cargo(stage).deadline(left).lines(&mut |stream, line| log.take(&mut tally, stream, line))?;
        if !ended.status.success() && tally.failed() == failed_before {
            broken.push(stage.name);
        }
        report::line(format_args!("{} took {}", stage.name, report::seconds(ended.took)));
    }
    Ok(close(&tally, &broken, &log))
}

fn needs() -> Vec<Need> {
    let mut needs = vec![Need::Product, Need::Tests, Need::Packages];
    needs.extend((!place::is_root()).then_some(Need::Rootless));
    needs
}

fn cargo(stage: &Stage) -> Command {
    let features = "winstead/faults,xtask/bench";
    let fixed = ["cargo", "test", "--workspace", "--features", features, "--no-fail-fast"];
    // A skip is a line that a passing test writes, and the harness hides those without --show-output.
    let argv = fixed.iter().chain(stage.targets).chain(&["--", "--show-output"]).copied();
    // A snapshot that differs is a failure here, never a file to look at later.
    Command::new(argv).env("INSTA_UPDATE", "no")
}

fn close(tally: &Tally, broken: &[&str], log: &Log) -> ExitCode {
    report::heading("result");
    for reason in tally.skips() {
        report::line(format_args!("skip: {reason}"));
    }
    for name in tally.failures() {
        report::line(format_args!("failed: {name}"));
    }
    if tally.dead_programs() > 0 {
        report::line(format_args!(
            "failed: {} test program(s) ended without a result",
            tally.dead_programs()
        ));
    }
    for stage in broken {
        report::line(format_args!("failed: {stage} could not be built or started"));
    }
    let failed = tally.failed() + broken.len();
    report::line(format_args!("all output: {}", log.path.display()));
    report::line(format_args!("{} passed, {failed} failed, {} skipped", tally.passed(), tally.skipped()));
    if failed == 0 && tally.passed() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Everything that was printed, also what is not shown.
struct Log {
    path: std::path::PathBuf,
    file: fs::File,
}

impl Log {
    fn create() -> anyhow::Result<Self> {
        let folder = place::target().join("xtask");
        fs::create_dir_all(&folder)?;
        let path = folder.join("test.log");
        Ok(Self { file: fs::File::create(&path)?, path })
    }

    fn take(&mut self, tally: &mut Tally, stream: Stream, line: &str) {
        // A full disk must not hide a test result: what is shown and counted does not depend on the log.
        writeln!(self.file, "{line}").unwrap_or_default();
        if tally.read(stream, line) {
            report::line(line);
        }
    }
}
