//! Ports that a process opens to others: what a firewall has to let through to it, for as long as it is there.
//!
//! A firewall's rules outlive processes, agents and restarts of the computer. So a process's ports stand in its record
//! before there is a rule for them, and a rule says in which folder its process is kept: whoever finds a rule finds out
//! whether it is still for anything.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use winstead_spec::PortRange;

use crate::supervision::{Record, platform, store};

/// How long a firewall may take. Windows' takes milliseconds; more means that it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a process opens to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The process's name.
    pub id: String,
    /// Where it is kept. When that is gone, or says that it has ended, the rule is stale.
    pub folder: PathBuf,
    /// The file that runs. Another program gets nothing through.
    pub program: PathBuf,
    /// Its ports.
    pub ports: Vec<PortRange>,
}

/// A firewall. All its methods block.
pub trait Firewall: fmt::Debug + Send + Sync {
    /// Lets others reach these ports of this program.
    ///
    /// # Errors
    /// When they do not: some of it may be left then, and [`Firewall::close`] takes it away.
    fn open(&self, opening: &Opening) -> io::Result<()>;

    /// Takes away what was made for the process of this name. What is not there is fine.
    ///
    /// # Errors
    /// When something stays.
    fn close(&self, id: &str) -> io::Result<()>;

    /// Takes away what any agent has made for processes that are no more.
    ///
    /// # Errors
    /// When something stays.
    fn close_stale(&self) -> io::Result<()>;

    /// Takes away what was made for processes that are kept in this folder, also for such as run. Says for people what
    /// others do not reach any more of these.
    ///
    /// # Errors
    /// When something stays.
    fn close_all(&self, processes: &Path) -> io::Result<Vec<String>>;
}

/// [`Firewall::close_all`] of this system's firewall, for an agent that is taken away: nobody would do it later, and a rule
/// outlives even the computer's next start. Off the threads of async code, and not for long.
///
/// # Errors
/// When something stays.
pub async fn abandon(processes: PathBuf) -> io::Result<Vec<String>> {
    Gate(platform::firewall(false)).ask(move |firewall| firewall.close_all(&processes)).await
}

/// Whether a rule for the process that is kept in this folder is stale: it has ended, is forgotten, or nobody will ever know
/// of it. A folder that cannot be looked at is no proof.
#[must_use]
pub fn is_over(folder: &Path) -> bool {
    matches!(folder.try_exists(), Ok(false))
        || folder.join(store::END).exists()
        || [store::RECORD, store::RUNNING].iter().any(|name| is_torn(&folder.join(name)))
}

/// Each is written in one step. A computer that lost its power in the middle, and with it the process, leaves one without
/// what was to be in it.
fn is_torn(document: &Path) -> bool {
    let read = store::read::<serde_json::Value>(document);
    read.is_err_and(|error| matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof))
}

/// A firewall as processes use it: off the threads of async code, and never for long. Without one, everything succeeds.
#[derive(Clone, Debug)]
pub(super) struct Gate(pub(super) Option<Arc<dyn Firewall>>);

impl Gate {
    /// Opens the ports of a process that is about to run.
    ///
    /// # Errors
    /// When others would not reach them.
    pub(super) async fn open(&self, opening: Opening) -> io::Result<()> {
        if opening.ports.is_empty() {
            return Ok(());
        }
        self.ask(move |firewall| firewall.open(&opening)).await
    }

    /// Closes the ports of a process. What fails is said, and done when the process is forgotten, or by the next agent.
    pub(super) async fn close(&self, record: &Record) {
        if record.ports.is_empty() {
            return;
        }
        let id = record.id.clone();
        if let Err(error) = self.ask(move |firewall| firewall.close(&id)).await {
            tracing::warn!(%error, id = record.id, "a firewall rule of a process that has ended stays");
        }
    }

    /// Closes what agents that were killed left open.
    pub(super) async fn close_stale(&self) {
        if let Err(error) = self.ask(|firewall| firewall.close_stale()).await {
            tracing::warn!(%error, "firewall rules of processes that are no more may stay");
        }
    }

    async fn ask<T: Default + Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Firewall) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let Some(firewall) = self.0.clone() else { return Ok(T::default()) };
        let done = tokio::task::spawn_blocking(move || work(&*firewall));
        match tokio::time::timeout(PATIENCE, done).await {
            Ok(done) => done.map_err(io::Error::other)?,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the firewall does not answer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_over_when_it_has_ended_or_nobody_can_know_of_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name, text: &[u8]| fs_err::write(folder.path().join(name), text).expect("it is written");
        assert!(!is_over(folder.path()), "it is about to start");
        write(store::RECORD, b"{\"version\": 99}");
        write(store::RUNNING, b"{}");
        assert!(!is_over(folder.path()), "a newer agent may know more of it");
        for torn in [&b""[..], &[0; 64], b"{\"keeper\""] {
            write(store::RUNNING, torn);
            assert!(is_over(folder.path()), "{torn:?}");
        }
        write(store::RUNNING, b"{}");
        write(store::END, b"{}");
        assert!(is_over(folder.path()), "it has ended");
        assert!(is_over(&folder.path().join("forgotten")));
    }
}
