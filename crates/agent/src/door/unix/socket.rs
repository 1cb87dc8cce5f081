//! A socket that is listened at.

use std::{
    fmt, io,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use fs_err as fs;
use nix::unistd::Group;
use rustix::{fs::Mode, process::umask};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
    time::Sleep,
};
use tokio_stream::Stream;
use winstead_spec::Connect;

use super::{peer::peer, programs::Programs};
use crate::{
    access::{Caller, Door},
    door::{Lobby, TURNED_AWAY, Visitor},
};

/// So many may be looked at at the same time; others wait at the door.
const ARRIVING: usize = 64;
/// The system's directory of names may be another computer.
const IDENTIFICATION: Duration = Duration::from_secs(10);

/// Somebody who came in by a Unix socket.
pub type UnixVisitor = Visitor<UnixStream>;

/// When the system refuses a connection, the next one is not tried at once.
const REST: Duration = Duration::from_millis(100);

/// A socket that is listened at; its file goes away with it. As a stream it gives those who come in, and never ends.
pub struct UnixDoor {
    door: Door,
    listener: UnixListener,
    path: PathBuf,
    mode: u32,
    lobby: Lobby,
    programs: Arc<Programs>,
    arriving: JoinSet<Option<UnixVisitor>>,
    rest: Option<Pin<Box<Sleep>>>,
}

/// Where the agent's own door is that has this folder for its sockets.
#[must_use]
pub fn address(runtime: &Path) -> PathBuf {
    runtime.join("agent.sock")
}

/// The folder in which others could put another socket in a socket's place.
#[must_use]
pub fn folder(path: &Path) -> Option<&Path> {
    path.parent()
}

impl UnixDoor {
    /// Listens at `path`, in a folder that is locked down. A file that a dead agent left there is replaced.
    ///
    /// # Errors
    /// When somebody listens there already, the group is unknown, or the system refuses.
    pub fn open(door: Door, path: &Path, connect: &Connect, lobby: Lobby) -> io::Result<Self> {
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
        let mode = match connect {
            Connect::Everybody => 0o666,
            Connect::Administrators => 0o600,
            Connect::Group(group) => {
                chown(path, None, Some(gid(group)?))?;
                0o660
            }
        };
        fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
        let (programs, arriving) = (Arc::default(), JoinSet::new());
        Ok(Self { door, listener, path: path.to_owned(), mode, lobby, programs, arriving, rest: None })
    }

    /// Which it is.
    #[must_use]
    pub fn door(&self) -> Door {
        self.door
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Who may connect, as the file has it: its mode, its owner's number and its group's.
    ///
    /// # Errors
    /// When the file is gone.
    pub fn permissions(&self) -> io::Result<String> {
        use std::os::unix::fs::MetadataExt as _;
        let found = fs::symlink_metadata(&self.path)?;
        Ok(format!("{:04o} {}:{}", self.mode, found.uid(), found.gid()))
    }

    /// Finds out who it is and takes them in, in a task of its own: others need not wait for it.
    fn receive(&mut self, stream: UnixStream) {
        let (door, lobby, programs) = (self.door, self.lobby.clone(), Arc::clone(&self.programs));
        let hash = lobby.access.policy().is_some_and(|policy| policy.asks_for_programs());
        self.arriving.spawn(async move {
            let found = tokio::task::spawn_blocking(move || {
                let caller = peer(door, &stream, hash.then_some(&*programs))?;
                Ok::<_, io::Error>((stream, caller))
            });
            match tokio::time::timeout(IDENTIFICATION, found).await {
                Ok(Ok(Ok((stream, caller)))) => take_in(&lobby, stream, caller),
                Ok(Ok(Err(error))) => {
                    tracing::info!(%door, %error, "somebody is not let in");
                    None
                }
                Ok(Err(_)) | Err(_) => {
                    tracing::warn!(%door, "somebody is not let in: it takes too long to find out who it is");
                    None
                }
            }
        });
    }
}

fn take_in(lobby: &Lobby, stream: UnixStream, caller: Caller) -> Option<UnixVisitor> {
    let door = caller.door;
    let taken = lobby.take_in(stream, caller);
    if let Err(stream) = &taken
        && door != Door::WinsProxy
    {
        // Who does not read it is told by the closed socket.
        stream.try_write(TURNED_AWAY).unwrap_or_default();
    }
    taken.ok()
}

/// A group by its name or its number.
fn gid(group: &str) -> io::Result<u32> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("there is no group {group:?}"));
    Ok(Group::from_name(group)?.ok_or_else(unknown)?.gid.as_raw())
}

impl Stream for UnixDoor {
    type Item = io::Result<UnixVisitor>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            while let Poll::Ready(Some(arrived)) = self.arriving.poll_join_next(context) {
                match arrived {
                    Ok(Some(visitor)) => return Poll::Ready(Some(Ok(visitor))),
                    Ok(None) => {}
                    Err(error) => tracing::error!(%error, "a bug of ours: a task ended early"),
                }
            }
            if self.arriving.len() >= ARRIVING {
                return Poll::Pending;
            }
            if let Some(rest) = &mut self.rest {
                ready!(rest.as_mut().poll(context));
                self.rest = None;
            }
            match self.listener.poll_accept(context) {
                Poll::Ready(Ok((stream, _))) => self.receive(stream),
                Poll::Ready(Err(error)) => {
                    // No descriptors left, or a client that is gone: the next one may come in all the same.
                    tracing::warn!(door = %self.door, %error, "nobody can come in at the moment");
                    self.rest = Some(Box::pin(tokio::time::sleep(REST)));
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl fmt::Debug for UnixDoor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("UnixDoor")
            .field("door", &self.door)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Drop for UnixDoor {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a socket stays");
        }
    }
}
