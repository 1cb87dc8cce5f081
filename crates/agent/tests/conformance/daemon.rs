//! A daemon of a test's own.

use std::{
    io,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tempfile::TempDir;
use tokio::task::JoinHandle;
use winstead_agent::{
    configuration::Source,
    serve::{Places, ServeError, Settings, Signals, serve},
    wins::{configuration, process::OnExit},
};
use winstead_agent_client::{Address, wins_door};
use winstead_spec::{WinsConfig, parse_wins};

use crate::{
    place,
    system::{self, Stream},
};

/// How long anything may take on a busy computer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Pipes are in no folder of a test's own, so each daemon of this process has names of its own.
static DAEMONS: AtomicU32 = AtomicU32::new(0);

pub(crate) struct Running {
    pub(crate) folder: TempDir,
    /// Its own door.
    pub(crate) address: Address,
    /// What its pipes' names end with.
    id: String,
    signals: Signals,
    task: JoinHandle<Result<(), ServeError>>,
}

impl Running {
    /// By this old configuration file.
    pub(crate) async fn start(config: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        Self::start_in(folder, config, OnExit::Tell).await
    }

    pub(crate) async fn start_in(folder: TempDir, config: &str, on_exit: OnExit) -> Self {
        let mut config: WinsConfig = parse_wins("config", config).expect("a right configuration");
        let id = format!("{}-{}", std::process::id(), DAEMONS.fetch_add(1, Ordering::Relaxed));
        config.listen = format!("{}-{id}", config.listen);
        config.proxy = format!("{}-{id}", config.proxy);
        let (runtime, address) = place::agent(folder.path(), "run");
        let metrics = Some(([127, 0, 0, 1], 0).into());
        let source = Source::Given(configuration(&config, &runtime, metrics, on_exit).into());
        let places = Places { runtime, state: folder.path().join("state") };
        let settings = Settings { places, source, program: env!("CARGO_BIN_EXE_winstead-agent").into() };
        let signals = Signals::default();
        let asked = signals.clone();
        let mut task = tokio::spawn(async move { serve(&settings, &asked).await });
        let ready = async {
            tokio::select! {
                () = signals.ready.cancelled() => {}
                ended = &mut task => panic!("it does not serve: {ended:?}"),
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.expect("it opens its doors");
        Self { folder, address, id, signals, task }
    }

    /// Where a client finds the pipe that it knows by this name.
    pub(crate) fn door(&self, pipe: &str) -> PathBuf {
        wins_door(&self.folder.path().join("run"), &format!("{pipe}-{}", self.id))
    }

    pub(crate) async fn try_connect(&self, pipe: &str) -> io::Result<Stream> {
        system::connect(&self.door(pipe)).await
    }

    pub(crate) async fn connect(&self, pipe: &str) -> Stream {
        self.try_connect(pipe).await.expect("it listens")
    }

    /// Ends it, and gives its folders back.
    pub(crate) async fn stop(self) -> TempDir {
        self.signals.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.task).await.expect("in time");
        ended.expect("no panic").expect("no error");
        self.folder
    }
}
