//! `winstead cp`: files into and out of machines.

use std::{
    ffi::{OsStr, OsString},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use clap::Args;
use winstead_guest::{
    hand::{Hand, at_home, copy_in, copy_out},
    ssh::Copy,
};
use winstead_spec::MachineName;

use crate::{
    commands::{channel::Via, ssh::missing},
    context::Context,
    error::CliError,
    selection::machine_name,
    ui::Ui,
};

const EXAMPLES: &str = "\
Examples:
  winstead cp setup.sh agents-0:/root/
  winstead cp -r agents-0:/build/results ./results
  winstead cp ./odd:name agents-0:       a colon after a slash is part of a file's name

Paths in a machine are relative to the home folder of the user who logs in.";

/// Copies files between this computer and a machine.
#[derive(Clone, Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CpArgs {
    /// A file here, or NAME:PATH in a machine.
    #[arg(value_name = "FROM")]
    from: OsString,
    /// Its place: here, or NAME:PATH in a machine.
    #[arg(value_name = "TO")]
    to: OsString,
    /// Copies folders with everything in them.
    #[arg(short, long)]
    recursive: bool,
    /// The way into the machine. Default: its agent where one answers, else ssh.
    #[arg(long, value_name = "WAY")]
    via: Option<Via>,
}

/// Runs `cp`.
///
/// # Errors
/// When the machine cannot be reached, or a file not be copied.
pub(crate) async fn run(context: &Context, args: &CpArgs) -> Result<(), CliError> {
    let (machine, copy) = copy(&args.from, &args.to)?;
    let engine = context.engine().await?;
    if let Some(plan) = by_agent(&copy) {
        if let Some(hand) = engine.hand(&machine, args.via.map(Into::into)).await? {
            return through(context, &hand, &plan, args.recursive).await;
        }
    } else if args.via == Some(Via::Agent) {
        return Err(CliError::usage("copy by the agent: the path is no text", "leave `--via` out"));
    }
    let endpoint = engine.endpoint(&machine).await?;
    let command = engine.ssh().copy(&endpoint, &copy, args.recursive);
    let mut scp = tokio::process::Command::from(command.interactive());
    let status = scp.stdout(meter(&context.ui)?).kill_on_drop(true).status().await;
    let status = status.map_err(|error| missing("scp", error))?;
    if status.success() {
        return Ok(());
    }
    Err(CliError::Program { what: format!("copy {} to {}", shown(&args.from), shown(&args.to)), status })
}

/// A copy as a machine's agent can do it: paths in the machine are absolute texts.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Plan<'a> {
    In(&'a Path, String),
    Out(String, &'a Path),
}

fn by_agent(copy: &Copy) -> Option<Plan<'_>> {
    match copy {
        Copy::ToGuest { from, to } => Some(Plan::In(from, at_home(to)?)),
        Copy::FromGuest { from, to } => Some(Plan::Out(at_home(from)?, to)),
    }
}

async fn through(context: &Context, hand: &Hand, plan: &Plan<'_>, recursive: bool) -> Result<(), CliError> {
    let copied = match plan {
        Plan::In(from, to) => copy_in(hand, from, to, recursive).await?,
        Plan::Out(from, to) => copy_out(hand, from, to, recursive).await?,
    };
    for left_out in &copied.left_out {
        context.ui.warn(&format!("left out: {}", left_out.escape_debug()));
    }
    context.ui.note(&format!("copied {} ({} bytes)", files(copied.files), copied.bytes));
    Ok(())
}

fn files(count: u64) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

/// Where scp draws its meter: not on standard output, which is for data.
fn meter(ui: &Ui) -> Result<Stdio, CliError> {
    if ui.is_quiet() {
        return Ok(Stdio::null());
    }
    Ok(std::io::stderr().as_fd().try_clone_to_owned().map_err(CliError::runtime)?.into())
}

/// Where a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Here(PathBuf),
    Machine(MachineName, OsString),
}

fn copy(from: &OsStr, to: &OsStr) -> Result<(MachineName, Copy), CliError> {
    match (place(from)?, place(to)?) {
        (Place::Here(from), Place::Machine(machine, to)) => Ok((machine, Copy::ToGuest { from, to })),
        (Place::Machine(machine, from), Place::Here(to)) => Ok((machine, Copy::FromGuest { from, to })),
        (Place::Here(_), Place::Here(_)) => Err(CliError::usage(
            "tell which side is a machine: both are files here",
            "write NAME:PATH for the machine, as in `winstead cp notes.txt agents-0:/root/`",
        )),
        (Place::Machine(..), Place::Machine(..)) => Err(CliError::usage(
            "copy from one machine to another",
            "copy it here first: `winstead cp FROM ./here`, then `winstead cp ./here TO`",
        )),
    }
}

/// `NAME:PATH` unless a slash comes before the colon, as `scp` has it.
fn place(text: &OsStr) -> Result<Place, CliError> {
    let bytes = text.as_bytes();
    let colon = bytes.iter().position(|byte| matches!(byte, b':' | b'/')).filter(|at| bytes[*at] == b':');
    let Some(colon) = colon else { return Ok(Place::Here(Path::new(text).to_owned())) };
    let name = String::from_utf8_lossy(&bytes[..colon]);
    Ok(Place::Machine(machine_name(&name)?, OsStr::from_bytes(&bytes[colon + 1..]).to_owned()))
}

fn shown(path: &OsStr) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Place {
        place(OsStr::new(text)).unwrap()
    }

    #[test]
    fn a_colon_makes_a_machine_unless_a_slash_comes_first() {
        let machine = |path: &str| Place::Machine("agents-0".parse().unwrap(), path.into());
        assert_eq!(at("agents-0:/a:b"), machine("/a:b"));
        assert_eq!(at("agents-0:"), machine(""));
        assert_eq!(at("./odd:name"), Place::Here("./odd:name".into()));
        assert_eq!(at("plain"), Place::Here("plain".into()));
        assert_eq!(place(OsStr::new("nothing:x")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn one_side_is_a_machine_and_one_is_here() {
        for (from, to) in [("a", "b"), ("agents-0:a", "agents-1:b")] {
            assert_eq!(copy(OsStr::new(from), OsStr::new(to)).unwrap_err().exit_code(), 2);
        }
        let (machine, copy) = copy(OsStr::new("a"), OsStr::new("agents-0:b")).unwrap();
        assert_eq!(machine.to_string(), "agents-0");
        assert_eq!(copy, Copy::ToGuest { from: "a".into(), to: "b".into() });
    }
}
