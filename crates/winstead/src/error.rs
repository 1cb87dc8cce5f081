//! What a command can end with: the one place that turns errors into exit codes, numbered causes and hints.

use std::{error::Error, fmt::Write, io, path::PathBuf};

use winstead_bench::BenchError;
use winstead_engine::{EngineError, Kind};
use winstead_guest::hand::{HandError, HandFailure};
use winstead_spec::Problems;

use crate::interrupt::INTERRUPTED;

/// The exit code of `exec` and `ssh` when the command could not be run, as `ssh` itself has it.
const COULD_NOT_RUN: u8 = 255;

/// A command that did not do its work. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// The engine said no.
    #[error(transparent)]
    Engine(Box<EngineError>),
    /// A machine's agent did not do it.
    #[error(transparent)]
    Hand(Box<HandError>),
    /// An experiment could not be done.
    #[error(transparent)]
    Bench(Box<BenchError>),
    /// The user's files are wrong.
    #[error("read {files}: {}", count(.problems))]
    Problems { files: String, problems: Problems },
    /// A file that the user named cannot be read.
    #[error("read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// A file that the user named cannot be read as a measurement.
    #[error("read {}", path.display())]
    NoMeasurement { path: PathBuf, source: Box<dyn Error + Send + Sync>, hint: &'static str },
    /// Runs of which different things were asked.
    #[error("{message}")]
    Unlike { message: String, differences: Vec<String>, hint: String },
    /// The command line asks for something that cannot be.
    #[error("{message}")]
    Usage { message: String, hints: Vec<String> },
    /// There is no place for a home.
    #[error("find a place for the home folder: neither HOME nor XDG_STATE_HOME is set")]
    NoHome,
    /// Something on this computer.
    #[error("{what}")]
    System { what: String, source: io::Error, hints: Vec<String> },
    /// A program that we ran for the user and that has said itself what was wrong.
    #[error("{what}: {status}")]
    Program { what: String, status: std::process::ExitStatus },
    /// A command that was to be run for the user in a guest never ran.
    #[error(transparent)]
    CouldNotRun(Box<CliError>),
    /// A command that was to be run for the user in a guest and is not there, or may not be run: with the code that a shell
    /// has for it.
    #[error(transparent)]
    NotStarted(Box<HandError>),
    /// Data cannot be written as JSON or YAML.
    #[error("write the answer")]
    Render(#[source] Box<dyn Error + Send + Sync>),
    /// Whoever read a stream on our standard output has gone: they have what they wanted.
    #[error("write to standard output: nobody reads it any more")]
    NobodyReads,
    /// Ctrl-C where nothing had to be finished, or all has been said already.
    #[error("finish: interrupted")]
    Stopped,
}

impl From<EngineError> for CliError {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Hand(error) => Self::Hand(error),
            error => Self::Engine(Box::new(error)),
        }
    }
}

impl From<HandError> for CliError {
    fn from(error: HandError) -> Self {
        Self::Hand(Box::new(error))
    }
}

impl From<BenchError> for CliError {
    fn from(error: BenchError) -> Self {
        match error {
            BenchError::Engine(error) => error.into(),
            error => Self::Bench(Box::new(error)),
        }
    }
}

impl CliError {
    /// Something that the process itself needs from the system.
    pub(crate) fn runtime(source: io::Error) -> Self {
        Self::System { what: "start".to_owned(), source, hints: Vec::new() }
    }

