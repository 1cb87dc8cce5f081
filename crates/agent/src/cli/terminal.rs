//! A program of the agent's at our terminal: its keys are the program's, and so is its size.

use std::{io, process::ExitCode};

use bytes::Bytes;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
};
use winstead_agent_client::{Connection, Listening, ProcessInput, Said};
use winstead_protocol::v1::StartRequest;

use crate::cli::{
    Failure, complain,
    listen::{carry_signals, show, typed},
    platform::ended,
    screen::Screen,
};

/// Ctrl-], as in `winstead console`, telnet and virsh.
const LEAVE: u8 = 0x1d;
/// What was typed and the program has not read. Whoever types more waits, and cannot leave meanwhile.
const TYPED_AHEAD: usize = 256;

/// There is nothing to lend. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("lend the terminal to the program")]
struct TerminalError(#[from] io::Error);

/// Runs a program at our terminal to its end, or until the user leaves it, which they may if it is `kept`.
///
/// # Errors
/// When we have no terminal, the program cannot be run, or the connection breaks.
pub(crate) async fn run(
    connection: &Connection,
    mut start: StartRequest,
    kept: bool,
) -> Result<ExitCode, Failure> {
    let screen = Screen::open().map_err(TerminalError)?;
    start.terminal = Some(screen.size());
    let listening = connection.run(start).await?;
    converse(listening, screen, kept).await
}

/// Comes back to a program with a terminal, which the user may leave again.
///
/// # Errors
/// When we have no terminal, there is no such process, or the connection breaks.
pub(crate) async fn attach(connection: &Connection, id: &str) -> Result<ExitCode, Failure> {
    let screen = Screen::open().map_err(TerminalError)?;
    let listening = connection.attach(id, [0; 2], true).await?;
    listening.input().resize(screen.size()).await;
    converse(listening, screen, true).await
}

async fn converse(mut listening: Listening, screen: Screen, may_leave: bool) -> Result<ExitCode, Failure> {
    match lent(&mut listening, screen, may_leave).await? {
        Some(code) => Ok(ended(code)),
        None => {
            let id = &listening.started().id;
            complain(&format!("left; the program runs on: winstead-agent attach -t {id}"));
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Lends the terminal until the program ends, or the user leaves: nothing.
async fn lent(listening: &mut Listening, screen: Screen, may_leave: bool) -> Result<Option<i32>, Failure> {
    // Put back at the end of this function, whatever ends it.
    let _lent = screen.lend().map_err(TerminalError)?;
    // They end with this function.
    let (mut leaving, mut speaking) = (JoinSet::new(), JoinSet::new());
    let (ahead, keys) = mpsc::channel(TYPED_AHEAD);
    leaving.spawn(until_left(typed()?, ahead, may_leave));
    speaking.spawn(carry_keys(keys, listening.input()));
    speaking.spawn(carry_size(screen, listening.input()));
    speaking.spawn(carry_signals(listening.input()));
    loop {
        tokio::select! {
            said = listening.next() => match said? {
                Said::Ended(exited) => return Ok(Some(exited.code)),
                said => drop(show(said)?),
            },
            Some(Ok(true)) = leaving.join_next() => return Ok(None),
        }
    }
}

/// Hands on what is typed; `true` when the user wants to leave.
async fn until_left(mut typed: Receiver<Bytes>, ahead: Sender<Bytes>, may_leave: bool) -> bool {
    while let Some(keys) = typed.recv().await {
        let leave = keys.iter().position(|key| may_leave && *key == LEAVE);
        let keys = leave.map_or(keys.clone(), |at| keys.slice(..at));
        // Nobody reads it any more when the program has ended, and that is told by the agent.
        if ahead.send(keys).await.is_err() || leave.is_some() {
            return leave.is_some();
        }
    }
    false
}

async fn carry_keys(mut keys: Receiver<Bytes>, input: ProcessInput) -> io::Result<()> {
    while let Some(keys) = keys.recv().await {
        input.write(keys).await;
    }
    Ok(())
}

async fn carry_size(mut screen: Screen, input: ProcessInput) -> io::Result<()> {
    loop {
        let size = screen.resized().await;
        input.resize(size).await;
    }
}
