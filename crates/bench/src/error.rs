//! What can go wrong with an experiment.

use std::{path::PathBuf, time::Duration};

use winstead_engine::{EngineError, Kind};
use winstead_guest::ssh::SshError;
use winstead_process::CommandError;
use winstead_spec::{MachineName, Name};

use crate::{limit::LimitError, program::ProgramError};

/// Why an experiment could not be done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The file has no pool, or several.
    #[error("choose a pool: the file has {}", listed(.0))]
    WhichPool(Vec<String>),
    /// The named pool is not in the file.
    #[error("find the pool {pool}: the file has {}", listed(known))]
    UnknownPool {
        /// As it was named.
        pool: Name,
        /// What there is.
        known: Vec<String>,
    },
    /// An arm's pool is called after the file's.
    #[error("call machines after the pool {0}: with `-bench-` and an arm behind it the name is too long")]
    LongName(Name),
    /// The probe's program.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The probe does not understand a workload.
    #[error("read the workload {arguments:?}")]
    Workload {
        /// As it was given.
        arguments: String,
        /// What the probe said.
        said: String,
    },
    /// A rate cannot be played.
    #[error("hold machines to a rate")]
    Limit(#[from] LimitError),
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A file of the results.
    #[error("{what} {}", path.display())]
    File {
        /// `write`, `read`.
        what: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system or the parser said.
        source: std::io::Error,
    },
    /// The folder holds results of another experiment.
    #[error("go on in {}: it holds another experiment ({})", folder.display(), some(differences))]
    OtherExperiment {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        differences: Vec<String>,
    },
    /// A run cannot be repeated as often as it fails.
    #[error("measure: {runs} runs one after another failed")]
    Broken {
        /// How many.
        runs: usize,
        /// The last one's word.
        said: String,
    },
    /// A machine cannot be told to do something.
    #[error("call a machine")]
    Ssh(#[from] SshError),
    /// The probe could not be copied into a machine.
    #[error("copy the probe into {machine}: {said}")]
    Copy {
        /// Which.
        machine: MachineName,
        /// What was said to that.
        said: String,
    },
    /// The probe could not be asked about a workload.
    #[error("ask the probe")]
    Probe(#[from] CommandError),
    /// Another experiment is under way.
    #[error("measure: another experiment holds {}", path.display())]
    InUse {
        /// Its lock.
        path: PathBuf,
    },
    /// A pool of the user's is called like one of ours.
    #[error("call a pool {0}: this home has one of that name")]
    Taken(Name),
    /// All was measured, and machines are left.
    #[error("take the machines of {} away", pools.join(", "))]
    Left {
        /// Their pools.
        pools: Vec<String>,
        /// Why.
        source: Box<EngineError>,
    },
    /// The probe gave no result.
    #[error("measure: {0}")]
    NoResult(String),
    /// The probe did not end in time.
    #[error("measure: the probe had not ended after {limit:?} and was told to{said}")]
    TooLong {
        /// The time that it had.
        limit: Duration,
        /// Its last words, behind a semicolon.
        said: String,
    },
    /// Somebody pressed Ctrl-C.
    #[error("finish: interrupted")]
    Interrupted,
}

/// The first few, and how many more there are.
fn some(differences: &[String]) -> String {
    const SHOWN: usize = 4;
    let more = differences.len().saturating_sub(SHOWN);
    let shown = differences.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("; ");
    if more == 0 { shown } else { format!("{shown}; and {more} more") }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl BenchError {
    /// What kind of failure it is, for exit codes.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::WhichPool(_)
            | Self::UnknownPool { .. }
            | Self::LongName(_)
            | Self::Workload { .. }
            | Self::Program(_) => Kind::Usage,
            Self::OtherExperiment { .. } | Self::Limit(_) | Self::InUse { .. } | Self::Taken(_) => {
                Kind::Refused
            }
            Self::Engine(error) => error.kind(),
            Self::Interrupted => Kind::Interrupted,
            Self::TooLong { .. } => Kind::TimedOut,
            Self::Left { .. }
            | Self::File { .. }
            | Self::Broken { .. }
            | Self::Ssh(_)
            | Self::Copy { .. }
            | Self::Probe(_)
            | Self::NoResult(_) => Kind::Failed,
        }
    }

    /// What to do next.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::WhichPool(known) if known.is_empty() => {
                "add a `kind: Pool` to it; examples/bench.yaml has one"
            }
            Self::WhichPool(_) | Self::UnknownPool { .. } => "--pool NAME says which of them",
            Self::LongName(_) => "give the pool a shorter name in the file",
            Self::Program(ProgramError::NotStatic(_)) => {
                "`cargo probe` in Winstead's sources builds one that needs none; name it with --probe FILE"
            }
            Self::Program(_) => {
                "--probe FILE names the probe's program for the guests; docs/probe.md says how to build it"
            }
            Self::Limit(LimitError::NoDevice) => {
                "let stores.disk name a folder on a disk (examples/host.yaml)"
            }
            Self::Limit(_) => "--disk-limit needs root, and the blkio or io controller of control groups",
            Self::OtherExperiment { .. } => "--out DIR names another folder; nothing in this one was changed",
            Self::Workload { .. } => "`winstead-probe --help` explains the workloads",
            Self::Broken { said, .. } => return vec![format!("the last one said: {said}")],
            Self::File { what: "read", .. } => "remove that file; a run that is missing is measured again",
            Self::File { .. } => {
                "--out DIR names another folder; what was measured until then stays where it is"
            }
            Self::InUse { .. } => "wait until it has ended; another --out and another --home are free",
            Self::Taken(name) => {
                return vec![format!(
                    "an experiment takes pools of its own away: `winstead down {name}` removes this one, or give the file's \
                     pool another name"
                )];
            }
            Self::Left { pools, .. } => {
                return vec![format!("`winstead down {}` takes them away", pools.join(" "))];
            }
            Self::Interrupted => "run the same command again: it goes on where it stopped",
            Self::Ssh(_) => "`winstead exec MACHINE -- PROGRAM` shows which words a machine can be given",
            Self::Copy { machine, .. } => {
                return vec![format!("`winstead ssh {machine}` shows whether it answers, and has room")];
            }
            Self::Probe(_) => "--probe FILE names another program; -vv shows how it is called",
            Self::NoResult(_) => {
                "the same words with `winstead-probe`, in the same place, show all that it says"
            }
            Self::TooLong { .. } => "--deadline TIME gives it more",
            Self::Engine(_) => return Vec::new(),
        };
        vec![hint.to_owned()]
    }
}
