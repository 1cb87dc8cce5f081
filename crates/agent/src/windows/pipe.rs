//! Pipes between a program and us, whose ends can be handed to other processes of ours.
//!
//! An end of ours does several things at a time (`FILE_FLAG_OVERLAPPED`): else whoever waits at it in one process would hold
//! whoever looks into it in another one. It belongs to no completion port: a pipe's end belongs to one for ever, and
//! agents come and go.
#![expect(unsafe_code, reason = "std's pipes cannot be looked into, or waited for without being read")]

use std::{
    io, mem,
    os::windows::{
        fs::OpenOptionsExt as _,
        io::{AsHandle, AsRawHandle as _, BorrowedHandle, FromRawHandle as _, OwnedHandle},
    },
    ptr::{null, null_mut},
    time::Duration,
};

use bytes::Bytes;
use windows_sys::Win32::{
    Foundation::{ERROR_IO_PENDING, ERROR_OPERATION_ABORTED, GENERIC_WRITE, HANDLE, INVALID_HANDLE_VALUE},
    Storage::FileSystem::{
        FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_READ_ATTRIBUTES, PIPE_ACCESS_INBOUND,
        ReadFile, WriteFile,
    },
    System::{
        IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED},
        Pipes::{
            CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
            PeekNamedPipe,
        },
    },
};

use crate::windows::{
    memory::wide,
    wait::{Event, For, signalled, signalled_within},
};

/// How much a pipe holds before its writer waits.
const ROOM: u32 = 256 * 1024;

/// An end of ours.
#[derive(Debug)]
pub(crate) struct PipeEnd(OwnedHandle);

/// A pipe that somebody else writes into: our end, and theirs.
///
/// # Errors
/// As the system has them.
pub(crate) fn to_read() -> io::Result<(PipeEnd, OwnedHandle)> {
    let (reading, writing) = make(FILE_FLAG_OVERLAPPED, 0)?;
    Ok((PipeEnd(reading), writing))
}

/// A pipe that somebody else reads from: our end, and theirs.
///
/// # Errors
/// As the system has them.
pub(crate) fn to_write() -> io::Result<(PipeEnd, OwnedHandle)> {
    let (reading, writing) = make(0, FILE_FLAG_OVERLAPPED)?;
    Ok((PipeEnd(writing), reading))
}

/// The end that reads and the end that writes, with these flags. The name can be guessed by nobody, and is taken as soon as
/// the second end is there; until then the default rights let nobody else write.
fn make(reading: u32, writing: u32) -> io::Result<(OwnedHandle, OwnedHandle)> {
    let name = format!(r"\\.\pipe\winstead-agent-{}", uuid::Uuid::new_v4().simple());
    let path = wide(&name);
    let open = PIPE_ACCESS_INBOUND | FILE_FLAG_FIRST_PIPE_INSTANCE | reading;
    let mode = PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS;
    // SAFETY: the name ends with a zero; the new handle is ours to close.
    let reader = unsafe {
        let pipe = CreateNamedPipeW(path.as_ptr(), open, mode, 1, ROOM, ROOM, 0, null());
        if pipe == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(pipe)
    };
    let mut options = fs_err::OpenOptions::from_options({
        let mut options = std::fs::OpenOptions::new();
        // A C runtime asks what it writes into.
        options.access_mode(GENERIC_WRITE | FILE_READ_ATTRIBUTES).custom_flags(writing);
        options
    });
    Ok((reader, options.write(true).open(name)?.into_parts().0.into()))
}

