//! The way to an agent on a computer with Windows.

use std::{
    fs::{File, OpenOptions},
    io,
    os::windows::{fs::OpenOptionsExt as _, io::IntoRawHandle as _},
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::windows::named_pipe::NamedPipeClient,
    time::{Instant, sleep},
};
use windows_sys::Win32::{
    Foundation::ERROR_PIPE_BUSY,
    Storage::FileSystem::{
        FILE_APPEND_DATA, FILE_FLAG_OVERLAPPED, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
        SECURITY_IDENTIFICATION,
    },
};

use crate::connect::Address;

/// Between one client and the next a pipe has no free instance for a moment.
const BUSY: Duration = Duration::from_secs(10);
/// As often as Go's clients ask.
const PAUSE: Duration = Duration::from_millis(10);

/// To read and write, and not to make an instance of the same pipe, which is what `FILE_APPEND_DATA` is on one: not
/// everybody who may connect may do that.
const ACCESS: u32 = FILE_GENERIC_READ | FILE_GENERIC_WRITE & !FILE_APPEND_DATA;

/// Where pipes of this computer are.
const PIPES: &str = r"\\.\pipe\";

/// An old pipe by its name. Pipes are in no folder of an agent's own; a name that is whole already stays as it is.
#[must_use]
pub fn wins_door(_: &Path, pipe: &str) -> PathBuf {
    let name = pipe.strip_prefix(PIPES).unwrap_or(pipe);
    format!("{PIPES}{name}").into()
}

/// By a pipe's name, with or without what stands before all of them.
pub(crate) fn wins(pipe: &str) -> Address {
    Address::Pipe(wins_door(Path::new(""), pipe).to_string_lossy().into_owned())
}

/// A connection without a protocol yet.
///
/// # Errors
/// As the system has them, and for an address that only another system has. Cancel safe.
pub async fn stream(address: &Address) -> io::Result<PipeStream> {
    match address {
        Address::Pipe(name) => PipeStream::open(name).await,
        Address::Unix(_) | Address::Tcp(..) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "here agents have named pipes"))
        }
    }
}

/// A connection to a named pipe, of either type.
#[derive(Debug)]
pub struct PipeStream {
    pipe: NamedPipeClient,
}

impl PipeStream {
    /// Opens `name`. A pipe that is busy is asked again for ten seconds; one that is not there is an error at once.
    ///
    /// The other side may learn who we are and no more: it cannot act in our place.
    ///
    /// # Errors
    /// As the system has them. Cancel safe.
    pub async fn open(name: &str) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.access_mode(ACCESS).share_mode(0).custom_flags(FILE_FLAG_OVERLAPPED);
        options.security_qos_flags(SECURITY_IDENTIFICATION);
        let until = Instant::now() + BUSY;
        loop {
            match options.open(name) {
                Ok(pipe) => return Self::new(pipe),
                Err(error) if is_busy(&error) && Instant::now() < until => sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
    }
}

impl PipeStream {
    #[expect(unsafe_code, reason = "tokio's own way to open a pipe asks for more than a client needs")]
    fn new(pipe: File) -> io::Result<Self> {
        // SAFETY: it is open, for overlapped I/O, and nobody else's any more.
        let pipe = unsafe { NamedPipeClient::from_raw_handle(pipe.into_raw_handle())? };
        Ok(Self { pipe })
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == i32::try_from(ERROR_PIPE_BUSY).ok()
}

impl AsyncRead for PipeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(context, buffer)
    }
}

impl AsyncWrite for PipeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // On a pipe of messages an empty one is the end to whoever reads it.
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.pipe).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(context)
    }
}
