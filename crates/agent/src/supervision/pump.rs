//! Carries one output stream from the program's pipe to where [`super::spool`] says. One task for each stream; it alone
//! adds to the spool, clients only take away.

use std::{io, sync::Arc, time::Duration};

use crate::supervision::{
    Process,
    platform::{Source, write_at},
    spool::{Client, Step},
};

/// For how long a client may take nothing before the disk is used, so that the program goes on.
const STALL: Duration = Duration::from_secs(1);
/// When something is tried again that the disk had no room for.
const RETRY: Duration = Duration::from_secs(5);
/// What is moved at once. Below the 128 KiB from which on glibc asks the system for each piece, and then keeps more and
/// more of what is free: with 1 MiB an agent at rest had 6 to 11 MB of it, with this 3 to 4, and is not slower.
const CHUNK: usize = 120 * 1024;

/// One stream's.
pub(crate) struct Pump {
    process: Arc<Process>,
    stream: usize,
    /// Nothing when it came to its end.
    source: Option<Arc<Source>>,
    /// The clients' progress at which they were given up.
    stalled: Option<u64>,
}

impl Pump {
    /// For this stream of a process.
    ///
    /// # Errors
    /// When its pipe is not there.
    pub(crate) fn open(process: &Arc<Process>, stream: usize) -> io::Result<Self> {
        let position = process.lock().spools[stream].end();
        let source = Source::open(&process.folder, stream, position)?;
        Ok(Self { process: Arc::clone(process), stream, source: Some(Arc::new(source)), stalled: None })
    }

    /// Until the process is forgotten or the agent stops; what is in memory then goes to the disk.
    pub(crate) async fn run(mut self) {
        let gone = self.process.gone.clone();
        loop {
            let client = self.client();
            let step = self.process.lock().spools[self.stream].next(client);
            tokio::select! {
                biased;
                done = self.act(step) => match done {
                    Ok(()) => {}
                    Err(error) => self.failed(&error).await,
                },
                () = gone.cancelled() => break,
            }
        }
        let step = self.process.lock().spools[self.stream].next(Client::Away);
        if let Step::Spill(pieces) = step
            && let Err(error) = self.spill(pieces).await
        {
            tracing::warn!(%error, id = self.process.id(), "what was said last is lost");
        }
    }

    fn client(&self) -> Client {
        let shared = self.process.lock();
        let away = shared.takers == 0 || self.stalled == Some(shared.progress);
        if away { Client::Away } else { Client::Taking }
    }

    async fn failed(&self, error: &io::Error) {
        tracing::warn!(%error, id = self.process.id(), "the output of a process waits");
        tokio::select! {
            () = self.process.room[self.stream].notified() => {}
            () = self.process.gone.cancelled() => {}
            () = tokio::time::sleep(RETRY) => {}
        }
    }

    async fn act(&mut self, step: Step) -> io::Result<()> {
        match step {
            Step::Read(room) => match self.coming().await? {
                Some(there) => self.remember(there.min(room).min(CHUNK)),
                None => Ok(()),
            },
            Step::Move { at, most } => match self.coming().await? {
                Some(there) => {
                    self.file(at, there.min(usize::try_from(most).unwrap_or(CHUNK)).min(CHUNK)).await
                }
                None => Ok(()),
            },
            Step::Spill(pieces) => self.spill(pieces).await,
            Step::Empty => self.empty().await,
            Step::Wait => {
                self.rest().await;
                Ok(())
            }
        }
    }

    /// How much there is; nothing when something else happened first.
    async fn coming(&mut self) -> io::Result<Option<usize>> {
        let room = &self.process.room[self.stream];
        let Some(source) = &self.source else {
            room.notified().await;
            return Ok(None);
        };
        let over = self.process.end().is_some();
        // Nobody is left who could write: what is there is all.
        let there = match source.available().await? {
            0 if over => 0,
            0 => tokio::select! {
                there = source.wait() => there?,
                () = room.notified() => return Ok(None),
            },
            there => there,
        };
        if there == 0 {
            self.source = None;
            self.process.lock().closed[self.stream] = true;
            self.process.tell();
            return Ok(None);
        }
        Ok(Some(there))
    }

    /// Marked before it is read: an agent that is killed in between leaves a gap that the next one knows of.
    fn remember(&self, count: usize) -> io::Result<()> {
        let Some(source) = &self.source else { return Ok(()) };
        let marks = self.process.lock().spools[self.stream].marks(count as u64);
        self.process.mark(self.stream, marks)?;
        let data = source.read(count)?;
        self.process.lock().spools[self.stream].remembered(data);
        self.process.tell();
        Ok(())
    }

    async fn file(&self, at: u64, count: usize) -> io::Result<()> {
        let Some(source) = self.source.clone() else { return Ok(()) };
        let file = Arc::clone(&self.process.spools[self.stream]);
        let moved = blocking(move || source.move_to(&file, at, count)).await?;
        self.process.lock().spools[self.stream].filed(moved as u64);
        self.process.tell();
        Ok(())
    }

    async fn spill(&self, pieces: Vec<bytes::Bytes>) -> io::Result<()> {
        let base = {
            let shared = self.process.lock();
            let length: usize = pieces.iter().map(bytes::Bytes::len).sum();
            shared.spools[self.stream].end() - length as u64
        };
        let file = Arc::clone(&self.process.spools[self.stream]);
        if !pieces.is_empty() {
            blocking(move || write_at(&file, &pieces.concat(), 0)).await?;
        }
        let marks = {
            let mut shared = self.process.lock();
            shared.spools[self.stream].spilled(base);
            shared.spools[self.stream].marks(0)
        };
        self.process.mark(self.stream, marks)
    }

    async fn empty(&self) -> io::Result<()> {
        let marks = {
            let mut shared = self.process.lock();
            shared.spools[self.stream].emptied();
            shared.spools[self.stream].marks(0)
        };
        // First how far the stream is, which the file's length said until here.
        self.process.mark(self.stream, marks)?;
        let file = Arc::clone(&self.process.spools[self.stream]);
        if file.metadata()?.len() == 0 {
            return Ok(());
        }
        blocking(move || file.set_len(0)).await
    }

    /// The program waits: for clients, who have a while before they are given up.
    async fn rest(&mut self) {
        let (takers, progress) = {
            let shared = self.process.lock();
            (shared.takers, shared.progress)
        };
        let room = self.process.room[self.stream].notified();
        if takers == 0 || self.stalled == Some(progress) {
            return room.await;
        }
        let waited = tokio::time::timeout(STALL, room).await;
        if waited.is_err() && self.process.lock().progress == progress {
            self.stalled = Some(progress);
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
