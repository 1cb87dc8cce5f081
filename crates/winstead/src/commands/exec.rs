//! `winstead exec`: one command in a machine.

use std::{ffi::OsString, process::ExitCode};

use clap::Args;

use winstead_guest::hand::{Hand, HandError, HandFailure, Screen, Streams};
use winstead_spec::MachineName;

use crate::{
    commands::{channel::Via, ssh::become_ssh},
    context::Context,
    error::CliError,
    selection::machine_name,
};

const EXAMPLES: &str = "\
Examples:
  winstead exec agents-0 -- uname -a
  winstead exec agents-0 -- sh -c 'cd /build && make test'
  winstead exec agents-0 -- tar c /results > results.tar
  winstead exec -t agents-0 -- top

Each word arrives as it is; write `sh -c` when the guest's shell shall read it. Standard input,
output and error pass through byte by byte; with -t all keys are the command's. Ends with the
command's own exit code, and with 255 when it could not be run.";

/// Runs a command in a machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ExecArgs {
    /// The machine.
    #[arg(value_name = "NAME")]
    name: String,
    /// Gives the command a terminal, and yours to that.
    #[arg(short, long)]
    tty: bool,
    /// The way into the machine. Default: its agent where one answers, else ssh.
    #[arg(long, value_name = "WAY")]
    via: Option<Via>,
    /// The command and its arguments.
    #[arg(value_name = "COMMAND", last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs `exec`, and returns the command's own exit code.
///
/// # Errors
/// When the machine cannot be reached; exit code 255.
pub(crate) async fn run(context: &Context, args: &ExecArgs) -> Result<ExitCode, CliError> {
    let machine = machine_name(&args.name).map_err(CliError::could_not_run)?;
    if let Some(ends) = Ends::open(args)?
        && let Some(hand) = hand(context, &machine, args.via).await.map_err(CliError::could_not_run)?
        && let Some(code) = through(context, &hand, args, ends).await?
    {
        return Ok(code);
    }
    let never = become_ssh(context, &args.name, &args.command, args.tty).await;
    never.map(|()| ExitCode::SUCCESS)
}

/// What the command has of ours.
enum Ends {
    Streams,
    Terminal(Screen),
}

impl Ends {
    /// `None` when there is no terminal to lend: SSH makes the command believe in one all the same.
    fn open(args: &ExecArgs) -> Result<Option<Self>, CliError> {
        if !args.tty {
            return Ok(Some(Self::Streams));
        }
        match Screen::open() {
            Ok(screen) => Ok(Some(Self::Terminal(screen))),
            Err(error) if args.via == Some(Via::Agent) => {
                let (machine, what) = (args.name.clone(), "run a program".to_owned());
                Err(not_run(HandError { machine, what, failure: error.into() }))
            }
            Err(_) => {
                tracing::info!(machine = args.name, "by ssh, because there is no terminal to lend");
                Ok(None)
            }
        }
    }
}

async fn hand(context: &Context, machine: &MachineName, via: Option<Via>) -> Result<Option<Hand>, CliError> {
    Ok(context.engine().await?.hand(machine, via.map(Into::into)).await?)
}

/// By the agent; `None` when it cannot run programs.
async fn through(
    context: &Context,
    hand: &Hand,
    args: &ExecArgs,
    ends: Ends,
) -> Result<Option<ExitCode>, CliError> {
    let ended = match ends {
        Ends::Terminal(screen) => hand.exec_at(&args.command, screen, context.term.as_deref()).await,
        Ends::Streams => {
            let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
            hand.exec(&args.command, Streams { input, output, errors: tokio::io::stderr() }).await
        }
    };
    match ended {
        // An exit code is what a process can say: its lowest byte.
        Ok(code) => Ok(Some(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(u8::MAX)))),
        Err(error) if error.failure.is_unknown_there() && args.via.is_none() => Ok(None),
        Err(error) => Err(not_run(error)),
    }
}

fn not_run(error: HandError) -> CliError {
    match &error.failure {
        HandFailure::Output(source) if source.kind() == std::io::ErrorKind::BrokenPipe => {
            CliError::NobodyReads
        }
        failure => match failure.not_started() {
            Some(_) => CliError::NotStarted(Box::new(error)),
            None => CliError::from(error).could_not_run(),
        },
    }
}
