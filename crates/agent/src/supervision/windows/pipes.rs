//! The pipes between a program, its keeper and whichever agent there is, at the agent's end.

use std::{
    fs::File,
    io,
    os::windows::io::AsHandle as _,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use fs_err as fs;
use tokio::time::timeout;

use crate::{
    supervision::windows::{
        files::{read_at, write_at},
        reach::{Reached, TAKEN, Told, tell},
    },
    windows::{ClientProcess, Event, PipeEnd, signalled},
};

/// How long a keeper may take before it is looked whether there is one.
const LOOK: Duration = Duration::from_secs(1);
/// What is written at once into an input.
const CHUNK: usize = 64 * 1024;

/// One output of a program, at the agent's end.
#[derive(Debug)]
pub(crate) struct Source {
    /// Nothing when its keeper was gone: what it held has gone with it.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    stream: usize,
    pipe: PipeEnd,
    control: PipeEnd,
    taken: Event,
    keeper: ClientProcess,
    counts: File,
    /// How much of the stream is kept somewhere.
    kept: AtomicU64,
    /// How much of it is not in the pipe any more, as far as we know.
    out: AtomicU64,
}

impl Source {
    /// This output of the process in this folder, of which all before `position` is kept already.
    ///
    /// # Errors
    /// When its keeper is there and cannot be reached.
    pub(crate) fn open(folder: &Path, stream: usize, position: u64) -> io::Result<Self> {
        let Some(keeper) = Reached::open(folder)? else { return Ok(Self { open: None }) };
        let open = Open {
            stream,
            pipe: keeper.copy(keeper.handles.outputs[stream])?,
            control: keeper.copy(keeper.handles.control)?,
            taken: keeper.copy(keeper.handles.taken[stream])?,
            counts: fs::File::open(folder.join(TAKEN))?.into_parts().0,
            keeper: keeper.process,
            kept: AtomicU64::new(position),
            out: AtomicU64::new(0),
        };
        Ok(Self { open: Some(open) })
    }

    /// How many bytes can be read at once; 0: no more come. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn wait(&self) -> io::Result<usize> {
        let Some(open) = &self.open else { return Ok(0) };
        open.take_out().await?;
        loop {
            match open.pipe.peek(&mut []) {
                Ok((_, 0)) => {}
                looked => return over(looked.map(|(_, there)| there)),
            }
            match open.pipe.readable().await {
                Ok(()) => {}
                broken => return over(broken.map(|()| 0)),
            }
        }
    }

    /// How many bytes are there now. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn available(&self) -> io::Result<usize> {
        let Some(open) = &self.open else { return Ok(0) };
        open.take_out().await?;
        over(open.pipe.peek(&mut []).map(|(_, there)| there))
    }

    /// Reads up to `most` bytes of what is there.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn read(&self, most: usize) -> io::Result<Bytes> {
        let Some(open) = &self.open else { return Ok(Bytes::new()) };
        let data = open.look(most)?;
        open.kept.fetch_add(data.len() as u64, Relaxed);
        Ok(data.into())
    }

    /// Puts up to `most` bytes of what is there to this place of a file. Blocks on the disk.
    ///
    /// # Errors
    /// As the system has them, as that the disk is full: nothing was read then.
    pub(crate) fn move_to(&self, file: &File, at: u64, most: usize) -> io::Result<usize> {
        let Some(open) = &self.open else { return Ok(0) };
        let data = open.look(most)?;
        if let Err(error) = write_at(file, &data, at) {
            // Half of it would count as kept.
            file.set_len(at)?;
            return Err(error);
        }
        open.kept.fetch_add(data.len() as u64, Relaxed);
        Ok(data.len())
    }
}

/// What is broken has nothing.
fn over(there: io::Result<usize>) -> io::Result<usize> {
    match there {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        there => there,
    }
}

impl Open {
    fn look(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; most];
        let (copied, _) = self.pipe.peek(&mut data)?;
        data.truncate(copied);
        Ok(data)
    }

    /// Has the keeper take out what is kept. Cancel safe: it is asked again.
    async fn take_out(&self) -> io::Result<()> {
        let before = self.kept.load(Relaxed);
        if self.out.load(Relaxed) >= before {
            return Ok(());
        }
        match tell(&self.control, Told::Has { stream: self.stream, before }) {
            Err(error) if self.keeper.is_running() => return Err(error),
            _ => {}
        }
        while self.keeper.is_running() {
            // What another agent was told wakes us, too, and may have kept us from being told.
            if let Ok(told) = timeout(LOOK, signalled(self.taken.as_handle())).await {
                told?;
            }
            if self.counted()? >= before {
                return Ok(());
            }
        }
        // It was killed, and its program with it: nobody else reads any more.
        let left = before.saturating_sub(self.counted()?);
        let taken = self.pipe.take(usize::try_from(left).map_err(io::Error::other)?);
        over(taken.map(|data| data.len()))?;
        self.out.store(before, Relaxed);
        Ok(())
    }

    fn counted(&self) -> io::Result<u64> {
        let mut count = [0; 8];
        read_at(&self.counts, &mut count, 8 * self.stream as u64)?;
        let count = u64::from_le_bytes(count);
        self.out.store(count, Relaxed);
        Ok(count)
    }
}

/// Whether a keeper still works.
#[derive(Debug)]
pub(crate) struct Alive {
    /// Nothing when it was gone.
    keeper: Option<(ClientProcess, Event)>,
}

impl Alive {
    /// Of the keeper in this folder.
    ///
    /// # Errors
    /// When it is there and cannot be reached.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let keeper = Reached::open(folder)?.map(|keeper| {
            let over = keeper.copy(keeper.handles.over)?;
            Ok::<_, io::Error>((keeper.process, over))
        });
        Ok(Self { keeper: keeper.transpose()? })
    }

    /// Returns when `exit.json` is there or the keeper gone. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let Some((keeper, over)) = &self.keeper else { return Ok(()) };
        tokio::select! {
            told = signalled(over.as_handle()) => told,
            gone = signalled(keeper.as_handle()) => gone,
        }
    }
}

/// A program's standard input, at the agent's end.
#[derive(Debug)]
pub(crate) struct Input {
    pipe: PipeEnd,
}

impl Input {
    /// Opens it.
    ///
    /// # Errors
    /// When there is none, or no more of it.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let keeper = Reached::open(folder)?.ok_or(io::ErrorKind::BrokenPipe)?;
        let input = keeper.handles.input.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Self { pipe: keeper.copy(input)? })
    }

    /// Writes all of it; waits for the program to read. What was written when this is dropped, is.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(crate) async fn write(&mut self, mut data: Bytes) -> io::Result<()> {
        while !data.is_empty() {
            let piece = data.split_to(data.len().min(CHUNK));
            self.pipe.write(piece).await?;
        }
        Ok(())
    }
}
