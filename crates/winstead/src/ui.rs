//! The terminal: the one place that writes to standard output and standard error.
//!
//! Data goes to standard output; errors, hints, notes and progress to standard error, around the progress bars.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    sync::Arc,
};

use clap::builder::styling::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressDrawTarget};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    cli::{Color, Command, Global},
    environment::Environment,
    error::{CliError, causes},
    terminal::{Tamer, plain, plain_lines},
};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const WARNING: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// The terminal. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Ui {
    shown: Arc<Shown>,
}

#[derive(Debug)]
struct Shown {
    quiet: bool,
    verbose: bool,
    color_out: bool,
    color_err: bool,
    terminal_out: bool,
    moving: bool,
    bars: MultiProgress,
    /// `winstead --home DIR ` when a command that one pastes has to name the home.
    ours: Option<String>,
}

impl Ui {
    pub(crate) fn new(global: &Global, environment: &Environment) -> Self {
        let (terminal_out, terminal_err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let color = |terminal: bool| match global.color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => terminal && !environment.no_color && !environment.has_dumb_terminal(),
        };
        // Log lines and bars would write over each other.
        let moving = terminal_err && !global.quiet && global.verbose == 0 && !environment.has_dumb_terminal();
        let target = if moving { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        Self {
            shown: Arc::new(Shown {
                quiet: global.quiet,
                verbose: global.verbose > 0,
                color_out: color(terminal_out),
                color_err: color(terminal_err),
                terminal_out,
                moving,
                bars: MultiProgress::with_draw_target(target),
                ours: ours(global, environment),
            }),
        }
    }

    /// Whether standard error is a terminal on which things may move.
    pub(crate) fn moves(&self) -> bool {
        self.shown.moving
    }

    /// Whether only data, errors and their hints are wanted.
    pub(crate) fn is_quiet(&self) -> bool {
        self.shown.quiet
    }

    /// Whether even steps are worth a line.
    pub(crate) fn is_verbose(&self) -> bool {
        self.shown.verbose
    }

    /// The progress bars of this process.
    pub(crate) fn bars(&self) -> &MultiProgress {
        &self.shown.bars
    }

    /// `text` in a style, where standard output has colours.
    pub(crate) fn styled(&self, style: Style, text: &str) -> String {
        painted(self.shown.color_out, style, text)
    }

    /// Writes a command's answer. A reader that has gone (`| head`) has what it wanted: the command goes on to its end
    /// and keeps its exit code.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn data(&self, answer: &(impl AsRef<[u8]> + ?Sized)) -> Result<(), CliError> {
        match self.bytes(answer.as_ref()) {
            Err(CliError::NobodyReads) => Ok(()),
            written => written,
        }
    }

    /// Writes a piece of a stream that may never end.
    ///
    /// # Errors
    /// When it cannot be written; [`CliError::NobodyReads`] when the reader has gone.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), CliError> {
        let written = self.shown.bars.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(bytes).and_then(|()| out.flush())
        });
        written.map_err(|source| match source.kind() {
            io::ErrorKind::BrokenPipe => CliError::NobodyReads,
            _ => CliError::System { what: "write to standard output".to_owned(), source, hints: Vec::new() },
        })
    }

    /// Writes bytes of a guest: a terminal gets no more of its escape sequences than colours.
    ///
    /// # Errors
    /// As [`Ui::bytes`].
    pub(crate) fn guest_bytes(&self, tamer: &mut Tamer, bytes: &[u8]) -> Result<(), CliError> {
        match self.shown.terminal_out {
            true => self.bytes(&tamer.tame(bytes, self.shown.color_out)),
            false => self.bytes(bytes),
        }
    }

    /// One line that the user may want to read, unless they asked for quiet.
    pub(crate) fn note(&self, text: &str) {
        if !self.shown.quiet {
            self.line(text);
        }
    }

    /// One line that the user must read.
    pub(crate) fn warn(&self, text: &str) {
        let text = self.pasteable(text);
        self.line(&format!("{} {text}", painted(self.shown.color_err, WARNING, "warning:")));
    }

    /// What to do next, unless they asked for quiet.
    pub(crate) fn hint(&self, text: &str) {
        let text = self.pasteable(text);
        self.note(&format!("{} {text}", painted(self.shown.color_err, HINT, "hint:")));
    }

    /// Shows an error with its details, its numbered causes and its hints.
    pub(crate) fn error(&self, error: &CliError) {
        let text = report(error, self.shown.color_err);
        self.line(self.pasteable(&text).trim_end());
    }

    /// The last act of the process: shows what went wrong and returns the exit code.
    pub(crate) fn finish(&self, outcome: Result<ExitCode, CliError>) -> ExitCode {
        outcome.unwrap_or_else(|error| {
            if !error.is_silent() {
                self.error(&error);
            }
            ExitCode::from(error.exit_code())
        })
    }

    /// Commands of ours in backticks with the home that this command works on.
    fn pasteable(&self, text: &str) -> String {
        match &self.shown.ours {
            Some(ours) => text.replace("`winstead ", &format!("`{ours}")),
            None => text.to_owned(),
        }
    }

    fn line(&self, text: &str) {
        // When standard error is closed, nobody can be told so.
        self.shown.bars.suspend(|| writeln!(io::stderr().lock(), "{text}")).ok();
    }
}