    /// A wrong command line, and what to write instead.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hints: vec![hint.into()] }
    }

    /// The same error with the exit code that `exec` and `ssh` have for it.
    pub(crate) fn could_not_run(self) -> Self {
        Self::CouldNotRun(Box::new(self))
    }

    /// The documented exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Engine(error) => code(error.kind()),
            Self::Bench(error) => code(error.kind()),
            Self::Problems { .. } | Self::Read { .. } | Self::Usage { .. } | Self::NoHome => 2,
            Self::NoMeasurement { .. } | Self::Unlike { .. } => 2,
            Self::Hand(_) | Self::System { .. } | Self::Program { .. } | Self::Render(_) => 1,
            Self::CouldNotRun(_) => COULD_NOT_RUN,
            Self::NotStarted(error) => error.failure.not_started().unwrap_or(COULD_NOT_RUN),
            Self::NobodyReads => 0,
            Self::Stopped => INTERRUPTED,
        }
    }

    /// Whether there is nothing to tell.
    pub(crate) const fn is_silent(&self) -> bool {
        matches!(self, Self::NobodyReads | Self::Stopped)
    }

    /// What to do next.
    pub(crate) fn hints(&self) -> Vec<String> {
        match self {
            Self::Engine(error) if error.kind() == Kind::Interrupted => {
                vec!["run the same command again: it goes on where it stopped".to_owned()]
            }
            Self::Engine(error) => engine_hints(error),
            Self::Bench(error) => error.hints(),
            Self::Hand(error) => vec![hand_hint(error)],
            Self::NotStarted(_) => {
                vec!["write `sh -c '…'` when the guest's shell shall read the command".to_owned()]
            }
            Self::System { source, hints, .. } if hints.is_empty() => vec![system_hint(source).to_owned()],
            Self::Usage { hints, .. } | Self::System { hints, .. } => hints.clone(),
            Self::Program { .. } => vec![
                "the lines above are its own; folders need -r, and a machine's paths begin in its user's home folder"
                    .to_owned(),
            ],
            Self::Render(_) => vec!["another format may do: -o table, json or yaml".to_owned()],
            Self::Problems { .. } => {
                vec!["`winstead schema` prints what a file may hold; editors can read it".to_owned()]
            }
            Self::Read { .. } => vec!["-f takes files, folders, and - for standard input".to_owned()],
            Self::NoMeasurement { hint, .. } => vec![(*hint).to_owned()],
            Self::Unlike { hint, .. } => vec![hint.clone()],
            Self::NoHome => vec!["name a folder with --home DIR".to_owned()],
            Self::CouldNotRun(error) => error.hints(),
            Self::NobodyReads | Self::Stopped => Vec::new(),
        }
    }

    /// What stands between the error and its causes: sums, problems, failed machines, line by line.
    pub(crate) fn details(&self) -> String {
        match self {
            Self::Problems { problems, .. } => indented(&problems.to_string()),
            Self::Unlike { differences, .. } => indented(&differences.join("\n")),
            Self::Engine(error) => engine_details(error),
            Self::Bench(error) => bench_details(error),
            Self::CouldNotRun(error) => error.details(),
            _ => String::new(),
        }
    }
}

/// The documented exit code of a kind of error.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => 2,
        Kind::Refused => 3,
        Kind::TimedOut => 4,
        Kind::Interrupted => INTERRUPTED,
        Kind::Failed => 1,
    }
}

/// What to do about an error of the system that whoever met it knows nothing better about.
fn system_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "run it as the user whom it belongs to",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "free space there, then run it again",
        _ => "run it again with -vv to see what is done",
    }
}

/// What to do when a machine's agent did not do something.
fn hand_hint(error: &HandError) -> String {
    match &error.failure {
        HandFailure::Busy(..) => "wait until another command in that machine has ended".to_owned(),
        HandFailure::Kind { found: "a folder", .. } => "folders need -r".to_owned(),
        HandFailure::Terminal(_) => {
            "leave out -t, or go by SSH, which needs no terminal: --via ssh".to_owned()
        }
        HandFailure::Outside(_) => {
            format!("do not trust {}: `winstead reset {0}` puts it back to golden", error.machine)
        }
        _ => format!(
            "`winstead logs {}` shows its console; `exec`, `cp` and `bench` go another way with `--via ssh`",
            error.machine
        ),
    }
}

/// The engine's hints, and one of ours where it has none: nobody is left without a next step.
fn engine_hints(error: &EngineError) -> Vec<String> {
    let hints = error.hints();
    if !hints.is_empty() {
        return hints;
    }
    if let EngineError::Several { failed, .. } = error
        && let Some((_, first)) = failed.first()
    {
        return engine_hints(first);
    }
    vec![match error {
        EngineError::Unknown { .. } | EngineError::UnknownImage { .. } => {
            "`winstead get machines`, `get pools`, `get templates` and `get images` show what is there"
                .to_owned()
        }
        EngineError::Step { machine, .. } => {
            format!(
                "`winstead describe {machine}` shows what happened; the same command goes on where it stopped"
            )
        }
        EngineError::Supervisor { log, .. } => format!("read {}", log.display()),
        EngineError::Home(_) => "name a folder that you may write to with --home DIR".to_owned(),
        _ => "run it again with -vv to see what is done; it goes on where it stopped".to_owned(),
    }]
}

