//! Named pipes: the pipe's own descriptor says who may open it, the system says which process did.
//!
//! An old client's handle lets nobody find out by impersonation who it is (it asks for `SECURITY_ANONYMOUS`), so for
//! all of them it is: the pipe's client process, its token, the token's account. What Windows does not say:
//! - in which container a process is: silos are shown to drivers only. Container accounts are known by their SIDs, and never
//!   count as administrators; the system's own account inside of a container cannot be told from the host's, so only the pipe
//!   for old clients, where a policy decides on everybody, is for containers;
//! - which file a running program was really started from: it may have been renamed since. So no caller has a digest, and a
//!   rule that asks for one fits nobody.

use std::{
    fmt, io,
    os::windows::io::AsHandle as _,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::windows::named_pipe::{NamedPipeServer, PipeMode, ServerOptions},
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
    time::{sleep, timeout},
};
use tokio_stream::Stream;
use winstead_spec::Connect;

use crate::{
    access::{Caller, CallingProcess, Door},
    door::{Lobby, TURNED_AWAY, Visitor},
    windows::{ClientProcess, Descriptor, Token, account_sid, client_of, now, read_as_bytes},
};

/// What rancher/wins has, in each direction; large enough for HTTP/2's frames.
const BUFFER: u32 = 64 * 1024;
/// So many may be looked at at the same time; others wait at the door.
const ARRIVING: usize = 64;
/// An account's name may have to be asked for over the network.
const IDENTIFICATION: Duration = Duration::from_secs(10);
/// When the system has no further instance, the next one is not tried at once.
const REST: Duration = Duration::from_millis(100);
/// Administrators and the system itself, and nothing that the folder above would add.
pub const ADMINISTRATORS_ONLY: &str = "D:P(A;;GA;;;SY)(A;;GA;;;BA)";
/// Authenticated accounts may read and write, and not make instances of their own (`FILE_APPEND_DATA` on a pipe): those
/// could catch other clients.
const EVERYBODY: &str = "(A;;0x12019b;;;AU)";

/// Somebody who came in by a pipe.
pub type PipeVisitor = Visitor<PipeEnd>;

/// A pipe as it is to be.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// `\\.\pipe\winstead_agent`.
    pub name: String,
    /// Whether what is written keeps its bounds, as on rancher/wins' pipe. It is read as a stream of bytes all the same.
    pub messages: bool,
    /// Who may open it, in SDDL.
    pub sddl: String,
}

impl Pipe {
    /// The one of a door that lets these connect.
    ///
    /// # Errors
    /// When the group is unknown.
    pub fn new(door: Door, path: &Path, connect: &Connect) -> io::Result<Self> {
        let also = match connect {
            Connect::Administrators => String::new(),
            Connect::Everybody => EVERYBODY.to_owned(),
            // Old clients ask for all of writing.
            Connect::Group(group) => format!("(A;;GRGW;;;{})", account_sid(group)?),
        };
        let name = path.to_string_lossy().into_owned();
        Ok(Self { name, messages: door == Door::Wins, sddl: format!("{ADMINISTRATORS_ONLY}{also}") })
    }
}

/// Where the agent's own door is: on Windows its place is a pipe's name.
#[must_use]
pub fn address(runtime: &Path) -> PathBuf {
    runtime.to_owned()
}

/// Pipes have no folder: their first instance keeps others from the name.
#[must_use]
pub fn folder(_: &Path) -> Option<&Path> {
    None
}

/// A pipe that is listened at. As a stream it gives those who come in, and never ends.
pub struct PipeDoor {
    door: Door,
    path: PathBuf,
    sddl: String,
    arrived: mpsc::Receiver<PipeVisitor>,
    /// Ends with the door.
    _receiving: JoinSet<()>,
}

impl PipeDoor {
    /// Listens at `path`. From here on there is always an instance for the next one.
    ///
    /// # Errors
    /// When somebody else has a pipe of this name, the group is unknown, or the system refuses.
    pub fn open(door: Door, path: &Path, connect: &Connect, lobby: Lobby) -> io::Result<Self> {
        let instances = Instances::open(Pipe::new(door, path, connect)?)?;
        let sddl = Descriptor::of_pipe(instances.next.as_handle())?.sddl()?;
        let (tell, arrived) = mpsc::channel(1);
        let mut receiving = JoinSet::new();
        receiving.spawn(receive(door, instances, lobby, tell));
        Ok(Self { door, path: path.to_owned(), sddl, arrived, _receiving: receiving })
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

    /// Who may connect, as the pipe really has it: in SDDL.
    ///
    /// # Errors
    /// Never; as on other systems.
    pub fn permissions(&self) -> io::Result<String> {
        Ok(self.sddl.clone())
    }
}

impl Stream for PipeDoor {
    type Item = io::Result<PipeVisitor>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.arrived.poll_recv(context).map(|arrived| arrived.map(Ok))
    }
}

impl fmt::Debug for PipeDoor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PipeDoor")
            .field("door", &self.door)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// All instances of a pipe, of which one always waits.
