//! What a program says goes to our outputs, and what comes to our input goes to it.

use std::io::{self, Read, Write};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Said;

const CHUNK: usize = 64 * 1024;

/// Puts it out; returns whether more comes. Blocks as long as nobody reads our output.
///
/// # Errors
/// When our output breaks.
pub fn show(said: Said) -> io::Result<bool> {
    match said {
        Said::Stdout(data) => put(io::stdout().lock(), &data)?,
        Said::Stderr(data) => put(io::stderr().lock(), &data)?,
        Said::Gap(bytes) => put(io::stderr().lock(), format!("[{bytes} bytes are gone]\n").as_bytes())?,
        Said::Ended(_) => return Ok(false),
    }
    Ok(true)
}

/// Writes it, for whoever reads to see it now.
pub(super) fn put(mut output: impl Write, data: &[u8]) -> io::Result<()> {
    output.write_all(data)?;
    output.flush()
}

/// What comes to our standard input, to its end.
///
/// # Errors
/// When the system has no thread.
pub fn typed() -> io::Result<mpsc::Receiver<Bytes>> {
    handed_on(|into| io::stdin().lock().read(into))
}

/// What is read, to its end.
///
/// A thread of its own reads: nothing can end a read that waits for somebody to type, but the end of this process.
pub(super) fn handed_on(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize> + Send + 'static,
) -> io::Result<mpsc::Receiver<Bytes>> {
    let (tell, told) = mpsc::channel(1);
    std::thread::Builder::new().spawn(move || {
        loop {
            let mut data = vec![0; CHUNK];
            // What cannot be read has ended.
            let count = read(&mut data).unwrap_or_default();
            data.truncate(count);
            if count == 0 || tell.blocking_send(Bytes::from(data)).is_err() {
                return;
            }
        }
    })?;
    Ok(told)
}
