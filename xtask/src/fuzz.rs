//! `./x fuzz`: everything that reads what others send, against the bytes that a fuzzer finds (`fuzz/`). It needs a nightly
//! Rust and a C++ compiler; the tests do a little of the same without both.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use fs_err as fs;

use crate::{
    command::Command,
    packages::{self, Need},
    place, report, tools,
};

/// How long one target may take to be built. On a computer that does much else, the first one took half an hour.
const BUILD: Duration = Duration::from_hours(2);

/// Runs each target that is named, or all, for so many minutes, one after the other; the exit code is a failure when one
/// found something.
///
/// # Errors
/// When what it needs is missing, or the run is interrupted.
pub(crate) fn run(minutes: u64, names: &[String]) -> anyhow::Result<ExitCode> {
    packages::ensure(&[Need::Fuzz])?;
    ensure_nightly()?;
    let program = tools::ensure("cargo-fuzz")?.context("cargo-fuzz cannot be installed here")?;
    let root = place::root().join("fuzz");
    // The versions that the product is built with.
    fs::copy(place::root().join("Cargo.lock"), root.join("Cargo.lock"))?;
    let all = targets()?;
    let unknown = names.iter().find(|name| !all.contains(name));
    anyhow::ensure!(unknown.is_none(), "there is no target {}; there are {}", names.join(" "), all.join(" "));
    let chosen = if names.is_empty() { &all } else { names };
    let mut failed = Vec::new();
    for name in chosen {
        report::heading(name);
        fs::create_dir_all(root.join("corpus").join(name))?;
        let command = fuzzing(&program, name, minutes);
        report::line(format_args!("$ {command}"));
        if !command.lines(&mut |_, line| report::line(line))?.status.success() {
            failed.push(name);
        }
    }
    report::heading("result");
    for name in &failed {
        report::line(format_args!(
            "failed: {name}: what did it is in fuzz/artifacts/{name}; once that is mended, it belongs into fuzz/seeds/{name}"
        ));
    }
    report::line(format_args!("{} passed, {} failed", chosen.len() - failed.len(), failed.len()));
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is new is kept in the first folder, `corpus`; the second one is only read.
fn fuzzing(program: &str, name: &str, minutes: u64) -> Command {
    let folder = |kind: &str| format!("fuzz/{kind}/{name}");
    let limits = ["-timeout=20".to_owned(), "-rss_limit_mb=4096".to_owned()];
    let argv = ["rustup", "run", "nightly", program, "fuzz", "run", name].map(str::to_owned).into_iter();
    let argv = argv.chain([folder("corpus"), folder("seeds"), "--".to_owned()]).chain(limits);
    // Else cargo-fuzz would build with the cargo that runs us.
    Command::new(argv.chain([format!("-max_total_time={}", minutes * 60)]))
        .env("CARGO", "cargo")
        .deadline(BUILD + Duration::from_mins(minutes))
}

fn targets() -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(place::root().join("fuzz/fuzz_targets"))? {
        names.extend(entry?.path().file_stem().map(|name| name.to_string_lossy().into_owned()));
    }
    names.sort();
    Ok(names)
}

fn ensure_nightly() -> anyhow::Result<()> {
    let asked = Command::new(["rustup", "toolchain", "list"]).read();
    let list = asked.context("a fuzzer needs a nightly Rust, and there is no rustup to bring it")?;
    if list.lines().any(|line| line.starts_with("nightly")) {
        return Ok(());
    }
    let install = Command::new("rustup toolchain install nightly --profile minimal".split(' '));
    report::line(format_args!("$ {install}    (once; the fuzzer's instruments are in no stable Rust)"));
    install.run().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_reads_its_seeds_and_writes_into_its_corpus_only() {
        assert_eq!(
            fuzzing("cargo-fuzz", "lists", 2).to_string(),
            "CARGO=cargo rustup run nightly cargo-fuzz fuzz run lists fuzz/corpus/lists fuzz/seeds/lists -- \
             -timeout=20 -rss_limit_mb=4096 -max_total_time=120"
        );
    }

    #[test]
    fn all_targets_are_found() {
        assert!(targets().expect("a folder").contains(&"authority".to_owned()));
    }
}
