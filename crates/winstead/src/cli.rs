//! The command line: options that every command has, and the list of commands. Each command's own options stand in its
//! file; the doc comments are the help.

use std::{path::PathBuf, process::ExitCode};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::{
    commands::{
        bench, clock, completions, console, cp, describe, down, exec, facts, get, image, keep, logs, man,
        plan, reboot, report, reset, schema, ssh, supervise, template, up,
    },
    interrupt::AtInterrupt,
};

const EXAMPLES: &str = "\
Examples:
  winstead plan -f agents.yaml          what would change, and whether it fits into RAM
  winstead up -f agents.yaml            build the image, start the machines, wait for them
  winstead get machines                 what is there
  winstead exec agents-0 -- uname -a    run a command in one
  winstead reset agents-0               back to golden
  winstead down --all                   take everything away

Exit codes:
  0    done
  1    failed
  2    the command line or a file is wrong; nothing was changed
  3    refused before anything was changed: it does not fit, is in use, or is not ours
  4    time ran out
  10   `plan --exit-code`: there are changes
  130  interrupted
  `exec` and `ssh` end with the guest's own code, and with 255 when the command could not be run.";

/// What a second interrupt may leave behind, and what takes it away.
const MACHINES: &str =
    "machines, mounts or processes may be left behind: `winstead down --all` takes them away";
const IMAGES: &str = "half an image may be left behind: building it again takes that away";
const PROBE: &str = "a folder winstead-probe-… where it was measured, an empty file of results, and in a machine the program \
    winstead-probe may be left behind: remove them by hand";

/// Machines that start from a golden image, live in RAM, and are thrown away after the job.
///
/// A file says which images and how many machines there shall be; `winstead up` makes it so. Data goes to standard
/// output, everything else to standard error.
#[derive(Clone, Debug, Parser)]
#[command(name = "winstead", version, after_help = EXAMPLES, max_term_width = 100, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// The folder that holds all state. Two homes never see each other.
    /// [default: /var/lib/winstead for root, else ~/.local/state/winstead] [env: WINSTEAD_HOME]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,

    /// A folder with files that would otherwise be downloaded [env: WINSTEAD_ARTIFACTS]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) artifacts: Option<PathBuf>,

    /// How data is written.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_possible_values = true
    )]
    #[arg(help = "How data is written: table, wide (more columns), json or yaml")]
    pub(crate) output: Format,

    /// Shows no progress: only data, errors and their hints.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,

    /// Says more about what is done; twice: everything.
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Whether to use colours: auto, always or never. NO_COLOR in the environment means never.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub(crate) color: Color,
}

/// How data is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Table,
    Wide,
    Json,
    Yaml,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Auto,
    Always,
    Never,
}

/// The commands, in the order in which one meets them.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Command {
    Plan(plan::PlanArgs),
    Up(up::UpArgs),
    Get(get::GetArgs),
    Describe(describe::DescribeArgs),
    Ssh(ssh::SshArgs),
    Exec(exec::ExecArgs),
    Cp(cp::CpArgs),
    Console(console::ConsoleArgs),
    Logs(logs::LogsArgs),
    Facts(facts::FactsArgs),
    Clock(clock::ClockArgs),
    Reboot(reboot::RebootArgs),
    Reset(reset::ResetArgs),
    Down(down::DownArgs),
    Bench(bench::BenchArgs),
    Image(image::ImageArgs),
    Template(template::TemplateArgs),
    Report(report::ReportArgs),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
    Supervise(supervise::SuperviseArgs),
    #[command(hide = true)]
    Keep(keep::KeepArgs),
}

impl Cli {
    /// Reads the command line.
    ///
    /// # Errors
    /// The exit code, after help, the version or what is wrong has been shown.
    pub(crate) fn read() -> Result<Self, ExitCode> {
        Self::try_parse().map_err(|answer| {
            // Nobody is left to tell when standard error is closed.
            answer.print().ok();
            if answer.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
        })
    }
}

impl Command {
    /// What an interrupt does to the command.
    pub(crate) fn at_interrupt(&self) -> AtInterrupt {
        match self {
            Self::Up(_) | Self::Down(_) | Self::Reset(_) => AtInterrupt::FinishCleanly { left: MACHINES },
            Self::Bench(bench) if bench.makes_machines() => AtInterrupt::FinishCleanly { left: MACHINES },
            Self::Bench(bench) if bench.measures_a_disk() => AtInterrupt::FinishCleanly { left: PROBE },
            Self::Template(template) if template.changes_something() => {
                AtInterrupt::FinishCleanly { left: MACHINES }
            }
            Self::Image(image) if image.changes_something() => AtInterrupt::FinishCleanly { left: IMAGES },
            Self::Supervise(_) => AtInterrupt::FinishQuietly,
            _ => AtInterrupt::EndAtOnce,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_shown_command_has_examples() {
        for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let shown = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(shown.contains(&format!("  winstead {}", command.get_name())), "{}", command.get_name());
        }
    }
}
