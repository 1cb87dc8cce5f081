//! What a service is, whoever runs it.

use std::{fmt, io, path::PathBuf, time::Duration};

use serde::Serialize;

/// How long a service may take to start or to stop.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// After which pauses it is started again when it failed. A day without a failure begins anew.
#[cfg(windows)]
pub(crate) const RESTARTS: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(30)];

/// A service to be installed.
#[derive(Clone, Debug)]
pub struct Service {
    /// What the system calls it.
    pub name: String,
    /// For people: one line.
    pub description: String,
    /// The program, absolute.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Whether it waits at boot until all others have started (Windows).
    pub delayed: bool,
}

/// What a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// There is none of this name.
    NotInstalled,
    /// It is there and does not run.
    Stopped,
    /// It was asked to start.
    Starting,
    /// It runs.
    Running,
    /// It was asked to stop.
    Stopping,
}

/// What the system says of a service.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Its name.
    pub name: String,
    /// What it is doing.
    pub phase: Phase,
    /// Its process, while it runs.
    pub pid: Option<u32>,
}

/// A service could not be dealt with. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The system refused, or has no such service.
    #[error("{doing} the service {name}")]
    Refused {
        /// What was to be done, as a verb.
        doing: &'static str,
        /// Which.
        name: String,
        /// What the system says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It did not get there in time.
    #[error("see the service {name} {wanted} within {} seconds: it is {phase}", PATIENCE.as_secs())]
    Late {
        /// Which.
        name: String,
        /// What it should be.
        wanted: Phase,
        /// What it is.
        phase: Phase,
    },
    /// This process is not a service: nobody who manages services started it.
    #[error("run as a service: it was not started by the service manager")]
    NotAService,
}

impl ServiceError {
    /// What the system refused. `doing` is a verb.
    pub(crate) fn refused<E>(doing: &'static str, name: &str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let name = name.to_owned();
        move |source| Self::Refused { doing, name, source: source.into() }
    }
}

impl From<ServiceError> for io::Error {
    fn from(error: ServiceError) -> Self {
        Self::other(error)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotInstalled => "not installed",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
        })
    }
}

/// `winstead-agent is running (pid 12)`.
impl fmt::Display for Status {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} is {}", self.name, self.phase)?;
        self.pid.map_or(Ok(()), |pid| write!(out, " (pid {pid})"))
    }
}