impl PipeEnd {
    /// Copies what is there, as far as there is room, and leaves it there. Returns how much was copied, and how much there
    /// is. Does not wait.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when nothing is there and nothing more comes.
    pub(crate) fn peek(&self, into: &mut [u8]) -> io::Result<(usize, usize)> {
        let room = u32::try_from(into.len()).unwrap_or(u32::MAX);
        let (mut copied, mut there) = (0, 0);
        // SAFETY: the handle is open, there is as much room as is said, and room for two numbers.
        let done = unsafe {
            PeekNamedPipe(
                self.0.as_raw_handle(),
                into.as_mut_ptr().cast(),
                room,
                &raw mut copied,
                &raw mut there,
                null_mut(),
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok((count(copied), count(there)))
    }

    /// Takes out up to `most` bytes of what is there. Does not wait.
    ///
    /// # Errors
    /// As the system has them.
    pub(crate) fn take(&self, most: usize) -> io::Result<Vec<u8>> {
        let mut data = vec![0; most.min(self.peek(&mut [])?.1)];
        if data.is_empty() {
            return Ok(data);
        }
        let (at, length) = (data.as_mut_ptr(), u32::try_from(data.len()).unwrap_or(u32::MAX));
        // SAFETY: the data live as long as the operation.
        let mut reading = unsafe {
            Operation::begin(self.0.as_handle(), data, |pipe, overlapped| {
                ReadFile(pipe, at, length, null_mut(), overlapped)
            })
        }?;
        // Somebody else may have been faster: then there is nothing.
        reading.cancel();
        let taken = reading.outcome()?;
        let mut data = mem::take(&mut reading.data);
        data.truncate(taken);
        Ok(data)
    }

    /// Waits until something can be read. Takes nothing, so nothing is lost with it: cancel safe.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when nothing more comes.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        // SAFETY: nothing is read.
        let reading = unsafe {
            Operation::begin(self.0.as_handle(), (), |pipe, overlapped| {
                ReadFile(pipe, std::ptr::dangling_mut(), 0, null_mut(), overlapped)
            })
        }?;
        signalled(reading.event.as_handle()).await?;
        reading.outcome().map(drop)
    }

    /// Writes all of it; waits for the other end to read. What was written when this is dropped, is.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] when nobody reads it any more.
    pub(crate) async fn write(&self, data: Bytes) -> io::Result<()> {
        let writing = self.begin_to_write(data)?;
        signalled(writing.event.as_handle()).await?;
        writing.outcome().map(drop)
    }

    /// Writes all of it, and blocks for no longer than this.
    ///
    /// # Errors
    /// As the system has them, and when there is not room enough in time.
    pub(crate) fn write_within(&self, data: Bytes, time: Duration) -> io::Result<()> {
        let writing = self.begin_to_write(data)?;
        if !signalled_within(writing.event.as_handle(), time)? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        writing.outcome().map(drop)
    }

    fn begin_to_write(&self, data: Bytes) -> io::Result<Operation<'_, Bytes>> {
        let (at, length) = (data.as_ptr(), u32::try_from(data.len()).map_err(io::Error::other)?);
        // SAFETY: the data live as long as the operation.
        unsafe {
            Operation::begin(self.0.as_handle(), data, |pipe, overlapped| {
                WriteFile(pipe, at, length, null_mut(), overlapped)
            })
        }
    }
}

impl From<OwnedHandle> for PipeEnd {
    fn from(pipe: OwnedHandle) -> Self {
        Self(pipe)
    }
}

impl AsHandle for PipeEnd {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.0.as_handle()
    }
}

/// Something that Windows does meanwhile. When this is dropped, it is over.
struct Operation<'a, D> {
    pipe: BorrowedHandle<'a>,
    /// Windows writes into it until it is over.
    overlapped: *mut OVERLAPPED,
    event: Event,
    data: D,
}

// SAFETY: what Windows writes into is on the heap, and read only through this value.
unsafe impl<D: Send> Send for Operation<'_, D> {}
// SAFETY: as above.
unsafe impl<D: Sync> Sync for Operation<'_, D> {}

