//! Named pipes: the pipe's own descriptor says who may open it, the system says which process did.
//!
//! An old client's handle lets nobody find out by impersonation who it is (it asks for `SECURITY_ANONYMOUS`), so for
//! all of them it is: the pipe's client process, its token, the token's account. In which container that process is
//! cannot be asked for by any call that is documented for programs (silos are shown to drivers only), so callers from
//! containers have none here.

use std::{
    io,
    os::windows::io::AsHandle as _,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::windows::named_pipe::{NamedPipeServer, PipeMode, ServerOptions},
    sync::{Mutex, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
    time::timeout,
};
use tonic::transport::server::Connected;

use crate::{
    access::{Caller, CallingProcess, Door},
    windows::{ClientProcess, Descriptor, Token, client_of, now, read_as_bytes},
};

/// What rancher/wins has, in each direction; large enough for HTTP/2's frames.
const BUFFER: u32 = 64 * 1024;
/// An account's name may have to be asked for over the network.
const WHO: Duration = Duration::from_secs(5);
/// Administrators and the system itself, and nothing that the folder above would add.
pub const ADMINISTRATORS_ONLY: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";

/// A pipe as it is to be.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// `\\.\pipe\winstead_agent`.
    pub name: String,
    /// Whether what is written keeps its bounds, as on rancher/wins' pipe. It is read as a stream of bytes all the same.
    pub messages: bool,
    /// Who may open it, in SDDL. [`ADMINISTRATORS_ONLY`] with entries behind it, such as `(A;;GRGW;;;S-1-5-93-2-2)`.
    pub sddl: String,
    /// How many may be connected at the same time.
    pub most: usize,
}

impl Pipe {
    /// A pipe of bytes for administrators and the system.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), messages: false, sddl: ADMINISTRATORS_ONLY.to_owned(), most: 256 }
    }
}

/// A pipe that is listened at.
#[derive(Debug)]
pub struct PipeDoor {
    door: Door,
    pipe: Pipe,
    descriptor: Descriptor,
    free: Arc<Semaphore>,
    /// The instance that the next one will get. Held while it is waited for: only one waits, so nobody is kept.
    next: Mutex<NamedPipeServer>,
}

/// The agent's own door: `runtime` is the pipe's name.
///
/// # Errors
/// As [`PipeDoor::open`].
pub fn local(runtime: &Path) -> io::Result<PipeDoor> {
    PipeDoor::open(Door::Local, Pipe::new(runtime.to_string_lossy()))
}

impl PipeDoor {
    /// Listens at `pipe`. From here on there is always an instance for the next one.
    ///
    /// # Errors
    /// When somebody else has a pipe of this name, its SDDL says nothing, or the system refuses.
    pub fn open(door: Door, pipe: Pipe) -> io::Result<Self> {
        let descriptor = Descriptor::from_sddl(&pipe.sddl)?;
        let next = instance(&pipe, &descriptor, true)?;
        let free = Arc::new(Semaphore::new(pipe.most));
        Ok(Self { door, pipe, descriptor, free, next: Mutex::new(next) })
    }

    /// The rights that the pipe really has, for people.
    ///
    /// # Errors
    /// As the system has them.
    pub async fn sddl(&self) -> io::Result<String> {
        Descriptor::of_pipe(self.next.lock().await.as_handle())?.sddl()
    }

    /// The next one who comes in. Who cannot be told who they are is sent away. Cancel safe.
    ///
    /// # Errors
    /// When there can be no further instance.
    pub async fn accept(&self) -> io::Result<PipeVisitor> {
        loop {
            let room = Arc::clone(&self.free).acquire_owned().await.map_err(io::Error::other)?;
            let stream = self.connected().await?;
            match who(self.door, stream).await {
                Ok((stream, caller)) => return Ok(PipeVisitor { stream, caller, _room: room }),
                Err(error) => tracing::warn!(%error, pipe = self.pipe.name, "nobody knows who came in"),
            }
        }
    }

