//! The `winstead` command: reads the command line, the environment and files, asks the engine, and shows the answer.
//!
//! It decides nothing about machines: that is the engine's. Only this crate prints and reads the environment.

mod cli;
mod commands;
mod context;
mod environment;
mod error;
mod files;
mod interrupt;
mod output;
mod progress;
mod selection;
mod terminal;
mod ui;

use std::process::ExitCode;

use crate::{cli::Cli, context::Context, environment::Environment, error::CliError, ui::Ui};

fn main() -> ExitCode {
    let private = winstead_process::keep_inherited_descriptors();
    let environment = Environment::read();
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(shown) => return shown,
    };
    let ui = Ui::new(&cli.global, &environment);
    ui::log_to_stderr(&cli.global, &cli.command, &environment);
    if let Err(error) = private {
        tracing::warn!(%error, "open files of the caller may stay open in machines");
    }
    let outcome = run(cli, &environment, &ui);
    ui.finish(outcome)
}

fn run(cli: Cli, environment: &Environment, ui: &Ui) -> Result<ExitCode, CliError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(CliError::runtime)?;
    let outcome = runtime.block_on(async {
        let context = Context::new(&cli.global, environment, ui.clone())?;
        interrupt::watch(context, cli.command).await
    });
    // Nobody waits for a thread that still reads the terminal.
    runtime.shutdown_background();
    outcome
}
