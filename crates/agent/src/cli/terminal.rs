//! A program of the agent's at our terminal.

use std::process::ExitCode;

use tokio::task::JoinSet;
use winstead_agent_client::{
    Connection, Listening,
    terminal::{Screen, lend},
};
use winstead_protocol::v1::StartRequest;

use crate::cli::{Failure, complain, listen::carry_signals, platform::ended};

/// Runs a program at our terminal to its end, or until the user leaves it, which they may if it is `kept`.
///
/// # Errors
/// When we have no terminal, the program cannot be run, or the connection breaks.
pub(crate) async fn run(
    connection: &Connection,
    mut start: StartRequest,
    kept: bool,
) -> Result<ExitCode, Failure> {
    let screen = Screen::open()?;
    start.terminal = Some(screen.size());
    let listening = connection.run(start).await?;
    converse(listening, screen, kept).await
}

/// Comes back to a program with a terminal, which the user may leave again.
///
/// # Errors
/// When we have no terminal, there is no such process, or the connection breaks.
pub(crate) async fn attach(connection: &Connection, id: &str) -> Result<ExitCode, Failure> {
    let screen = Screen::open()?;
    let listening = connection.attach(id, [0; 2], true).await?;
    listening.input().resize(screen.size()).await;
    converse(listening, screen, true).await
}

async fn converse(mut listening: Listening, screen: Screen, may_leave: bool) -> Result<ExitCode, Failure> {
    // They end with this function.
    let mut signals = JoinSet::new();
    signals.spawn(carry_signals(listening.input()));
    match lend(&mut listening, screen, may_leave).await? {
        Some(code) => Ok(ended(code)),
        None => {
            let id = &listening.started().id;
            complain(&format!("left; the program runs on: winstead-agent attach -t {id}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}