pub(crate) struct Instances {
    pipe: Pipe,
    descriptor: Descriptor,
    next: NamedPipeServer,
}

impl Instances {
    /// The first one.
    ///
    /// # Errors
    /// When there is one already, the SDDL says nothing, or the system refuses.
    pub(crate) fn open(pipe: Pipe) -> io::Result<Self> {
        let descriptor = Descriptor::from_sddl(&pipe.sddl)?;
        let next = instance(&pipe, &descriptor, true)?;
        Ok(Self { pipe, descriptor, next })
    }

    /// The next one who connects. Cancel safe.
    ///
    /// # Errors
    /// When there can be no further instance: nobody was taken then.
    async fn connected(&mut self) -> io::Result<PipeEnd> {
        // Somebody who came and went between two looks leaves an instance that only a fresh one can follow.
        if let Err(error) = self.next.connect().await {
            tracing::debug!(%error, pipe = self.pipe.name, "somebody went before they came in");
        }
        // Old clients fail at once when there is no instance: the next one is there before this one is served.
        let fresh = instance(&self.pipe, &self.descriptor, false)?;
        Ok(PipeEnd { pipe: std::mem::replace(&mut self.next, fresh), ended: false })
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

/// Takes in whoever comes, until nobody wants to hear of it. Each is looked at in a task of its own: others need not
/// wait.
async fn receive(door: Door, mut instances: Instances, lobby: Lobby, tell: mpsc::Sender<PipeVisitor>) {
    let mut arriving = JoinSet::new();
    loop {
        tokio::select! {
            Some(arrived) = arriving.join_next() => match arrived {
                Ok(Some(visitor)) => {
                    if tell.send(visitor).await.is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "a bug of ours: a task ended early"),
            },
            connected = instances.connected(), if arriving.len() < ARRIVING => match connected {
                Ok(stream) => _ = arriving.spawn(look_at(door, stream, now(), lobby.clone())),
                Err(error) => {
                    tracing::warn!(%door, %error, "nobody can come in at the moment");
                    sleep(REST).await;
                }
            },
        }
    }
}

async fn look_at(door: Door, stream: PipeEnd, connected: u64, lobby: Lobby) -> Option<PipeVisitor> {
    let found = spawn_blocking(move || caller(door, &stream, connected).map(|caller| (stream, caller)));
    let (stream, caller) = match timeout(IDENTIFICATION, found).await {
        Ok(Ok(Ok(found))) => found,
        Ok(Ok(Err(error))) => {
            tracing::info!(%door, %error, "somebody is not let in");
            return None;
        }
        Ok(Err(_)) | Err(_) => {
            tracing::warn!(%door, "somebody is not let in: it takes too long to find out who it is");
            return None;
        }
    };
    let taken = lobby.take_in(stream, caller);
    if let Err(stream) = &taken
        && door != Door::WinsProxy
    {
        // Who does not read it is told by the closed pipe.
        stream.pipe.try_write(TURNED_AWAY).unwrap_or_default();
    }
    taken.ok()
}

/// Who opened the pipe. A process that began after that, or is gone, has only got its number: it is not the one.
fn caller(door: Door, stream: &PipeEnd, connected: u64) -> io::Result<Caller> {
    let process = ClientProcess::open(client_of(stream.pipe.as_handle())?)?;
    let caller = of_process(door, &process)?;
    let started = caller.process.as_ref().map_or(0, |process| process.started);
    if started > connected || !process.is_running() {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the process that opened the pipe is gone",
        ));
    }
    Ok(caller)
}

/// This very process, as a caller: for a dry run of decisions. Other accounts cannot be asked for: their groups are made
/// when they log in.
///
/// # Errors
/// When another one is asked for, or the system does not say who we are.
pub fn caller_named(door: Door, account: Option<&str>) -> io::Result<Caller> {
    match account {
        None => of_process(door, &ClientProcess::open(std::process::id())?),
        Some(_) => {
            Err(io::Error::new(io::ErrorKind::Unsupported, "Windows knows an account's groups by its logins"))
        }
    }
}

fn of_process(door: Door, process: &ClientProcess) -> io::Result<Caller> {
    let account = Token::of(process.as_handle())?.account()?;
    let container = account.id.starts_with(CONTAINER_ACCOUNTS).then(|| "a Windows container".to_owned());
    let (pid, started, program) = (process.pid(), process.started()?, process.program());
    let process = CallingProcess { pid, started, program, sha256: None };
    Ok(Caller { door, account, process: Some(process), container })
}

/// `ContainerAdministrator` and `ContainerUser`: accounts of no host.
pub(crate) const CONTAINER_ACCOUNTS: &str = "S-1-5-93-2-";

/// Our end of a pipe that somebody has opened.
#[derive(Debug)]
pub struct PipeEnd {
    pipe: NamedPipeServer,
    /// Whether the other side has said that nothing more comes. The pipe itself says so once.
    ended: bool,
}

