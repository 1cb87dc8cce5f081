//! What a program says goes to our outputs, and what comes to us goes to it.

use std::{
    io::{self, Read, Write},
    process::ExitCode,
};

use bytes::Bytes;
use tokio::{sync::mpsc, task::JoinSet};
use winstead_agent_client::{Listening, ProcessInput, Said};

use crate::cli::{
    Failure,
    platform::{Interruptions, ended},
};

const CHUNK: usize = 64 * 1024;

/// One thread is enough to carry bytes.
///
/// # Errors
/// When the system refuses.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

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

/// Puts it out; returns whether more comes.
///
/// # Errors
/// When our output breaks.
pub(crate) fn show(said: Said) -> io::Result<bool> {
    match said {
        Said::Stdout(data) => put(io::stdout().lock(), &data)?,
        Said::Stderr(data) => put(io::stderr().lock(), &data)?,
        Said::Gap(bytes) => put(io::stderr().lock(), format!("[{bytes} bytes are gone]\n").as_bytes())?,
        Said::Ended(_) => return Ok(false),
    }
    Ok(true)
}

fn put(mut output: impl Write, data: &[u8]) -> io::Result<()> {
    output.write_all(data)?;
    output.flush()
}

/// What comes to our standard input, to its end.
///
/// A thread of its own reads: nothing can end a read that waits for somebody to type, but the end of this process.
///
/// # Errors
/// When the system has no thread.
pub(crate) fn typed() -> io::Result<mpsc::Receiver<Bytes>> {
    let (tell, read) = mpsc::channel(1);
    std::thread::Builder::new().spawn(move || {
        loop {
            let mut data = vec![0; CHUNK];
            // What cannot be read has ended.
            let count = io::stdin().lock().read(&mut data).unwrap_or_default();
            data.truncate(count);
            if count == 0 || tell.blocking_send(Bytes::from(data)).is_err() {
                return;
            }
        }
    })?;
    Ok(read)
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
