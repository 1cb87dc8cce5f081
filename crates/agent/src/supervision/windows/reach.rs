//! An agent's way to what a keeper holds.

use std::{io, os::windows::io::OwnedHandle, path::Path, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    supervision::{Identity, record::Command, store},
    windows::{ClientProcess, PipeEnd},
};

/// Where a keeper writes down what it holds.
pub(super) const HANDLES: &str = "handles.json";
/// How much of each output was taken out of its pipe: two numbers of 64 bits.
pub(super) const TAKEN: &str = "taken";
/// A keeper that does nothing but this hears at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// `handles.json`: numbers of the keeper's own, which mean nothing in other processes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Handles {
    /// Whose they are.
    pub(super) keeper: Identity,
    /// The ends of both outputs that are read.
    pub(super) outputs: [u64; 2],
    /// Events: more was taken out of an output.
    pub(super) taken: [u64; 2],
    /// The end of the standard input that is written; nothing when there is none any more.
    pub(super) input: Option<u64>,
    /// Where a keeper is told something: a [`Told`] in each line.
    pub(super) control: u64,
    /// An event: `exit.json` is there.
    pub(super) over: u64,
}

/// What a keeper is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Told {
    /// As on every system.
    Do(Command),
    /// An agent has all that this output said before this byte.
    Has {
        /// Which of the two.
        stream: usize,
        /// The first byte that it does not have.
        before: u64,
    },
}

/// A keeper that lives.
#[derive(Debug)]
pub(super) struct Reached {
    pub(super) handles: Handles,
    pub(super) process: ClientProcess,
}

impl Reached {
    /// The keeper of this folder; nothing when it is gone.
    ///
    /// # Errors
    /// When its folder cannot be read, or the system lets nobody in.
    pub(super) fn open(folder: &Path) -> io::Result<Option<Self>> {
        let Some(handles) = store::read::<Handles>(&folder.join(HANDLES))? else { return Ok(None) };
        let Identity { pid, started } = handles.keeper;
        Ok(ClientProcess::of_ours(pid, started)?.map(|process| Self { handles, process }))
    }

    /// A handle of ours to what one of its own leads to.
    ///
    /// # Errors
    /// When it has ended meanwhile.
    pub(super) fn copy<T: From<OwnedHandle>>(&self, handle: u64) -> io::Result<T> {
        self.process.duplicate(handle).map(T::from)
    }
}

/// Tells a keeper something. Blocks for a second at most.
///
/// # Errors
/// When nobody hears it.
pub(super) fn tell(control: &PipeEnd, told: Told) -> io::Result<()> {
    let mut line = serde_json::to_vec(&told)?;
    line.push(b'\n');
    control.write_within(line.into(), PATIENCE)
}
