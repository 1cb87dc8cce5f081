//! The commands, one file each. Each takes its arguments and the context and returns the exit code.

pub(crate) mod bench;
pub(crate) mod channel;
pub(crate) mod clock;
pub(crate) mod completions;
pub(crate) mod console;
pub(crate) mod cp;
pub(crate) mod describe;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod facts;
pub(crate) mod get;
pub(crate) mod image;
pub(crate) mod keep;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod plan;
pub(crate) mod reboot;
pub(crate) mod report;
pub(crate) mod reset;
pub(crate) mod schema;
pub(crate) mod ssh;
pub(crate) mod supervise;
pub(crate) mod tables;
pub(crate) mod template;
pub(crate) mod up;

use std::process::ExitCode;

use crate::{cli::Command, context::Context, error::CliError};

/// Runs a command.
///
/// # Errors
/// Whatever it ends with.
pub(crate) async fn run(context: Context, command: Command) -> Result<ExitCode, CliError> {
    let done = match &command {
        Command::Plan(args) => return plan::run(&context, args).await,
        Command::Up(args) => up::run(&context, args).await,
        Command::Get(args) => get::run(&context, args).await,
        Command::Describe(args) => describe::run(&context, args).await,
        Command::Ssh(args) => ssh::run(&context, args).await,
        Command::Exec(args) => return exec::run(&context, args).await,
        Command::Cp(args) => cp::run(&context, args).await,
        Command::Facts(args) => facts::run(&context, args).await,
        Command::Clock(args) => clock::run(&context, args).await,
        Command::Console(args) => console::run(&context, args).await,
        Command::Logs(args) => logs::run(&context, args).await,
        Command::Reboot(args) => reboot::run(&context, args).await,
        Command::Reset(args) => reset::run(&context, args).await,
        Command::Down(args) => down::run(&context, args).await,
        Command::Bench(args) => bench::run(&context, args).await,
        Command::Image(args) => image::run(&context, args).await,
        Command::Template(args) => template::run(&context, args).await,
        Command::Report(args) => report::run(&context, args).await,
        Command::Schema(args) => schema::run(&context, args),
        Command::Completions(args) => completions::run(&context, args),
        Command::Man(args) => man::run(&context, args),
        Command::Supervise(args) => supervise::run(&context, args).await,
        Command::Keep(args) => keep::run(&context, args).await,
    };
    done.map(|()| ExitCode::SUCCESS)
}
