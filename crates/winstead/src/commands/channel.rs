//! Which way into a machine: its agent where one answers, else SSH.

use std::time::Duration;

use clap::ValueEnum;
use winstead_guest::hand::Hand;
use winstead_spec::MachineName;

use crate::{context::Context, error::CliError};

/// How long an agent may take before SSH is tried. It answers within milliseconds, in an emulated guest that does much else
/// within a second.
const QUICK: Duration = Duration::from_secs(3);
/// How long it may take when there is no other way.
const PATIENT: Duration = Duration::from_secs(30);

/// A way into a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Via {
    /// Its own agent, which needs no network there.
    Agent,
    /// SSH.
    Ssh,
}

/// The machine's agent, if that is the way; `None`: SSH.
///
/// # Errors
/// When there is no such machine, it does not run, or its agent is asked for and not there.
pub(crate) async fn hand(
    context: &Context,
    machine: &MachineName,
    via: Option<Via>,
) -> Result<Option<Hand>, CliError> {
    if via == Some(Via::Ssh) {
        return Ok(None);
    }
    let engine = context.engine().await?;
    let Some(ports) = engine.ports(machine).await? else {
        return match via {
            Some(_) => Err(CliError::usage(
                format!("reach the agent in {machine}: its image has none"),
                "give the image `agent: true`, and put the machine back with `winstead reset`",
            )),
            None => Ok(None),
        };
    };
    let limit = if via.is_some() { PATIENT } else { QUICK };
    match ports.reach(limit).await {
        Ok(hand) => {
            tracing::info!(machine = %machine, "by its agent");
            Ok(Some(hand))
        }
        Err(error) if via.is_some() => Err(error.into()),
        Err(error) => {
            tracing::info!(machine = %machine, error = causes(&error), "by ssh, because its agent does not answer");
            Ok(None)
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