    async fn connected(&self) -> io::Result<NamedPipeServer> {
        let mut next = self.next.lock().await;
        // Somebody who came and went between two looks leaves an instance that only a fresh one can follow.
        if let Err(error) = next.connect().await {
            tracing::debug!(%error, pipe = self.pipe.name, "somebody went before they came in");
        }
        // Old clients fail at once when there is no instance: the next one is there before this one is served.
        let fresh = instance(&self.pipe, &self.descriptor, false)?;
        Ok(std::mem::replace(&mut *next, fresh))
    }
}

fn instance(pipe: &Pipe, descriptor: &Descriptor, first: bool) -> io::Result<NamedPipeServer> {
    let mut options = ServerOptions::new();
    options.first_pipe_instance(first).reject_remote_clients(true);
    options.in_buffer_size(BUFFER).out_buffer_size(BUFFER);
    options.pipe_mode(if pipe.messages { PipeMode::Message } else { PipeMode::Byte });
    let instance = descriptor.pipe(&options, &pipe.name)?;
    if pipe.messages {
        read_as_bytes(instance.as_handle())?;
    }
    Ok(instance)
}

async fn who(door: Door, stream: NamedPipeServer) -> io::Result<(NamedPipeServer, Caller)> {
    let connected = now();
    let asked = spawn_blocking(move || caller(door, &stream, connected).map(|caller| (stream, caller)));
    timeout(WHO, asked).await.map_err(io::Error::other)?.map_err(io::Error::other)?
}

/// Who opened the pipe. A process that began after that, or is gone, has only got its number: it is not the one.
fn caller(door: Door, stream: &NamedPipeServer, connected: u64) -> io::Result<Caller> {
    let pid = client_of(stream.as_handle())?;
    let process = ClientProcess::open(pid)?;
    let started = process.started()?;
    if started > connected || !process.is_running() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the process that opened the pipe is gone"));
    }
    let account = Token::of(process.as_handle())?.account()?;
    let process = CallingProcess { pid, started, program: process.program() };
    Ok(Caller { door, account, process: Some(process), container: None })
}

/// Somebody who came in, with who they are.
#[derive(Debug)]
pub struct PipeVisitor {
    stream: NamedPipeServer,
    caller: Caller,
    _room: OwnedSemaphorePermit,
}

impl PipeVisitor {
    /// Who it is.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }
}

