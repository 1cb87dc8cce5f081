//! What the program can end with: the one place that makes exit codes, causes and hints of it.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use crate::parameters::Problem;

/// Ended by Ctrl-C, as shells have it.
pub(crate) const INTERRUPTED: u8 = 130;

const FAILED: u8 = 1;
const REFUSED: u8 = 2;

/// A run that gave no whole result. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// The command line asks for something that cannot be.
    #[error("read the arguments; nothing was written{}", lines(.0))]
    Arguments(Vec<Problem>),
    /// It cannot be measured there. Nothing was written.
    #[error("begin; nothing was written{}", lines(.0))]
    Refused(Vec<Problem>),
    /// Files cannot be made or opened.
    #[error("make the files that are to be measured")]
    Prepare(#[source] io::Error),
    /// The disk stopped working while it was measured.
    #[error("measure to the end: the disk was lost: {said}")]
    Lost { said: String },
    /// Something that the program itself needs.
    #[error("{what}")]
    System { what: String, source: io::Error },
    /// Something is left behind.
    #[error("remove {}", path.display())]
    Left { path: PathBuf, source: io::Error },
    /// Nobody said that the load may begin.
    #[error("wait at the barrier")]
    Barrier(#[source] io::Error),
    /// The result cannot be written to standard output.
    #[error("write the result")]
    Print(#[source] io::Error),
    /// Ctrl-C.
    #[error("finish: interrupted")]
    Interrupted,
}

impl ProbeError {
    pub(crate) const fn prepare(error: io::Error) -> Self {
        Self::Prepare(error)
    }

    pub(crate) const fn print(error: io::Error) -> Self {
        Self::Print(error)
    }

    /// Says on standard error what happened; the exit code.
    pub(crate) fn report(&self) -> ExitCode {
        // Nobody may read standard error any more; the exit code remains.
        drop(io::stderr().lock().write_all(self.text().as_bytes()));
        ExitCode::from(self.code())
    }

    fn text(&self) -> String {
        let mut text = format!("error: failed to {self}\n");
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            writeln!(text, "  caused by: {error}").unwrap_or_default();
            cause = error.source();
        }
        for hint in self.hints() {
            writeln!(text, "hint: {hint}").unwrap_or_default();
        }
        text
    }

    fn hints(&self) -> Vec<&str> {
        match self {
            Self::Arguments(problems) | Self::Refused(problems) => {
                problems.iter().map(|problem| problem.hint.as_str()).collect()
            }
            Self::Prepare(error) if error.kind() == io::ErrorKind::StorageFull => {
                vec!["somebody else filled the disk meanwhile: free some, or measure less"]
            }
            Self::Barrier(_) => vec![
                "standard input must stay open until one line is written to it: `ssh` without -n, `docker run -i`",
            ],
            Self::Lost { .. } => {
                vec!["what was measured until then was printed; the kernel's log may say more"]
            }
            Self::Left { .. } => vec!["remove it by hand"],
            _ => Vec::new(),
        }
    }

    const fn code(&self) -> u8 {
        match self {
            Self::Arguments(_) | Self::Refused(_) => REFUSED,
            Self::Interrupted => INTERRUPTED,
            _ => FAILED,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().fold(String::new(), |text, problem| text + "\n  " + &problem.what)
}
