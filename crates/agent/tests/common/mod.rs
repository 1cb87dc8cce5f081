//! Agents of a test's own.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tempfile::TempDir;
use winstead_agent::{
    configuration::Source,
    serve::{Places, ServeError, Settings, Signals, serve},
};
use winstead_agent_client::{Address, Connection};

/// How long anything may take on a busy computer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// By these files.
pub(crate) fn settings(places: Places, files: Vec<PathBuf>) -> Settings {
    let program = env!("CARGO_BIN_EXE_winstead-agent").into();
    Settings { places, source: Source::Documents(files), program }
}

/// An agent that runs in this process, with folders of its own.
pub(crate) struct Agent {
    folder: TempDir,
    pub(crate) signals: Signals,
    task: tokio::task::JoinHandle<Result<(), ServeError>>,
}

impl Agent {
    /// An agent with the defaults.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// An agent with these documents, each without its `apiVersion`; see [`document`].
    pub(crate) async fn with(documents: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::write(folder.path(), documents);
        let places = Places { runtime: folder.path().join("run"), state: folder.path().join("state") };
        let files = if documents.is_empty() { Vec::new() } else { vec![folder.path().join("agent.yaml")] };
        let (settings, signals) = (settings(places, files), Signals::default());
        let theirs = signals.clone();
        let task = tokio::spawn(async move { serve(&settings, &theirs).await });
        let agent = Self { folder, signals, task };
        agent.wait_for_its_door().await;
        agent
    }

    async fn wait_for_its_door(&self) {
        let socket = self.runtime().join("agent.sock");
        let there = async {
            while !socket.exists() && !self.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("it opens its door");
    }

    fn write(folder: &Path, documents: &str) {
        fs_err::write(folder.join("agent.yaml"), documents).expect("it is written");
    }

    /// Replaces its documents; it reads them when it is asked to.
    pub(crate) fn rewrite(&self, documents: &str) {
        Self::write(self.folder.path(), documents);
    }

    /// Its folder of sockets.
    pub(crate) fn runtime(&self) -> std::path::PathBuf {
        self.folder.path().join("run")
    }

    /// Its folder of what outlives it.
    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.folder.path().join("state")
    }

    /// Where its own protocol is spoken.
    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.runtime().join("agent.sock"))
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Connection {
        Connection::open(&self.address()).await.expect("it listens")
    }

    /// Asks it to end, and waits for that.
    pub(crate) async fn stop(self) {
        self.signals.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("it ends in time");
        ended.expect("it does not panic").expect("nothing went wrong");
    }
}

/// A document of this kind, to be put behind another one.
pub(crate) fn document(kind: &str, spec: &str) -> String {
    format!("---\napiVersion: winstead.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: test}}\nspec: {spec}\n")
}
