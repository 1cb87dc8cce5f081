//! The named pipes between a program, its keeper and whichever agent there is.
//!
//! ```text
//!  stdout, stderr   program writes, agent reads; the keeper holds a reading end, so that what is in them stays
//!  stdin            agent writes, program reads; the keeper holds a writing end until the input is ended
//!  control          agent writes, keeper reads
//!  alive            the keeper holds a writing end until `exit.json` is there
//! ```

use std::{fs::File, io, os::fd::OwnedFd, path::Path};

use bytes::{Buf, Bytes};
use fs_err::{self as fs, os::unix::fs::OpenOptionsExt};
use rustix::{
    buffer::spare_capacity,
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{CWD, FileType, Mode, OFlags, mknodat},
    pipe::{SpliceFlags, fcntl_setpipe_size, splice},
};
use tokio::io::{AsyncWriteExt, Interest, unix::AsyncFd};

/// Both outputs.
const STREAMS: [&str; 2] = ["stdout", "stderr"];
pub(super) const STDIN: &str = "stdin";
pub(super) const CONTROL: &str = "control";
const ALIVE: &str = "alive";
/// As much as the kernel gives to those who are not root (`/proc/sys/fs/pipe-max-size`).
const PIPE_BYTES: usize = 1024 * 1024;

/// A keeper's ends.
#[derive(Debug)]
pub(super) struct Ends {
    _outputs: [File; 2],
    input: Option<File>,
    control: Option<File>,
    alive: Option<File>,
    folder: std::path::PathBuf,
}

impl Ends {
    /// Makes all pipes in `folder`, and opens the keeper's ends.
    pub(super) fn make(folder: &Path, stdin: bool) -> io::Result<Self> {
        let make = |name: &str| {
            let path = folder.join(name);
            mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o600), 0)?;
            Ok::<_, io::Error>(path)
        };
        let output = |name| {
            let pipe = reading(&make(name)?)?;
            if let Err(error) = fcntl_setpipe_size(&pipe, PIPE_BYTES) {
                tracing::debug!(%error, "a pipe stays small");
            }
            Ok::<_, io::Error>(pipe)
        };
        let both = |name| Ok::<_, io::Error>(options().write(true).open(make(name)?)?.into_parts().0);
        Ok(Self {
            _outputs: [output("stdout")?, output("stderr")?],
            // Open for both, so that neither side waits for the other to open.
            input: stdin.then(|| both(STDIN)).transpose()?,
            control: Some(both(CONTROL)?),
            alive: Some(both(ALIVE)?),
            folder: folder.to_owned(),
        })
    }

    /// The program has its reading end: from here on, an input that nobody reads breaks for its writer.
    pub(super) fn keep_input(&mut self) {
        if self.input.is_some() {
            let writing = fs::OpenOptions::new().write(true).open(self.folder.join(STDIN));
            self.input = writing.ok().map(|file| file.into_parts().0);
        }
    }

    pub(super) fn take_control(&mut self) -> io::Result<File> {
        self.control.take().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    pub(super) fn take_input(&mut self) -> Option<File> {
        self.input.take()
    }

    /// `exit.json` is there.
    pub(super) fn over(&mut self) {
        self.alive = None;
    }
}

fn options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    options
}

/// Does not wait for a writer.
fn reading(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    Ok(options().custom_flags(flags).open(path)?.into_parts().0)
}

/// One output of a program, at the agent's end.
#[derive(Debug)]
pub(crate) struct Source {
    pipe: AsyncFd<OwnedFd>,
}

