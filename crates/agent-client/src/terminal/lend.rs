//! A program of an agent's at our terminal: its keys are the program's, and so is its size.

use bytes::Bytes;
use tokio::{
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
};

use super::{Screen, TerminalError, show};
use crate::{Listening, ProcessInput, Said};

/// Ctrl-], as in `winstead console`, telnet and virsh.
const LEAVE: u8 = 0x1d;
/// What was typed and the program has not read. Whoever types more waits, and cannot leave meanwhile.
const TYPED_AHEAD: usize = 256;

/// Lends the terminal until the program ends, and returns its code; nothing when the user left it by Ctrl-], which is a key
/// like others unless they `may_leave`. Put back when this returns or is dropped.
///
/// # Errors
/// When it cannot be lent, or the connection breaks. Cancel safe, but for keys that were typed.
pub async fn lend(
    listening: &mut Listening,
    screen: Screen,
    may_leave: bool,
) -> Result<Option<i32>, TerminalError> {
    let mut lent = screen.lend().map_err(TerminalError::Lend)?;
    let keys = lent.keys().map_err(TerminalError::Lend)?;
    // They end with this function.
    let (mut leaving, mut speaking) = (JoinSet::new(), JoinSet::new());
    let (ahead, wanted) = mpsc::channel(TYPED_AHEAD);
    leaving.spawn(until_left(keys, ahead, may_leave));
    speaking.spawn(carry_keys(wanted, listening.input()));
    speaking.spawn(carry_size(screen, listening.input()));
    loop {
        tokio::select! {
            said = listening.next() => match said? {
                Said::Ended(exited) => return Ok(Some(exited.code)),
                Said::Stdout(data) => lent.show(&data).map_err(TerminalError::Show)?,
                said => drop(show(said).map_err(TerminalError::Show)?),
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

async fn carry_keys(mut keys: Receiver<Bytes>, input: ProcessInput) {
    while let Some(keys) = keys.recv().await {
        input.write(keys).await;
    }
}

async fn carry_size(mut screen: Screen, input: ProcessInput) {
    loop {
        let size = screen.resized().await;
        input.resize(size).await;
    }
}
