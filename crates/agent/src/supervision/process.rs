//! One process, as this agent sees it: what its pumps, its watcher and its clients share.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use fs_err as fs;
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use crate::supervision::{
    Attachment, End, Record, Running, SupervisionError, Terminal, platform,
    record::Command,
    spool::{Bounds, Marks, Spool},
};

const SPOOLS: [&str; 2] = ["stdout.spool", "stderr.spool"];
const MARKS: [&str; 2] = ["stdout.marks", "stderr.marks"];
/// In a file of marks: no base.
const NO_BASE: u64 = u64::MAX;

/// A place in both outputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// In the standard output.
    pub stdout: u64,
    /// In the standard error.
    pub stderr: u64,
}

/// How a process is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub record: Record,
    /// Its number; 0 when it never ran.
    pub pid: u32,
    /// How it ended, if it has.
    pub end: Option<End>,
    /// How much it said.
    pub said: Offsets,
    /// Whether an earlier agent started it.
    pub adopted: bool,
}

/// A process. Its methods may be called from anywhere; none waits but those that say so.
#[derive(Debug)]
pub struct Process {
    pub(crate) record: Record,
    pub(crate) running: Running,
    pub(crate) folder: PathBuf,
    adopted: bool,
    shared: Mutex<Shared>,
    /// Something new: output, its end, the process's end.
    changed: watch::Sender<()>,
    /// For each pump: something that it waits for may be otherwise.
    pub(crate) room: [Notify; 2],
    /// It was forgotten, or this agent stops.
    pub(crate) gone: CancellationToken,
    /// Its keeper has gone, because all is over.
    pub(crate) seen_off: CancellationToken,
    input: tokio::sync::Mutex<Option<platform::Input>>,
    pub(crate) spools: [Arc<std::fs::File>; 2],
    marks: [std::fs::File; 2],
}

/// What changes.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) spools: [Spool; 2],
    /// Which outputs came to their end.
    pub(crate) closed: [bool; 2],
    pub(crate) end: Option<End>,
    pub(crate) ended_at: Option<Instant>,
    /// Clients that acknowledge.
    pub(crate) takers: usize,
    /// Grows with each acknowledgement.
    pub(crate) progress: u64,
    /// Whether anybody attached to it, with this agent.
    pub(crate) was_attached: bool,
    /// Whether somebody is ending it.
    pub(crate) stopping: bool,
}

impl Process {
    /// One in this folder; `adopted` from an earlier agent.
    ///
    /// # Errors
    /// When the folder cannot be used.
    pub(crate) fn open(
        (record, running): (Record, Running),
        folder: &Path,
        bounds: Bounds,
        adopted: bool,
    ) -> io::Result<Self> {
        let open = |name: &str| {
            let file = fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(folder.join(name))?;
            Ok::<_, io::Error>(file.into_parts().0)
        };
        let spools = [Arc::new(open(SPOOLS[0])?), Arc::new(open(SPOOLS[1])?)];
        let marks = [open(MARKS[0])?, open(MARKS[1])?];
        let restore = |stream: usize| {
            let length = spools[stream].metadata()?.len();
            Ok::<_, io::Error>(Spool::restored(bounds, read_marks(&marks[stream])?, length))
        };
        let shared = Shared {
            spools: [restore(0)?, restore(1)?],
            closed: [false; 2],
            end: None,
            ended_at: None,
            takers: 0,
            progress: 0,
            was_attached: false,
            stopping: false,
        };
        Ok(Self {
            record,
            running,
            folder: folder.to_owned(),
            adopted,
            shared: Mutex::new(shared),
            changed: watch::Sender::new(()),
            room: [Notify::new(), Notify::new()],
            gone: CancellationToken::new(),
            seen_off: CancellationToken::new(),
            input: tokio::sync::Mutex::new(None),
            spools,
            marks,
        })
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.record.id
    }