impl Source {
    /// Opens the pipe of this stream. How much of it was read before is what is not in it any more.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn open(folder: &Path, stream: usize, _: u64) -> io::Result<Self> {
        Self::named(folder, STREAMS[stream])
    }

    fn named(folder: &Path, name: &str) -> io::Result<Self> {
        let pipe = OwnedFd::from(reading(&folder.join(name))?);
        #[expect(unsafe_code, reason = "tokio's own pipes cannot be looked into without reading them")]
        // SAFETY: an `OwnedFd` is one descriptor, open for as long as it lives, and nothing takes it out of there.
        let pipe = unsafe { AsyncFd::register_with_interest(pipe, Interest::READABLE) };
        Ok(Self { pipe: pipe.map_err(io::Error::from)? })
    }

    /// How many bytes can be read at once; 0: no more come, unless the last writer was gone before this end was opened,
    /// which no system call tells. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn wait(&self) -> io::Result<usize> {
        if let Some(known) = self.look()? {
            return Ok(known);
        }
        loop {
            let mut guard = self.pipe.readable().await?;
            if let Some(known) = self.look()? {
                return Ok(known);
            }
            guard.clear_ready();
        }
    }

    /// How many bytes are there now. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    #[expect(clippy::unused_async, reason = "as on other systems")]
    pub(crate) async fn available(&self) -> io::Result<usize> {
        self.there()
    }

    fn there(&self) -> io::Result<usize> {
        let bytes = rustix::io::ioctl_fionread(self.pipe.get_ref())?;
        Ok(usize::try_from(bytes).unwrap_or(usize::MAX))
    }

    fn look(&self) -> io::Result<Option<usize>> {
        match self.there()? {
            0 => {
                let mut states = [PollFd::new(self.pipe.get_ref(), PollFlags::IN)];
                poll(&mut states, Some(&Timespec::default()))?;
                let state = states[0].revents();
                let ended = state.contains(PollFlags::HUP) && !state.contains(PollFlags::IN);
                Ok(ended.then_some(0))
            }
            bytes => Ok(Some(bytes)),
        }
    }

    /// Reads up to `most` bytes of what is there.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn read(&self, most: usize) -> io::Result<Bytes> {
        let mut data = Vec::with_capacity(most);
        rustix::io::read(self.pipe.get_ref(), spare_capacity(&mut data))?;
        Ok(Bytes::from(data))
    }

    /// Moves up to `most` bytes of what is there to this place of a file, in one system call: whoever is killed meanwhile
    /// has lost none. Blocks on the disk.
    ///
    /// # Errors
    /// As the system has them, as that the disk is full: nothing was moved then.
    pub(crate) fn move_to(&self, file: &File, mut at: u64, most: usize) -> io::Result<usize> {
        let moved = splice(self.pipe.get_ref(), None, file, Some(&mut at), most, SpliceFlags::NONBLOCK);
        match moved {
            Err(rustix::io::Errno::AGAIN) => Ok(0),
            outcome => Ok(outcome?),
        }
    }
}

/// Whether a keeper still works.
#[derive(Debug)]
pub(crate) struct Alive {
    pipe: Source,
}

impl Alive {
    /// Of the keeper in this folder.
    ///
    /// # Errors
    /// When its pipe is not there.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        Ok(Self { pipe: Source::named(folder, ALIVE)? })
    }

    /// Returns when `exit.json` is there or the keeper gone. Cancel safe.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        // Nothing was ever written into it: reading it says whether a writer is there, even when none was from the beginning.
        match rustix::io::read(self.pipe.pipe.get_ref(), &mut [0_u8; 1][..]) {
            Ok(_) => Ok(()),
            Err(rustix::io::Errno::AGAIN) => self.pipe.wait().await.map(drop),
            Err(error) => Err(error.into()),
        }
    }
}

/// A program's standard input, at the agent's end.
#[derive(Debug)]
pub(crate) struct Input {
    pipe: tokio::net::unix::pipe::Sender,
}

impl Input {
    /// Opens it.
    ///
    /// # Errors
    /// When there is none, or nobody reads it any more.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let pipe = tokio::net::unix::pipe::OpenOptions::new().open_sender(folder.join(STDIN))?;
        Ok(Self { pipe })
    }

    /// Writes all of it; waits for the program to read. What was written when this is dropped, is.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub(crate) async fn write(&mut self, mut data: Bytes) -> io::Result<()> {
        while data.has_remaining() {
            let written = self.pipe.write(&data).await?;
            data.advance(written);
        }
        Ok(())
    }
}
