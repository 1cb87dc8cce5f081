//! What can go wrong with a command.

use std::{fmt, io, process::ExitStatus, time::Duration};

/// A command that did not do its work. Shows the command, what happened, and the end of what it said.
#[derive(Debug)]
pub struct CommandError {
    /// The command as one would type it.
    pub command: String,
    /// What happened.
    pub failure: Failure,
    /// The last lines of its standard error, or of its output if it said nothing there.
    pub said: String,
}

/// What happened to a command.
#[derive(Debug)]
pub enum Failure {
    /// The program is not on this computer.
    NotFound,
    /// It could not be started, fed or read.
    Io(io::Error),
    /// It ended with another status than 0.
    Status(ExitStatus),
    /// It took longer than its deadline and was killed with all its children.
    TimedOut(Duration),
    /// Whoever started it was told to stop; it was killed with all its children.
    Cancelled,
    /// It was killed, for one of the reasons above, and is still there: the kernel does not let it go.
    Stays(Duration),
}

impl CommandError {
    /// Whether the program itself is missing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self.failure, Failure::NotFound)
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run `{}`: ", self.command)?;
        match &self.failure {
            Failure::NotFound => f.write_str("the program is not installed")?,
            Failure::Io(_) => f.write_str("it could not be started or read")?,
            Failure::Status(status) => write!(f, "{status}")?,
            Failure::TimedOut(limit) => write!(f, "not done after {limit:?}, killed")?,
            Failure::Cancelled => f.write_str("interrupted")?,
            Failure::Stays(limit) => {
                write!(f, "it could not be killed: {limit:?} after SIGKILL it is still there")?;
            }
        }
        if !self.said.is_empty() {
            write!(f, "; it said: {}", self.said)?;
        }
        Ok(())
    }
}

impl std::error::Error for CommandError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.failure {
            Failure::Io(error) => Some(error),
            _ => None,
        }
    }
}
