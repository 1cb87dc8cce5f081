//! What a command works with: the home, the terminal, and the token that says when to stop.

use std::path::PathBuf;

use tokio_util::sync::CancellationToken;
use winstead_engine::{Engine, Faults, Listener, Options};

use crate::{
    cli::{Format, Global},
    environment::Environment,
    error::CliError,
    progress,
    ui::Ui,
};

/// What a command works with.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) ui: Ui,
    pub(crate) format: Format,
    pub(crate) stop: CancellationToken,
    /// What kind our terminal is.
    pub(crate) term: Option<String>,
    /// `None` when there is no place for one: commands without machines need none.
    home: Option<PathBuf>,
    artifacts: Option<PathBuf>,
    faults: Faults,
}

impl Context {
    pub(crate) fn new(global: &Global, environment: &Environment, ui: Ui) -> Result<Self, CliError> {
        Ok(Self {
            ui,
            format: global.output,
            stop: CancellationToken::new(),
            term: environment.term.clone(),
            home: global.home.clone().or_else(|| environment.home()),
            artifacts: absolute(global.artifacts.clone().or_else(|| environment.artifacts.clone()))?,
            faults: faults(environment),
        })
    }

    /// The engine of the home.
    ///
    /// # Errors
    /// When the home cannot be used.
    pub(crate) async fn engine(&self) -> Result<Engine, CliError> {
        Ok(Engine::open(self.options()?).await?)
    }

    /// How the engine is opened.
    ///
    /// # Errors
    /// When there is no place for a home.
    pub(crate) fn options(&self) -> Result<Options, CliError> {
        Ok(Options {
            home: self.home.clone().ok_or(CliError::NoHome)?,
            artifacts: self.artifacts.clone(),
            program: std::env::current_exe().map_err(CliError::runtime)?,
            faults: self.faults.clone(),
        })
    }

    /// Who shows what happens.
    pub(crate) fn listener(&self) -> Listener {
        progress::listener(&self.ui)
    }
}

fn absolute(path: Option<PathBuf>) -> Result<Option<PathBuf>, CliError> {
    path.map(|path| std::path::absolute(&path).map_err(|source| CliError::Read { path, source })).transpose()
}

#[cfg(feature = "faults")]
fn faults(environment: &Environment) -> Faults {
    Faults::new(environment.kill_at, environment.left_out)
}

#[cfg(not(feature = "faults"))]
fn faults(_: &Environment) -> Faults {
    Faults::default()
}
