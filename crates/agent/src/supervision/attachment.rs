//! A client's view of a process: its output from a place on, then its end.

use std::{io, mem, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use crate::supervision::{End, Offsets, Process, platform, spool::Piece};

/// What is read from a file at once.
const CHUNK: u64 = 256 * 1024;

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// From the standard output, or a terminal.
    Stdout {
        /// Where it begins: later than what came before it when something in between is gone.
        offset: u64,
        /// What was said.
        data: Bytes,
    },
    /// From the standard error.
    Stderr {
        /// As for the standard output.
        offset: u64,
        /// What was said.
        data: Bytes,
    },
    /// The process has ended, and all that it said was given.
    Ended(End),
}

/// A client. When it is dropped, what was not acknowledged goes to the disk.
#[derive(Debug)]
pub struct Attachment {
    process: Arc<Process>,
    given: [u64; 2],
    changed: watch::Receiver<()>,
    /// Whether it acknowledges.
    takes: bool,
    /// Whether what is given counts as received.
    trusts: bool,
    /// Which stream is looked at first.
    first: usize,
}

/// What one look finds.
enum Found {
    Memory { offset: u64, data: Bytes },
    File { offset: u64, at: u64, length: u64 },
    End(End),
    Nothing,
}

impl Attachment {
    pub(crate) fn new(process: Arc<Process>, given: [u64; 2], changed: watch::Receiver<()>) -> Self {
        Self { process, given, changed, takes: false, trusts: false, first: 0 }
    }

    /// The process.
    #[must_use]
    pub const fn process(&self) -> &Arc<Process> {
        &self.process
    }

    /// What is given counts as received from here on: for a client with whom the process ends anyway.
    pub fn trust(&mut self) {
        self.trusts = true;
        self.received(Offsets { stdout: self.given[0], stderr: self.given[1] });
    }

    /// The client has everything before these places: it is forgotten. From here on the program is held at this client's
    /// pace, unless that takes nothing for a while.
    pub fn received(&mut self, offsets: Offsets) {
        let first = !mem::replace(&mut self.takes, true);
        let news = {
            let mut shared = self.process.lock();
            shared.takers += usize::from(first);
            let stdout = shared.spools[0].acknowledged(offsets.stdout);
            let stderr = shared.spools[1].acknowledged(offsets.stderr);
            shared.progress += u64::from(stdout || stderr || first);
            stdout || stderr || first
        };
        if news {
            self.process.wake_pumps();
        }
    }

    /// What comes next; after the end, the end again. Cancel safe: what is not returned is given again.
    ///
    /// # Errors
    /// When the file of what was said cannot be read.
    pub async fn next(&mut self) -> io::Result<Event> {
        loop {
            self.changed.mark_unchanged();
            let (stream, found) = self.look();
            let (offset, data) = match found {
                Found::Memory { offset, data } => (offset, data),
                Found::File { offset, at, length } => match self.read(stream, at, length).await {
                    // Another client had it all and it was thrown away meanwhile: the next look tells.
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
                    read => (offset, read?),
                },
                Found::End(end) => return Ok(Event::Ended(end)),
                Found::Nothing => {
                    // The sender lives in the process that is held here.
                    if self.changed.changed().await.is_err() {
                        return Ok(Event::Ended(End::Lost));
                    }
                    continue;
                }
            };
            self.given[stream] = offset + data.len() as u64;
            self.first = 1 - stream;
            if self.trusts {
                self.received(Offsets { stdout: self.given[0], stderr: self.given[1] });
            }
            return Ok(match stream {
                0 => Event::Stdout { offset, data },
                _ => Event::Stderr { offset, data },
            });
        }
    }

    fn look(&self) -> (usize, Found) {
        let shared = self.process.lock();
        for stream in [self.first, 1 - self.first] {
            match shared.spools[stream].piece(self.given[stream]) {
                Piece::Memory { offset, data } => return (stream, Found::Memory { offset, data }),
                Piece::File { offset, at, length } => {
                    return (stream, Found::File { offset, at, length: length.min(CHUNK) });
                }
                Piece::Nothing => {}
            }
        }
        let over = shared.closed == [true; 2];
        (0, shared.end.filter(|_| over).map_or(Found::Nothing, Found::End))
    }

    async fn read(&self, stream: usize, at: u64, length: u64) -> io::Result<Bytes> {
        let file = Arc::clone(&self.process.spools[stream]);
        let length = usize::try_from(length).map_err(io::Error::other)?;
        let read = tokio::task::spawn_blocking(move || {
            let mut data = vec![0; length];
            platform::read_at(&file, &mut data, at).map(|()| Bytes::from(data))
        });
        read.await.map_err(io::Error::other)?
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if self.takes {
            self.process.lock().takers -= 1;
            self.process.wake_pumps();
        }
    }
}
