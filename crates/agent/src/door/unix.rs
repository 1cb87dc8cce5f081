//! Unix sockets: the file's own permission says who may connect, the kernel says who did.

use std::{
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll},
};

use fs_err as fs;
use rustix::{fs::Mode, process::umask};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{UnixListener, UnixStream},
};
use tonic::transport::server::Connected;

use crate::access::{Account, Caller, CallingProcess, Door};

/// A socket that is listened at; its file goes away with it.
#[derive(Debug)]
pub struct UnixDoor {
    door: Door,
    listener: UnixListener,
    path: PathBuf,
}

/// The agent's own door, `agent.sock` in the folder `runtime`. Who asks for what is decided later, so anybody may connect.
///
/// # Errors
/// As [`UnixDoor::open`].
pub fn local(runtime: &Path) -> io::Result<UnixDoor> {
    UnixDoor::open(Door::Local, &runtime.join("agent.sock"), 0o666)
}

impl UnixDoor {
    /// Listens at `path` for those who `mode` lets in. A file that a dead agent left there is replaced.
    ///
    /// # Errors
    /// When somebody listens there already, or the system refuses.
    pub fn open(door: Door, path: &Path, mode: u32) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent listens there"));
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Nobody may connect between the file's appearance and its mode.
        let before = umask(Mode::from_raw_mode(0o177));
        let listener = UnixListener::bind(path);
        umask(before);
        let listener = listener?;
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        Ok(Self { door, listener, path: path.to_owned() })
    }

    /// The next one who comes in.
    ///
    /// # Errors
    /// As the system has them. Cancel safe.
    pub async fn accept(&self) -> io::Result<UnixVisitor> {
        let (stream, _) = self.listener.accept().await?;
        let caller = caller(self.door, &stream)?;
        Ok(UnixVisitor { stream, caller })
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a socket stays");
        }
    }
}

fn caller(door: Door, stream: &UnixStream) -> io::Result<Caller> {
    let peer = stream.peer_cred()?;
    let process = peer.pid().and_then(|pid| u32::try_from(pid).ok());
    let account = Account {
        name: String::new(),
        id: peer.uid().to_string(),
        groups: vec![peer.gid().to_string()],
        administrator: peer.uid() == 0,
    };
    let process = process.map(|pid| CallingProcess { pid, started: 0, program: None });
    Ok(Caller { door, account, process, container: None })
}

/// Somebody who came in, with who they are.
#[derive(Debug)]
pub struct UnixVisitor {
    stream: UnixStream,
    caller: Caller,
}

impl Connected for UnixVisitor {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for UnixVisitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for UnixVisitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