fn engine_details(error: &EngineError) -> String {
    match error {
        EngineError::Admission { sum, .. } => indented(&crate::output::sum(sum)),
        EngineError::Several { failed, .. } => {
            let lines = failed
                .iter()
                .map(|(machine, error)| format!("{machine}: failed to {}", in_one_line(error.as_ref())));
            indented(&lines.collect::<Vec<_>>().join("\n"))
        }
        _ => String::new(),
    }
}

/// What the probe said about a workload, as it said it.
fn bench_details(error: &BenchError) -> String {
    let BenchError::Workload { said, .. } = error else { return String::new() };
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    indented(&lines.join("\n"))
}

/// An error with its causes below it, each said once.
pub(crate) fn causes(error: &dyn Error) -> Vec<String> {
    let mut said = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if said.last().is_none_or(|last| *last != text) {
            said.push(text);
        }
        next = cause.source();
    }
    said.split_off(1)
}

fn in_one_line(error: &dyn Error) -> String {
    let mut text = error.to_string();
    for cause in causes(error) {
        write!(text, ": {cause}").expect("writing to a String cannot fail");
    }
    text
}

fn indented(text: &str) -> String {
    text.lines().fold(String::new(), |all, line| all + "  " + line + "\n")
}

fn count(problems: &Problems) -> String {
    match problems.0.len() {
        1 => "1 problem".to_owned(),
        many => format!("{many} problems"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(text: &str) -> io::Error {
        io::Error::other(text.to_owned())
    }

    #[test]
    fn exit_codes_are_the_documented_ones() {
        let interrupted = CliError::from(EngineError::Interrupted);
        assert_eq!(interrupted.exit_code(), 130);
        assert_eq!(CliError::from(EngineError::Refused(vec!["no".into()])).exit_code(), 3);
        assert_eq!(CliError::usage("x", "y").exit_code(), 2);
        assert_eq!(CliError::runtime(io_error("no")).exit_code(), 1);
        assert_eq!(interrupted.could_not_run().exit_code(), 255);
        assert_eq!(CliError::NobodyReads.exit_code(), 0);
    }

    #[test]
    fn nobody_is_left_without_a_next_step() {
        use std::os::unix::process::ExitStatusExt;
        let status = std::process::ExitStatus::from_raw(256);
        for error in [
            CliError::runtime(io_error("no")),
            CliError::Render(io_error("no").into()),
            CliError::Program { what: "copy a to b".into(), status },
            CliError::Read { path: "x".into(), source: io_error("no") },
            CliError::NoHome,
            CliError::runtime(io_error("no")).could_not_run(),
        ] {
            assert_eq!(error.hints().len(), 1, "{error}");
        }
        let own = CliError::System { what: "x".into(), source: io_error("no"), hints: vec!["y".into()] };
        assert_eq!(own.hints(), ["y"]);
    }

    #[test]
    fn the_probes_own_words_stand_below_the_error() {
        let said =
            "error: the argument '--output' cannot be used multiple times\n\nUsage: winstead-probe".into();
        let error = CliError::from(BenchError::Workload { arguments: "latency".into(), said });
        assert_eq!(error.to_string(), r#"read the workload "latency""#);
        let details =
            "  error: the argument '--output' cannot be used multiple times\n  Usage: winstead-probe\n";
        assert_eq!(error.details(), details);
        assert_eq!(error.hints(), ["`winstead-probe --help` explains the workloads"]);
    }

    #[test]
    fn a_cause_is_not_said_twice() {
        let error =
            CliError::System { what: "open x".into(), source: io_error("disk on fire"), hints: Vec::new() };
        assert_eq!(causes(&error), ["disk on fire"]);
        assert_eq!(in_one_line(&error.could_not_run()), "open x: disk on fire");
    }
}
