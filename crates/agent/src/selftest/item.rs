//! A line of the checklist.

use std::{fmt, path::PathBuf};

use serde::Serialize;

/// What is looked at: an agent as it is installed here.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The folder of its sockets; on Windows the name of its pipe.
    pub runtime: PathBuf,
    /// The folder of what outlives it.
    pub state: PathBuf,
    /// Its service's name.
    pub service: String,
    /// Its program, which is started to be limited.
    pub program: PathBuf,
}

/// One thing that was tried.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Its name, for people and programs.
    pub name: &'static str,
    /// What it proves when it passes.
    pub proves: &'static str,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "result", content = "why")]
pub enum Outcome {
    /// It is as it should be.
    Passed,
    /// It is not: what was seen.
    Failed(String),
    /// It could not be tried: why.
    Skipped(String),
}

impl Outcome {
    /// Whether something was refused that had to be: passed with any error of `refusals`, skipped with another one, whose
    /// cause is not what is tried here.
    #[cfg(windows)]
    pub(crate) fn refused<T>(outcome: std::io::Result<T>, refusals: &[i32]) -> Self {
        match outcome {
            Ok(_) => Self::Failed("it was let in".to_owned()),
            Err(error) if error.raw_os_error().is_some_and(|code| refusals.contains(&code)) => Self::Passed,
            Err(error) => Self::Skipped(error.to_string()),
        }
    }

    /// What was seen is what should be.
    pub(crate) fn expect<T: PartialEq + fmt::Debug>(seen: &T, wanted: &T) -> Self {
        if seen == wanted { Self::Passed } else { Self::Failed(format!("{seen:?} instead of {wanted:?}")) }
    }
}

/// An error of the system while trying is a failure: the agent would meet it, too.
impl From<std::io::Error> for Outcome {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// `passed   pipe rights: …`.
impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, why) = match &self.outcome {
            Outcome::Passed => ("passed", None),
            Outcome::Failed(why) => ("FAILED", Some(why)),
            Outcome::Skipped(why) => ("skipped", Some(why)),
        };
        write!(out, "{word:<8} {}: {}", self.name, self.proves)?;
        why.map_or(Ok(()), |why| write!(out, "\n         {why}"))
    }
}