    /// The program's number.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.running.program.pid
    }

    /// Who started it.
    #[must_use]
    pub fn owner(&self) -> &str {
        &self.record.caller
    }

    /// Whether it stays when the one who ran it goes away.
    #[must_use]
    pub const fn keeps(&self) -> bool {
        self.record.keep
    }

    /// Whether it has a standard input.
    #[must_use]
    pub const fn has_input(&self) -> bool {
        self.record.stdin
    }

    /// How it is.
    #[must_use]
    pub fn status(&self) -> Status {
        let shared = self.lock();
        Status {
            record: self.record.clone(),
            pid: self.running.program.pid,
            end: shared.end,
            said: Offsets { stdout: shared.spools[0].end(), stderr: shared.spools[1].end() },
            adopted: self.adopted,
        }
    }

    /// How it ended, if it has.
    #[must_use]
    pub fn end(&self) -> Option<End> {
        self.lock().end
    }

    /// Waits for its end. Cancel safe.
    pub async fn ended(&self) -> End {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(end) = self.end() {
                return end;
            }
            if changed.changed().await.is_err() {
                return End::Lost;
            }
        }
    }

    /// Its output from this place on, and its end. Who only looks never calls [`Attachment::received`]: then it all stays
    /// kept for somebody else.
    ///
    /// # Errors
    /// When it has not said so much.
    pub fn attach(self: &Arc<Self>, from: Offsets) -> Result<Attachment, SupervisionError> {
        let from = [from.stdout, from.stderr];
        {
            let mut shared = self.lock();
            for (spool, asked) in shared.spools.iter().zip(from) {
                if asked > spool.end() {
                    return Err(SupervisionError::Offset { asked, there: spool.end() });
                }
            }
            shared.was_attached = true;
        }
        Ok(Attachment::new(Arc::clone(self), from, self.changed.subscribe()))
    }

    /// Writes to its standard input; waits until the program takes it, or has ended. Not cancel safe: what was written, is.
    ///
    /// # Errors
    /// When it has none, does not read it any more, or has ended.
    pub async fn write(&self, data: Bytes) -> io::Result<()> {
        let mut input = self.input.lock().await;
        let open = match input.take() {
            Some(open) => open,
            None => platform::Input::open(&self.folder)?,
        };
        let input = input.insert(open);
        tokio::select! {
            written = input.write(data) => written,
            _ = self.ended() => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// No more standard input comes.
    ///
    /// # Errors
    /// When its keeper is gone.
    pub async fn end_input(&self) -> io::Result<()> {
        self.input.lock().await.take();
        platform::command(&self.folder, Command::EndInput)
    }

    /// Sends a signal to its group.
    ///
    /// # Errors
    /// When its keeper is gone.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        platform::command(&self.folder, Command::Signal(signal))
    }

    /// Gives its terminal another size.
    ///
    /// # Errors
    /// When its keeper is gone.
    pub fn resize(&self, size: Terminal) -> io::Result<()> {
        platform::command(&self.folder, Command::Resize(size))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells clients that there is something new.
    pub(crate) fn tell(&self) {
        self.changed.send_replace(());
    }

    /// Tells the pumps that something they wait for may be otherwise.
    pub(crate) fn wake_pumps(&self) {
        self.room.iter().for_each(Notify::notify_one);
    }

    /// Writes down how far a stream is. Into the page cache: it blocks for no longer than a lock would.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn mark(&self, stream: usize, marks: Marks) -> io::Result<()> {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&marks.position.to_le_bytes());
        bytes[8..].copy_from_slice(&marks.base.unwrap_or(NO_BASE).to_le_bytes());
        platform::write_at(&self.marks[stream], &bytes, 0)
    }

    /// Waits until both outputs came to their ends. Cancel safe.
    pub(crate) async fn drained(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if self.lock().closed == [true; 2] || changed.changed().await.is_err() {
                return;
            }
        }
    }

    /// It has ended like this.
    pub(crate) fn set_end(&self, end: End) {
        {
            let mut shared = self.lock();
            shared.end = Some(end);
            shared.ended_at = Some(Instant::now());
        }
        self.tell();
        self.wake_pumps();
    }

    /// For how long it has been over.
    pub(crate) fn over_for(&self) -> Option<Duration> {
        self.lock().ended_at.map(|at| at.elapsed())
    }
}

/// A file that was not written yet says: nothing was read, nothing is kept.
fn read_marks(file: &std::fs::File) -> io::Result<Marks> {
    if file.metadata()?.len() < 16 {
        return Ok(Marks::default());
    }
    let mut bytes = [[0; 8]; 2];
    platform::read_at(file, bytes.as_flattened_mut(), 0)?;
    Ok(marks(bytes))
}

/// What a file of marks says.
pub(crate) fn marks(bytes: [[u8; 8]; 2]) -> Marks {
    let [position, base] = bytes.map(u64::from_le_bytes);
    Marks { position, base: (base != NO_BASE).then_some(base) }
}
