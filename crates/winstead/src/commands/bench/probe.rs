//! Options of all commands that run the probe: which program, and what it does.

use std::path::PathBuf;

use clap::Args;
use winstead_bench::Program;
use winstead_measurement::contention::Workload;
use winstead_spec::{GuestOs, Span};

use crate::error::CliError;

/// How the probe is run.
#[derive(Clone, Debug, Args)]
pub(crate) struct ProbeArgs {
    /// The probe's program [default: winstead-probe beside this program].
    #[arg(long, value_name = "FILE")]
    probe: Option<PathBuf>,
    /// A run that takes longer has failed. With many machines: to prepare, and again to measure.
    #[arg(long, value_name = "TIME", default_value = "15m")]
    pub(crate) deadline: Span,
}

impl ProbeArgs {
    /// The program, checked.
    ///
    /// # Errors
    /// When it is not there, or cannot run on that system.
    pub(crate) fn program(&self, os: GuestOs) -> Result<Program, CliError> {
        let file = match &self.probe {
            Some(file) => std::path::absolute(file),
            None => std::env::current_exe().map(|own| own.with_file_name(Program::name(os))),
        };
        let file = file.map_err(CliError::runtime)?;
        Ok(Program::check(&file, os).map_err(winstead_bench::BenchError::from)?)
    }
}

/// A workload as it stands on the command line: the probe's own words.
///
/// # Errors
/// When it begins with none of the probe's workloads.
pub(crate) fn workload(words: &[String]) -> Result<Workload, String> {
    match words.first() {
        Some(name) if !name.starts_with('-') => {
            Ok(Workload { name: name.clone(), arguments: words.to_vec() })
        }
        _ => Err("it begins with one of the probe's workloads, as in 'latency --rate 100'".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_called_after_its_first_word() {
        let words = ["latency", "--rate", "100"].map(str::to_owned);
        let read = workload(&words).expect("a workload");
        assert_eq!((read.name.as_str(), read.arguments.len()), ("latency", 3));
        assert!(workload(&["--rate".to_owned()]).is_err());
        assert!(workload(&[]).is_err());
    }
}
