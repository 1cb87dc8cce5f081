//! What a program says goes to our outputs, and what comes to us goes to it.

use std::{io, process::ExitCode};

use tokio::task::JoinSet;
use winstead_agent_client::{
    Listening, ProcessInput, Said,
    terminal::{show, typed},
};

use crate::cli::{
    Failure,
    platform::{Interruptions, ended},
};

/// Until the program has ended; its code is ours. With `speak`, our input and signals are its.
///
/// # Errors
/// When the connection breaks before, or our output does.
pub(crate) async fn to_its_end(mut listening: Listening, speak: bool) -> Result<ExitCode, Failure> {
    let mut speaking = JoinSet::new();
    if speak {
        speaking.spawn(carry_input(listening.input()));
        speaking.spawn(carry_signals(listening.input()));
    }
    let code = loop {
        match listening.next().await? {
            Said::Ended(exited) => break exited.code,
            said => show(said)?,
        };
    };
    // Nobody hears it any more.
    speaking.abort_all();
    Ok(ended(code))
}

/// Until so much of each output was written, or the program has ended.
///
/// # Errors
/// When the connection breaks before, or our output does.
pub(crate) async fn until(mut listening: Listening, said: [u64; 2]) -> Result<(), Failure> {
    while listening.had()[0] < said[0] || listening.had()[1] < said[1] {
        if !show(listening.next().await?)? {
            break;
        }
    }
    Ok(())
}

async fn carry_input(input: ProcessInput) -> io::Result<()> {
    let mut read = typed()?;
    while let Some(data) = read.recv().await {
        input.write(data).await;
    }
    input.end().await;
    Ok(())
}

/// What would end us goes to the program, for ever.
///
/// # Errors
/// When the system lets nobody wait for it.
pub(crate) async fn carry_signals(input: ProcessInput) -> io::Result<()> {
    let mut interruptions = Interruptions::open()?;
    loop {
        input.signal(interruptions.next().await).await;
    }
}