impl AsyncRead for PipeEnd {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.pipe).poll_read(context, buffer));
        self.ended = read.is_ok() && buffer.remaining() > 0 && buffer.filled().len() == before;
        Poll::Ready(read)
    }
}

impl AsyncWrite for PipeEnd {
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

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::windows::named_pipe::{ClientOptions, NamedPipeClient},
    };

    use std::sync::Arc;

    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::{access::Access, door::Seats};

    /// Under Wine a name's first descriptor is the one of all later pipes, so each test has its own.
    fn path(name: &str) -> PathBuf {
        format!(r"\\.\pipe\winstead-test-{name}-{}", std::process::id()).into()
    }

    fn pipe(name: &str) -> Pipe {
        Pipe::new(Door::Local, &path(name), &Connect::Administrators).expect("no group")
    }

    fn lobby(most: u32) -> Lobby {
        let access = Arc::new(Access::default());
        Lobby { seats: Seats::new(most), access, handshake: Duration::from_secs(60) }
    }

    async fn pair(pipe: Pipe) -> (Instances, PipeEnd, NamedPipeClient) {
        let name = pipe.name.clone();
        let mut instances = Instances::open(pipe).expect("a pipe");
        let client = ClientOptions::new().open(name).expect("somebody listens");
        let end = instances.connected().await.expect("somebody came");
        (instances, end, client)
    }

    #[tokio::test]
    async fn the_pipe_has_the_rights_that_were_asked_for() {
        for (name, connect, also) in [
            ("administrators", Connect::Administrators, None),
            ("everybody", Connect::Everybody, Some(";;;AU)")),
            ("group", Connect::Group("S-1-5-19".to_owned()), Some(";;;LS)")),
        ] {
            let door = PipeDoor::open(Door::Local, &path(name), &connect, lobby(1)).expect("a pipe");
            let sddl = door.permissions().expect("a descriptor");
            for part in ["D:P", ";;;SY)", ";;;BA)"].into_iter().chain(also) {
                assert!(sddl.contains(part), "{name}: {sddl}");
            }
            assert_eq!(sddl.matches("(A;").count(), 2 + usize::from(also.is_some()), "{name}: {sddl}");
        }
    }

    #[test]
    fn who_cannot_be_named_is_refused() {
        assert!(Descriptor::from_sddl("everybody").is_err());
        let connect = Connect::Group("no such group here".to_owned());
        assert!(Pipe::new(Door::Local, &path("nobody"), &connect).is_err());
    }

    #[tokio::test]
    async fn a_visitor_is_the_process_that_opened_the_pipe() {
        let path = path("who");
        let mut door = PipeDoor::open(Door::Local, &path, &Connect::Everybody, lobby(1)).expect("a pipe");
        let _client = ClientOptions::new().open(&path).expect("somebody listens");
        let visitor = door.next().await.expect("a visitor").expect("a visitor");
        let (caller, ourselves) = (visitor.caller(), caller_named(Door::Local, None).expect("we are known"));
        assert_eq!(caller, &ourselves);
        let process = caller.process.as_ref().expect("a process");
        assert_eq!(process.program, std::env::current_exe().ok());
        assert!(process.started > 0 && caller.account.administrator, "{caller:?}");
    }

    #[tokio::test]
    async fn a_process_that_began_after_its_pipe_was_opened_is_another_one() {
        let (_instances, end, _client) = pair(pipe("gone")).await;
        caller(Door::Local, &end, now()).expect("it is this process");
        let error = caller(Door::Local, &end, 1).expect_err("it is another process");
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
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
        for _ in 0..2 {
            let read = timeout(Duration::from_secs(10), visitor.read(&mut got)).await;
            assert_eq!(read.expect("at once").expect("the end"), 0);
        }
    }

    #[tokio::test]
    async fn the_next_client_finds_an_instance_before_the_last_one_is_served() {
        let (door, _first, _client) = pair(pipe("next")).await;
        let _second = ClientOptions::new().open(&door.pipe.name).expect("somebody listens");
    }

    #[tokio::test]
    async fn who_finds_no_seat_is_told_so_and_the_next_one_comes_in() {
        let path = path("seats");
        let mut door = PipeDoor::open(Door::Local, &path, &Connect::Everybody, lobby(1)).expect("a pipe");
        let open = async || {
            let until = tokio::time::Instant::now() + Duration::from_secs(10);
            loop {
                match ClientOptions::new().open(&path) {
                    Ok(client) => return client,
                    Err(error) if tokio::time::Instant::now() > until => panic!("{error}"),
                    Err(_) => sleep(Duration::from_millis(5)).await,
                }
            }
        };
        let _client = open().await;
        let first = door.next().await.expect("a visitor").expect("a visitor");
        let mut second = open().await;
        let mut said = Vec::new();
        timeout(Duration::from_secs(10), second.read_to_end(&mut said)).await.expect("soon").expect("an end");
        assert_eq!(said, TURNED_AWAY);
        drop(first);
        let _third = open().await;
        door.next().await.expect("a visitor").expect("there is room again");
    }
}