impl<'a, D> Operation<'a, D> {
    /// Begins what `call` begins, to or from `data`.
    ///
    /// # Safety
    /// Where `call` lets Windows read or write lies in `data`, on the heap.
    unsafe fn begin(
        pipe: BorrowedHandle<'a>,
        data: D,
        call: impl FnOnce(HANDLE, *mut OVERLAPPED) -> i32,
    ) -> io::Result<Self> {
        let event = Event::new(For::All)?;
        let overlapped = OVERLAPPED { hEvent: event.as_handle().as_raw_handle(), ..OVERLAPPED::default() };
        let overlapped = Box::into_raw(Box::new(overlapped));
        if call(pipe.as_raw_handle(), overlapped) == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
                // SAFETY: it was made above, and Windows has not begun with it.
                drop(unsafe { Box::from_raw(overlapped) });
                return Err(error);
            }
        }
        Ok(Self { pipe, overlapped, event, data })
    }

    /// It is not to go on; what was done, is.
    fn cancel(&self) {
        // SAFETY: both live. It fails where it is over already.
        unsafe { CancelIoEx(self.pipe.as_raw_handle(), self.overlapped) };
    }

    /// Waits for it to be over; how many bytes it was, none where it was cancelled.
    fn outcome(&self) -> io::Result<usize> {
        let mut bytes = 0;
        // SAFETY: both live, and there is room for a number.
        let done =
            unsafe { GetOverlappedResult(self.pipe.as_raw_handle(), self.overlapped, &raw mut bytes, 1) };
        match done {
            0 => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(ERROR_OPERATION_ABORTED.cast_signed()) => Ok(0),
                error => Err(error),
            },
            _ => Ok(count(bytes)),
        }
    }
}

impl<D> Drop for Operation<'_, D> {
    fn drop(&mut self) {
        self.cancel();
        // However it ended: it is over.
        drop(self.outcome());
        // SAFETY: it was made by `begin`, and Windows has ended with it.
        drop(unsafe { Box::from_raw(self.overlapped) });
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _, io::Write as _};

    use super::*;

    #[tokio::test]
    async fn what_is_looked_at_stays_and_what_is_taken_goes() {
        let (ours, theirs) = to_read().expect("a pipe");
        let mut theirs = File::from(theirs);
        assert_eq!(ours.peek(&mut [0; 9]).expect("it is open"), (0, 0));
        assert!(ours.take(9).expect("it is open").is_empty());
        let waits = tokio::time::timeout(Duration::from_millis(50), ours.readable());
        waits.await.expect_err("nothing is there");
        theirs.write_all(b"one").expect("there is room");
        theirs.write_all(b"two").expect("there is room");
        ours.readable().await.expect("something is there");
        for _ in 0..2 {
            let mut data = [0; 4];
            assert_eq!(ours.peek(&mut data).expect("it is open"), (4, 6));
            assert_eq!(&data, b"onet");
        }
        drop(theirs);
        assert_eq!(ours.take(4).expect("it is there"), b"onet");
        ours.readable().await.expect("two bytes are left");
        assert_eq!(ours.take(4).expect("it is there"), b"wo");
        let over = ours.readable().await.expect_err("nobody writes any more");
        assert_eq!(over.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(ours.peek(&mut []).expect_err("as above").kind(), io::ErrorKind::BrokenPipe);
    }

    #[tokio::test]
    async fn one_who_waits_is_woken_by_what_comes() {
        let (ours, theirs) = to_read().expect("a pipe");
        let waiting = tokio::spawn(async move {
            ours.readable().await.expect("something comes");
            ours.take(9).expect("it is there")
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        File::from(theirs).write_all(b"late").expect("there is room");
        assert_eq!(waiting.await.expect("no panic"), b"late");
    }

    #[tokio::test]
    async fn a_writer_waits_for_a_reader_and_hears_when_that_is_gone() {
        let (ours, theirs) = to_write().expect("a pipe");
        let data = Bytes::from(vec![7; 3 * ROOM as usize]);
        assert_eq!(
            ours.write_within(data.clone(), Duration::from_millis(50)).expect_err("too much").kind(),
            io::ErrorKind::TimedOut
        );
        let reader = std::thread::spawn(move || {
            let mut all = vec![0; 3 * ROOM as usize];
            File::from(theirs).read_exact(&mut all).expect("it comes");
        });
        ours.write(data.clone()).await.expect("somebody reads");
        reader.join().expect("no panic");
        let gone = ours.write(data).await.expect_err("nobody reads");
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }
}
