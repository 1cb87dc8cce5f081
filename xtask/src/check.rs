//! `./x check`: what must hold for every commit besides the tests. All checks run, also after one has failed.

use std::process::ExitCode;

use crate::{command::Command, report, tools, windows};

/// Crates that are to compile for Windows, with the reason. The others drive Linux's own QEMU, tmpfs and bridges.
const PORTABLE: &[(&str, &str)] = &[
    ("winstead-agent", "the daemon is for Windows first"),
    ("winstead-agent-client", "its command line talks to it there, too"),
    ("winstead-protocol", "both speak it"),
    ("winstead-spec", "the agent and a client on Windows read the same files"),
    ("winstead-probe", "disks are measured in guests with Windows, too"),
    ("winstead-statistics", "a guest with Windows records latencies, and results are judged anywhere"),
];

enum Outcome {
    Passed,
    Failed(String),
    /// This computer cannot tell; why.
    Skipped(String),
}

struct Check {
    name: &'static str,
    run: fn() -> anyhow::Result<Outcome>,
}

const CHECKS: &[Check] = &[
    Check { name: "formatting", run: formatting },
    Check { name: "lints on Linux", run: lints },
    Check { name: "lints for Windows", run: windows_lints },
    Check { name: "documentation", run: documentation },
    Check { name: "snapshots and schema", run: snapshots },
    Check { name: "licences, duplicates, sources", run: dependencies },
    Check { name: "advisories", run: advisories },
];

/// Runs all checks; the exit code is a failure when one failed.
///
/// # Errors
/// When a check cannot be run at all, or the run is interrupted.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), Vec::new());
    for check in CHECKS {
        report::heading(check.name);
        match (check.run)()? {
            Outcome::Passed => passed += 1,
            Outcome::Failed(why) => failed.push(format!("failed: {}: {why}", check.name)),
            Outcome::Skipped(why) => skipped.push(format!("skip: {}: {why}", check.name)),
        }
    }
    report::heading("result");
    for line in skipped.iter().chain(&failed) {
        report::line(line);
    }
    report::line(format_args!("check: {passed} passed, {} failed, {} skipped", failed.len(), skipped.len()));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn outcome(command: &Command) -> anyhow::Result<Outcome> {
    report::line(format_args!("$ {command}"));
    let ended = command.lines(&mut |_, line| report::line(line))?;
    Ok(if ended.status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("`{command}`: {}", ended.status))
    })
}

fn formatting() -> anyhow::Result<Outcome> {
    outcome(&Command::new(["cargo", "fmt", "--all", "--check"]))
}

fn lints() -> anyhow::Result<Outcome> {
    let argv = "cargo clippy --workspace --all-targets --all-features -- -D warnings";
    outcome(&Command::new(argv.split(' ')))
}

fn documentation() -> anyhow::Result<Outcome> {
    outcome(&Command::new("cargo doc --workspace --no-deps".split(' ')).env("RUSTDOCFLAGS", "-D warnings"))
}

fn windows_lints() -> anyhow::Result<Outcome> {
    if let Err(why) = windows::ensure_std()? {
        return Ok(Outcome::Skipped(why));
    }
    let packages = PORTABLE.iter().flat_map(|(name, _)| ["--package", name]);
    let argv = ["cargo", "clippy", "--target", windows::TARGET]
        .into_iter()
        .chain(packages)
        .chain(["--", "-D", "warnings"]);
    outcome(&Command::new(argv))
}

/// Snapshots and the schema are compared by unit tests; with `INSTA_UPDATE=no` they change no file. Files that change
/// all the same, or wait to be reviewed, are drift.
fn snapshots() -> anyhow::Result<Outcome> {
    let before = changed_files()?;
    let tests =
        Command::new("cargo test --workspace --lib --bins --quiet".split(' ')).env("INSTA_UPDATE", "no");
    if let Outcome::Failed(why) = outcome(&tests)? {
        return Ok(Outcome::Failed(why));
    }
    let after = changed_files()?;
    if before != after {
        return Ok(Outcome::Failed(format!("the tests changed files:\n{after}")));
    }
    let waiting: Vec<&str> = after.lines().filter(|line| line.ends_with(".snap.new")).collect();
    Ok(if waiting.is_empty() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("to be reviewed: {}", waiting.join(" ")))
    })
}

fn changed_files() -> anyhow::Result<String> {
    Command::new(["git", "status", "--porcelain", "--untracked-files=all"]).read()
}

fn dependencies() -> anyhow::Result<Outcome> {
    match tools::ensure("cargo-deny")? {
        Some(program) => outcome(&Command::new([&program, "check", "licenses", "bans", "sources"])),
        None => Ok(Outcome::Skipped("cargo-deny cannot be installed here".into())),
    }
}

fn advisories() -> anyhow::Result<Outcome> {
    let Some(program) = tools::ensure("cargo-deny")? else {
        return Ok(Outcome::Skipped("cargo-deny cannot be installed here".into()));
    };
    let command = Command::new([&program, "check", "advisories"]);
    report::line(format_args!("$ {command}"));
    let (ended, said) = command.quiet()?;
    if said.contains("failed to fetch advisory database") {
        return Ok(Outcome::Skipped("the advisory database cannot be fetched from here".into()));
    }
    report::line(said.trim_end());
    Ok(if ended.status.success() {
        Outcome::Passed
    } else {
        Outcome::Failed(format!("`{command}`: {}", ended.status))
    })
}
