//! The barrier before the load: many machines prepare, each in its own time, and begin together when somebody who
//! waits for all of them says so.

use std::{
    io::{self, Write},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use crate::{clock::Stop, error::ProbeError};

/// The line on standard error that says that everything is prepared. Scripts look for it, so it never changes.
const READY: &str = "winstead-probe: ready\n";

/// How often one looks whether somebody pressed Ctrl-C.
const LOOK: Duration = Duration::from_millis(50);

/// Whether the load waits for a line on standard input.
#[derive(Clone, Copy)]
pub(crate) enum Barrier {
    /// It begins at once.
    Open,
    /// It waits.
    Closed,
}

impl Barrier {
    /// Says that everything is prepared, and waits until the load may begin.
    ///
    /// # Errors
    /// When standard input ends without a line, or nobody could be told; and when somebody asked to stop.
    pub(crate) fn pass(self, stop: &Stop) -> Result<(), ProbeError> {
        if stop.asked() {
            return Err(ProbeError::Interrupted);
        }
        match self {
            Self::Open => Ok(()),
            Self::Closed => say_ready().and_then(|()| wait_for_line(stop)),
        }
    }
}

fn say_ready() -> Result<(), ProbeError> {
    let mut out = io::stderr().lock();
    out.write_all(READY.as_bytes()).and_then(|()| out.flush()).map_err(ProbeError::Barrier)
}

fn wait_for_line(stop: &Stop) -> Result<(), ProbeError> {
    let (tell, told) = mpsc::channel();
    // Nothing can end a read of standard input. So it has a thread of its own, which ends with the program.
    let reader = thread::Builder::new().name("barrier".to_owned()).spawn(move || {
        // Nobody listens any more after Ctrl-C.
        drop(tell.send(read_line(io::stdin().lock())));
    });
    reader.map_err(ProbeError::Barrier)?;
    while !stop.asked() {
        match told.recv_timeout(LOOK) {
            Ok(line) => return line.map_err(ProbeError::Barrier),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err(ProbeError::Barrier(io::ErrorKind::BrokenPipe.into()));
            }
        }
    }
    Err(ProbeError::Interrupted)
}

/// Reads until a line has ended. What stands in it means nothing, however long it is; one that is cut short was
/// written by somebody who died.
fn read_line(input: impl io::BufRead) -> io::Result<()> {
    let ended = |byte: &io::Result<u8>| !matches!(byte, Ok(byte) if *byte != b'\n');
    let nothing = || io::Error::new(io::ErrorKind::UnexpectedEof, "standard input ended before a line came");
    input.bytes().find(ended).unwrap_or_else(|| Err(nothing())).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_line_opens_the_barrier_and_a_cut_one_does_not() {
        for (said, opens) in [("\n", true), ("go\n", true), ("go\nmore", true), ("", false), ("go", false)] {
            assert_eq!(read_line(said.as_bytes()).is_ok(), opens, "{said:?}");
        }
    }
}
