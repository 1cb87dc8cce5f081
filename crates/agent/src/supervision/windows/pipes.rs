//! The pipes between a program, its keeper and whichever agent there is.

use std::{fs::File, io, path::Path};

use bytes::Bytes;

/// One output of a program, at the agent's end.
#[derive(Debug)]
pub(crate) struct Source;

impl Source {
    pub(crate) fn open(_: &Path, _: usize, _: u64) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn wait(&self) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn available(&self) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn read(&self, _: usize) -> io::Result<Bytes> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) fn move_to(&self, _: &File, _: u64, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Whether a keeper still works.
#[derive(Debug)]
pub(crate) struct Alive;

impl Alive {
    pub(crate) fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn ended(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A program's standard input, at the agent's end.
#[derive(Debug)]
pub(crate) struct Input;

impl Input {
    pub(crate) fn open(_: &Path) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(crate) async fn write(&mut self, _: Bytes) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