/// Errors carry words of files, guests and other programs, so all of it is made harmless here, once.
fn report(error: &CliError, color: bool) -> String {
    let (said, details) = (plain(&error.to_string()), plain_lines(&error.details()));
    let mut text = format!("{} failed to {said}\n{details}", painted(color, ERROR, "error:"));
    let causes: Vec<String> = causes(error).iter().map(|cause| plain(cause)).collect();
    for (number, cause) in (1..).zip(&causes) {
        text += &match causes.len() {
            1 => format!("  cause: {cause}\n"),
            _ => format!("  {number}: {cause}\n"),
        };
    }
    for hint in error.hints() {
        text += &format!("{} {}\n", painted(color, HINT, "hint:"), plain(&hint));
    }
    text
}

fn ours(global: &Global, environment: &Environment) -> Option<String> {
    let home = global.home.as_ref().filter(|home| !environment.leads_to(home))?;
    Some(format!("winstead --home {} ", winstead_process::shown([home])))
}

fn painted(color: bool, style: Style, text: &str) -> String {
    if color { format!("{style}{text}{style:#}") } else { text.to_owned() }
}

/// Sends the library's log to standard error. The supervisor's is its log file.
pub(crate) fn log_to_stderr(global: &Global, command: &Command, environment: &Environment) {
    let usual = match (command, global.verbose) {
        (Command::Supervise(_), 0) | (_, 1) => "info",
        (_, 0) => "off",
        (_, _) => "debug",
    };
    let filter = environment.log.as_deref().unwrap_or(usual);
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new(usual));
    fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).with_target(false).init();
}

#[cfg(test)]
mod tests {
    use winstead_engine::EngineError;
    use winstead_process::Command;

    use super::*;

    async fn step(machine: &str) -> EngineError {
        let stop = tokio_util::sync::CancellationToken::new();
        let source = Command::new("ls").arg("/nowhere").run(&stop).await.unwrap_err();
        EngineError::Step {
            machine: machine.parse().unwrap(),
            step: "make the overlay",
            source: source.into(),
        }
    }

    #[tokio::test]
    async fn an_error_is_followed_by_its_causes_and_a_next_step() {
        let error = CliError::from(step("agents-0").await);
        insta::assert_snapshot!(report(&error, false), @r"
        error: failed to make the overlay of agents-0
          cause: run `ls /nowhere`: exit status: 2; it said: ls: cannot access '/nowhere': No such file or directory
        hint: `winstead describe agents-0` shows what happened; the same command goes on where it stopped
        ");
    }

    #[test]
    fn words_of_files_in_errors_and_hints_steer_no_terminal() {
        let hostile = "a\u{1b}]0;b\u{7}\nhint: `rm -rf /`\u{202e}";
        let source = Box::new(std::io::Error::other(hostile));
        let errors = [
            CliError::usage(hostile, hostile),
            CliError::NoMeasurement { path: hostile.into(), source, hint: "none" },
            CliError::Unlike {
                message: hostile.to_owned(),
                differences: vec![hostile.to_owned()],
                hint: hostile.to_owned(),
            },
        ];
        for text in errors.iter().map(|error| report(error, false)) {
            let steers = |letter: char| letter.is_control() && letter != '\n' || letter == '\u{202e}';
            assert!(!text.contains(steers), "{text:?}");
            assert!(text.lines().all(|line| !line.starts_with("hint: `rm")), "{text:?}");
        }
    }

    #[tokio::test]
    async fn failed_machines_are_listed_one_by_one() {
        let failed = [step("agents-0").await, EngineError::Interrupted].map(Box::new);
        let failed =
            ["agents-0", "agents-1"].map(|name| name.parse().unwrap()).into_iter().zip(failed).collect();
        let error = CliError::from(EngineError::Several { verb: "bring up", of: 4, failed });
        insta::assert_snapshot!(report(&error, false), @r"
        error: failed to bring up 2 of 4 machines
          agents-0: failed to make the overlay of agents-0: run `ls /nowhere`: exit status: 2; it said: ls: cannot access '/nowhere': No such file or directory
          agents-1: failed to finish: interrupted
        hint: `winstead describe agents-0` shows what happened; the same command goes on where it stopped
        ");
    }
}
