//! A daemon of a test's own.

use std::{path::PathBuf, time::Duration};

use tempfile::TempDir;
use tokio::{net::UnixStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use winstead_agent::{
    serve::Places,
    wins::{Daemon, DaemonError, process::OnExit},
};
use winstead_spec::{WinsConfig, parse_wins};

/// How long anything may take on a busy computer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Running {
    pub(crate) folder: TempDir,
    stop: CancellationToken,
    task: JoinHandle<Result<(), DaemonError>>,
}

impl Running {
    /// By this old configuration file.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder, config, OnExit::Tell).await
    }

    pub(crate) async fn start_in(folder: TempDir, config: &str, on_exit: OnExit) -> Self {
        let config: WinsConfig = parse_wins("config", config).expect("a right configuration");
        let places = Places { runtime: folder.path().join("run"), state: folder.path().join("state") };
        let keeper = PathBuf::from(env!("CARGO_BIN_EXE_winstead-agent"));
        let daemon = Daemon { config, places, keeper, on_exit, metrics: Some(([127, 0, 0, 1], 0).into()) };
        let stop = CancellationToken::new();
        let asked = stop.clone();
        let task = tokio::spawn(async move { daemon.serve(&asked).await });
        let running = Self { folder, stop, task };
        let there = async {
            while !(running.socket("rancher_wins_proxy").exists() || running.task.is_finished()) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, there).await.expect("it opens its doors");
        running
    }

    pub(crate) fn socket(&self, pipe: &str) -> PathBuf {
        self.folder.path().join("run").join(format!("{pipe}.sock"))
    }

    pub(crate) async fn connect(&self, pipe: &str) -> UnixStream {
        UnixStream::connect(self.socket(pipe)).await.expect("it listens")
    }

    /// Ends it, and gives its folders back.
    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("in time");
        ended.expect("no panic").expect("no error");
        self.folder
    }
}
