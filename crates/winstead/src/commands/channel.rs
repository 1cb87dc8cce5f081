//! `--via`: which way into a machine.

use clap::ValueEnum;

/// A way into a machine, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// Its own agent, which needs no network there.
    Agent,
    /// SSH.
    Ssh,
}

impl From<Via> for winstead_engine::Via {
    fn from(via: Via) -> Self {
        match via {
            Via::Agent => Self::Agent,
            Via::Ssh => Self::Ssh,
        }
    }
}
