//! What a command of the engine can fail with, and what to do about it.

use std::path::PathBuf;

use winstead_guest::hand::HandError;
use winstead_spec::{ByteSize, MachineName, Name, TEMPLATES};

use crate::{HomeError, admission::Sum, journal::JournalError};

/// A command that did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The home cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The journal cannot be used.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It does not fit into this host.
    #[error("fit everything into this host's {what}: {needed} needed, {available} available", needed = sum.needed, available = sum.available)]
    Admission {
        /// `memory`, or a store's folder.
        what: String,
        /// The sum, line by line.
        sum: Sum,
    },
    /// The plan itself says no.
    #[error("carry the plan out: {}", .0.join("; "))]
    Refused(Vec<String>),
    /// A pool's image is nowhere.
    #[error("find the image {image} that pool {pool} starts from")]
    UnknownImage {
        /// The pool.
        pool: Name,
        /// Its image.
        image: Name,
        /// The nearest name that is there.
        nearest: Option<String>,
    },
    /// No such machine or pool.
    #[error("find {what}")]
    Unknown {
        /// What was asked for.
        what: String,
        /// The nearest name that is there.
        nearest: Option<String>,
    },
    /// An image or a template that machines stand on.
    #[error("remove the {what}: {} {} it", listed(.users), if .users.len() == 1 { "uses" } else { "use" })]
    InUse {
        /// `image NAME`, `template NAME`.
        what: String,
        /// Who uses it.
        users: Vec<MachineName>,
    },
    /// A version that is not what was built.
    #[error("verify the image {image}")]
    DamagedImage {
        /// The image.
        image: Name,
        /// The first digits of its digest.
        digits: String,
        /// What is wrong with it.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A machine that cannot be reached now.
    #[error("reach {machine}: it is {state}")]
    NotRunning {
        /// The machine.
        machine: MachineName,
        /// Its phase and message.
        state: String,
    },
    /// A machine whose image has no agent.
    #[error("reach the agent in {machine}: its image has none")]
    NoAgent {
        /// The machine.
        machine: MachineName,
    },
    /// A machine's agent did not do it.
    #[error(transparent)]
    Hand(Box<HandError>),
    /// A machine did not answer in time.
    #[error("wait for {machine}: not ready after {after:?}; last seen: {last_seen}")]
    NotReady {
        /// The machine.
        machine: MachineName,
        /// The deadline.
        after: std::time::Duration,
        /// What was last seen of it.
        last_seen: String,
    },
    /// A machine stayed too long in a phase.
    #[error("{step} of {machine}: not done after {after:?} in this phase")]
    TooLong {
        /// The machine.
        machine: MachineName,
        /// The step it was in.
        step: &'static str,
        /// The phase's deadline.
        after: std::time::Duration,
    },
    /// A machine that is held.
    #[error("bring {machine} up: it is held: {reason}")]
    Held {
        /// The machine.
        machine: MachineName,
        /// Why, and what frees it.
        reason: String,
    },
    /// A machine that failed.
    #[error("start {machine}: {reason}")]
    MachineFailed {
        /// The machine.
        machine: MachineName,
        /// Why.
        reason: String,
    },
    /// A step on a machine went wrong.
    #[error("{step} of {machine}")]
    Step {
        /// The machine.
        machine: MachineName,
        /// The step.
        step: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something about this computer.
    #[error("{what}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image could not be built, verified or removed.
    #[error("{what} the image {image}")]
    Image {
        /// What was tried.
        what: &'static str,
        /// The image.
        image: Name,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The supervisor did not come up.
    #[error("start the supervisor; its log is {log}")]
    Supervisor {
        /// Its log.
        log: PathBuf,
        /// Why, when that is known.
        source: std::io::Error,
    },
    /// Several machines failed.
    #[error("{verb} {} of {of} machines", .failed.len())]
    Several {
        /// What was to be done with them: `bring up`, `take away`.
        verb: &'static str,
        /// How many there were.
        of: usize,
        /// What went wrong, machine by machine.
        failed: Vec<(MachineName, Box<EngineError>)>,
    },
    /// Ctrl-C, SIGTERM.
    #[error("finish: interrupted")]
    Interrupted,
}

impl From<HandError> for EngineError {
    fn from(error: HandError) -> Self {
        Self::Hand(Box::new(error))
    }
}

/// What kind of failure it is: decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or a file is wrong.
    Usage,
    /// Refused before anything was changed.
    Refused,
    /// Time ran out.
    TimedOut,
    /// Ctrl-C, SIGTERM.
    Interrupted,
    /// Everything else.
    Failed,
}

impl EngineError {
    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::UnknownImage { .. } | Self::Unknown { .. } | Self::NoAgent { .. } => Kind::Usage,
            Self::Admission { .. } | Self::Refused(_) | Self::InUse { .. } => Kind::Refused,
            Self::Home(HomeError::Busy { .. } | HomeError::Foreign { .. }) => Kind::Refused,
            Self::NotReady { .. } | Self::TooLong { .. } => Kind::TimedOut,
            Self::Interrupted => Kind::Interrupted,
            Self::Several { failed, .. } => failed.first().map_or(Kind::Failed, |(_, error)| error.kind()),
            _ => Kind::Failed,
        }
    }

    /// What to do next, each with a command that can be pasted where there is one.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::Admission { sum, .. } => {
                let over = ByteSize::from_bytes(sum.needed.bytes() - sum.available.bytes());
                let unmeasured = sum.unmeasured.iter().map(|pool| {
                    format!(
                        "nothing was measured yet of the pool {pool}, so its machines count whole: start it with `replicas: 1`, then raise that"
                    )
                });
                let lower = format!(
                    "{over} too much: lower replicas, memory, disk.cap or the Host's growth.reserve, or take other pools down first: `winstead get pools`"
                );
                unmeasured.chain([lower]).collect()
            }
            Self::UnknownImage { nearest, .. } | Self::Unknown { nearest, .. } => {
                nearest.iter().map(|name| format!("did you mean `{name}`?")).collect()
            }
            Self::InUse { users, .. } => {
                let remedy = |name: &MachineName| match name.pool.as_str().starts_with(TEMPLATES) {
                    true => format!("template rm {name}"),
                    false => format!("down {}", name.pool),
                };
                let first = users.first().map(remedy);
                first.iter().map(|remedy| format!("take them away first: `winstead {remedy}`")).collect()
            }
            Self::DamagedImage { image, digits, .. } => {
                vec![format!(
                    "`winstead image rm {image} --digest {digits}` removes it; the next `up` builds it again"
                )]
            }
            Self::NoAgent { .. } => {
                vec!["give its image `agent: true` in the file, and run `winstead up -f FILE`".to_owned()]
            }
            Self::NotRunning { machine, .. } => {
                vec![format!(
                    "`winstead describe {machine}` says more; `winstead up -f FILE` starts it again on its disk, \
                     `winstead reset {machine}` throws its disk away"
                )]
            }
            Self::NotReady { machine, .. } | Self::MachineFailed { machine, .. } => {
                vec![format!(
                    "`winstead logs {machine}` shows its console; `winstead up -f FILE` tries again, \
                     `winstead reset {machine}` from golden"
                )]
            }
            Self::Held { machine, .. } => {
                vec![format!("`winstead describe {machine}` shows its disk, its memory and since when")]
            }
            Self::Several { failed, .. } => failed.first().map_or(Vec::new(), |(_, error)| error.hints()),
            Self::Journal(error) if error.is_disk_full() => {
                vec!["free space on the disk that holds the home, then run the same command again".to_owned()]
            }
            Self::Home(HomeError::Busy { .. }) => {
                vec!["wait for it, or give this command another --home".to_owned()]
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn host(
        what: &'static str,
    ) -> impl FnOnce(Box<dyn std::error::Error + Send + Sync>) -> EngineError {
        move |source| Self::Host { what, source }
    }
}

/// An error with its causes in one line, for records that have no other place for them.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn listed(names: &[MachineName]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_keeps_the_disk_is_advised_before_what_throws_it_away() {
        let machine: MachineName = "p-0".parse().unwrap();
        let errors = [
            EngineError::NotRunning { machine: machine.clone(), state: String::new() },
            EngineError::MachineFailed { machine: machine.clone(), reason: String::new() },
            EngineError::NotReady { machine, after: std::time::Duration::ZERO, last_seen: String::new() },
        ];
        for error in errors {
            let hint = error.hints().join(" ");
            assert!(hint.find("winstead up").unwrap() < hint.find("winstead reset").unwrap(), "{hint}");
        }
    }
}