impl Connected for PipeVisitor {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for PipeVisitor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for PipeVisitor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // On a pipe of messages an empty one is the end to whoever reads it.
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::windows::named_pipe::{ClientOptions, NamedPipeClient},
    };

    use super::*;

    /// Under Wine a name's first descriptor is the one of all later pipes, so each test has its own.
    fn pipe(name: &str) -> Pipe {
        Pipe::new(format!(r"\\.\pipe\winstead-test-{name}-{}", std::process::id()))
    }

    async fn pair(pipe: Pipe) -> (PipeDoor, PipeVisitor, NamedPipeClient) {
        let name = pipe.name.clone();
        let door = PipeDoor::open(Door::Local, pipe).expect("a pipe");
        let client = ClientOptions::new().open(name).expect("somebody listens");
        let visitor = door.accept().await.expect("a visitor");
        (door, visitor, client)
    }

    #[tokio::test]
    async fn the_pipe_has_the_rights_that_were_asked_for() {
        let sddl = format!("{ADMINISTRATORS_ONLY}(A;;GRGW;;;LS)");
        let door = PipeDoor::open(Door::Local, Pipe { sddl, ..pipe("rights") }).expect("a pipe");
        let sddl = door.sddl().await.expect("a descriptor");
        for part in ["D:P", ";;;SY)", ";;;BA)", ";;;LS)"] {
            assert!(sddl.contains(part), "{sddl}");
        }
        assert_eq!(sddl.matches("(A;").count(), 3, "{sddl}");
    }

    #[test]
    fn rights_that_say_nothing_are_refused() {
        assert!(Descriptor::from_sddl("everybody").is_err());
    }

    #[tokio::test]
    async fn a_visitor_is_the_process_that_opened_the_pipe() {
        let (_door, visitor, _client) = pair(pipe("who")).await;
        let caller = visitor.connect_info();
        let process = caller.process.expect("a process");
        assert_eq!(process.pid, std::process::id());
        assert_eq!(process.program, std::env::current_exe().ok());
        assert!(process.started > 0 && caller.account.id.starts_with("S-1-"), "{:?}", caller.account);
    }

    #[tokio::test]
    async fn a_client_that_is_gone_is_nobody_and_the_next_one_comes_in() {
        let pipe = pipe("gone");
        let name = pipe.name.clone();
        let door = PipeDoor::open(Door::Local, pipe).expect("a pipe");
        let connected = door.next.lock().await;
        let _client = ClientOptions::new().open(&name).expect("somebody listens");
        // As if its process had begun after the pipe was opened.
        let error = caller(Door::Local, &connected, 1).expect_err("it is another process");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn bytes_go_both_ways_through_both_kinds_of_pipe() {
        for messages in [false, true] {
            let name = if messages { "messages" } else { "bytes" };
            let (_door, mut visitor, mut client) = pair(Pipe { messages, ..pipe(name) }).await;
            // More than either side's buffer, in pieces that do not fit together.
            let sent: Vec<u8> = (0..300_000_u32).map(|number| (number % 251) as u8).collect();
            let copy = sent.clone();
            let writer = tokio::spawn(async move {
                for piece in copy.chunks(7_919) {
                    client.write_all(piece).await.expect("it reads");
                }
                let mut back = vec![0; copy.len()];
                client.read_exact(&mut back).await.expect("it answers");
                back
            });
            let mut got = vec![0; sent.len()];
            for piece in got.chunks_mut(1_000) {
                visitor.read_exact(piece).await.expect("it is written");
            }
            visitor.write_all(&got).await.expect("it reads");
            assert!(writer.await.expect("it ends") == sent && got == sent, "{name}");
        }
    }

    #[tokio::test]
    async fn an_empty_message_is_the_end_and_we_never_send_one() {
        let (_door, mut visitor, mut client) = pair(Pipe { messages: true, ..pipe("empty") }).await;
        assert_eq!(visitor.write(b"").await.expect("nothing to do"), 0);
        visitor.write_all(b"x").await.expect("it reads");
        let mut got = [0; 8];
        assert_eq!(client.read(&mut got).await.expect("not the end"), 1, "an empty message came first");
        client.write_all(b"y").await.expect("it reads");
        assert_eq!(visitor.read(&mut got).await.expect("a byte"), 1);
        // What Go's CloseWrite does on such a pipe.
        assert_eq!(client.write(b"").await.expect("an empty message"), 0);
        assert_eq!(visitor.read(&mut got).await.expect("the end"), 0);
    }

    #[tokio::test]
    async fn the_next_client_finds_an_instance_before_the_last_one_is_served() {
        let (door, _first, _client) = pair(pipe("next")).await;
        let _second = ClientOptions::new().open(&door.pipe.name).expect("somebody listens");
    }

    #[tokio::test]
    async fn only_so_many_are_let_in_at_the_same_time() {
        let (door, first, _client) = pair(Pipe { most: 1, ..pipe("most") }).await;
        let _second = ClientOptions::new().open(&door.pipe.name).expect("somebody listens");
        let third = ClientOptions::new().open(&door.pipe.name).expect_err("it is busy");
        assert_eq!(third.raw_os_error(), Some(231), "ERROR_PIPE_BUSY");
        timeout(Duration::from_millis(50), door.accept()).await.expect_err("there is no room");
        drop(first);
        door.accept().await.expect("there is room again");
    }
}
