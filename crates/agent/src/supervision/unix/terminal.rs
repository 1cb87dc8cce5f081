//! A program's pseudo-terminal. Its keeper holds the other end and carries bytes between it and the pipes, so that a
//! terminal outlives agents as the pipes do.

use std::{
    fs::File,
    io,
    os::fd::OwnedFd,
    path::Path,
    thread::{self, JoinHandle},
};

use fs_err as fs;
use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::supervision::{Terminal, unix::pipes::STDIN};

/// A terminal without a program yet.
#[derive(Debug)]
pub(super) struct Pseudo {
    master: File,
    /// What the program opens.
    pub(super) name: String,
}

/// The threads of a terminal.
#[derive(Debug)]
pub(super) struct Carried {
    output: JoinHandle<()>,
}

impl Pseudo {
    pub(super) fn open(size: Terminal) -> io::Result<Self> {
        let master: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?.to_string_lossy().into_owned();
        let master = File::from(master);
        resize(&master, size);
        Ok(Self { master, name })
    }

    /// Another descriptor of it.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.master.try_clone()
    }

    /// Begins to carry bytes.
    pub(super) fn carry(self, folder: &Path) -> io::Result<Carried> {
        let (mut from, mut to) = (self.master.try_clone()?, writing(folder)?);
        // It ends with an error when the last program has closed the terminal.
        let output = thread::Builder::new().stack_size(128 * 1024).spawn(move || copy(&mut from, &mut to))?;
        let input = folder.join(STDIN);
        if input.exists() {
            let (mut from, mut to) = (fs::File::open(input)?, self.master);
            // It ends with this process.
            thread::Builder::new().stack_size(128 * 1024).spawn(move || {
                copy(&mut from, &mut to);
                // What a terminal knows as the end of an input.
                io::Write::write_all(&mut to, &[4]).unwrap_or_default();
            })?;
        }
        Ok(Carried { output })
    }
}

fn copy(from: &mut impl io::Read, to: &mut impl io::Write) {
    if let Err(error) = io::copy(from, to) {
        tracing::debug!(%error, "a terminal was closed");
    }
}

impl Carried {
    /// Waits until all that the program said is in the pipe.
    pub(super) fn finish(self) {
        if self.output.join().is_err() {
            tracing::warn!("a terminal's thread ended badly");
        }
    }
}

fn writing(folder: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().write(true).open(folder.join("stdout"))
}

/// Gives it another size; the kernel tells the program.
pub(super) fn resize(terminal: &File, size: Terminal) {
    let size = Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    if let Err(error) = tcsetwinsize(terminal, size) {
        tracing::debug!(%error, "a terminal keeps its size");
    }
}
