//! A program's terminal: a pseudo-console, which its keeper has, so that it outlives agents as pipes do.
//!
//! ```text
//!  agent ── keys ──▶ pipe ──────────────▶ console ──▶ program
//!  agent ◀── pipe ◀── keeper ◀── pipe ◀── console ◀── program
//! ```
//! When a program has ended, its console may still have to show what it said last. Only whoever reads to the end of a pipe
//! knows that it has: so the keeper carries what is shown from one pipe into the other.

use std::{
    fs::File,
    io::{self, PipeReader, Read as _, Write as _, pipe},
    os::windows::io::{AsHandle as _, OwnedHandle},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use crate::{
    supervision::Terminal,
    windows::{Event, For, PseudoConsole, signalled_within},
};

/// Ctrl-C, as it is typed.
pub(super) const CTRL_C: &[u8] = b"\x03";
/// The end of an input, as it is typed: Ctrl-Z, and the end of a line.
pub(super) const END_OF_INPUT: &[u8] = b"\x1a\r";
/// What is carried at once.
const CHUNK: usize = 64 * 1024;
/// For how long a console that was closed may show nothing and not end.
const LAST: Duration = Duration::from_secs(10);
const STACK: usize = 128 * 1024;

/// A terminal without a program yet.
#[derive(Debug)]
pub(super) struct Pseudo {
    /// Dropped before the console, which else waits at its end for somebody to read.
    from: PipeReader,
    to: File,
    /// What the program is started at.
    pub(super) console: PseudoConsole,
}

/// A terminal that shows what its program says.
#[derive(Debug)]
pub(super) struct Carried {
    /// Nothing when it was closed.
    console: Mutex<Option<PseudoConsole>>,
    shown: Arc<Shown>,
}

#[derive(Debug)]
struct Shown {
    over: Event,
    /// Whether it waits for somebody to read.
    waits: AtomicBool,
}

impl Pseudo {
    /// One of this size, which reads keys from one pipe and is to show what it shows in the other.
    pub(super) fn open(size: Terminal, keys: &OwnedHandle, shown: OwnedHandle) -> io::Result<Self> {
        let (from, its) = pipe()?;
        let console = PseudoConsole::open(size, keys.as_handle(), its.as_handle())?;
        Ok(Self { from, to: File::from(shown), console })
    }

    /// Begins to carry bytes.
    pub(super) fn carry(self) -> io::Result<Carried> {
        let Self { from, to, console } = self;
        let shown = Arc::new(Shown { over: Event::new(For::All)?, waits: AtomicBool::new(false) });
        let carries = Arc::clone(&shown);
        // It ends when the console has.
        thread::Builder::new().stack_size(STACK).spawn(move || carries.all(from, to))?;
        Ok(Carried { console: Mutex::new(Some(console)), shown })
    }
}

impl Carried {
    fn lock(&self) -> MutexGuard<'_, Option<PseudoConsole>> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives it another size, unless it was closed.
    pub(super) fn resize(&self, size: Terminal) -> io::Result<()> {
        self.lock().as_ref().map_or(Ok(()), |console| console.resize(size))
    }

    /// Closes the console, which asks what runs at it to end. Does not wait: closing may take until all was read.
    pub(super) fn close(&self) -> io::Result<()> {
        let Some(console) = self.lock().take() else { return Ok(()) };
        thread::Builder::new().stack_size(STACK).spawn(move || drop(console)).map(drop)
    }

    /// Closes it, and waits until all that was shown is in the pipe: as long as it takes for somebody to read that.
    pub(super) fn finish(&self) -> io::Result<()> {
        self.close()?;
        while !signalled_within(self.shown.over.as_handle(), LAST)? {
            if !self.shown.waits.load(Relaxed) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "its console does not end"));
            }
        }
        Ok(())
    }
}

impl Shown {
    fn all(&self, from: PipeReader, to: File) {
        if let Err(error) = self.copy(from, to) {
            tracing::debug!(%error, "a console was closed");
        }
        if let Err(error) = self.over.set() {
            tracing::warn!(%error, "nobody hears that a console has ended");
        }
    }

    fn copy(&self, mut from: PipeReader, mut to: File) -> io::Result<()> {
        let mut data = vec![0; CHUNK];
        loop {
            let count = from.read(&mut data)?;
            if count == 0 {
                return Ok(());
            }
            self.waits.store(true, Relaxed);
            to.write_all(&data[..count])?;
            self.waits.store(false, Relaxed);
        }
    }
}
