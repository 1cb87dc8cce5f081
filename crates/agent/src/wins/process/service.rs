//! Start, Wait and KeepAlive, with the codes and texts that scripts look for.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::stream::{self, BoxStream};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};
use winstead_agent_client::chain;
use winstead_protocol::wins::{
    ProcessKeepAliveRequest, ProcessName, ProcessStartRequest, ProcessStartResponse, ProcessWaitRequest,
    ProcessWaitResponse, RunExposeProtocol, Void, process_service_server, process_wait_response::Options,
};

use super::names::{self, Names, Refused};
use crate::{
    access::{self, Access, Caller, Denied, MOST_PORTS, Port, Protocol, Run, Terms},
    services::caller,
    supervision::{Attachment, Event, Kept, Offsets, Order, Process, Supervisor, Vault},
    wins::rules::clean,
};

/// How long a process may be without KeepAlive after its start. Old clients send the first at once.
const FIRST: Duration = Duration::from_secs(60);
/// How long a KeepAlive may be silent: three of the client's 5 minutes.
const SILENCE: Duration = Duration::from_mins(15);
/// How long a process may take to end when it is asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What a client sees of an exit code other than 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnExit {
    /// Wait ends with an error that names it, and the client with 1.
    #[default]
    Tell,
    /// Nothing, as the old server had it.
    Hide,
}

/// Starts processes for old clients, and ends them when their client goes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ProcessService {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    access: Arc<Access>,
    supervisor: Supervisor,
    vault: Vault,
    /// Of copies by the names that old clients look for.
    named: PathBuf,
    on_exit: OnExit,
    names: Mutex<Names>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl ProcessService {
    /// Knows the processes again that an earlier agent has started for old clients. `state` is a folder that only the
    /// agent writes.
    ///
    /// # Errors
    /// When the folders of copies cannot be made.
    pub fn open(
        access: Arc<Access>,
        supervisor: Supervisor,
        state: &Path,
        on_exit: OnExit,
    ) -> io::Result<Self> {
        let mut names = Names::default();
        for status in supervisor.list().iter().filter(|status| status.end.is_none()) {
            if let Some((name, program)) = status.record.label.split_once(' ')
                && name.starts_with(names::PREFIX)
            {
                names.adopt(name, program, &status.record.id);
            }
        }
        let named = state.join("wins");
        let vault = Vault::open(&named)?;
        let inner = Inner {
            access,
            supervisor,
            vault,
            named,
            on_exit,
            names: Mutex::new(names),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Stops watching for clients that do not come; processes stay with the supervisor.
    pub async fn close(&self) {
        self.inner.closing.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}

impl Inner {
    fn names(&self) -> MutexGuard<'_, Names> {
        // Whoever panicked in here left whole entries.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(
        self: &Arc<Self>,
        caller: &Caller,
        request: ProcessStartRequest,
    ) -> Result<String, Status> {
        let mut run = wanted(&request)?;
        let terms = self.decide(caller, &run)?;
        let kept = self.take(&run.program, &request.checksum).await?;
        run.sha256 = Some(kept.sha256.clone());
        run.signer.clone_from(&kept.signer);
        let terms = match terms {
            Some(terms) => terms,
            None => self.decide(caller, &run)?.ok_or_else(|| Status::internal("could not decide"))?,
        };
        let failed = |error: &dyn std::error::Error| {
            Status::internal(format!("could not create process: {}", chain(error)))
        };
        let program = clean(&request.path);
        let file = self.named(&kept, &program).map_err(|error| failed(&error))?;
        let name = self.reserve(&program).await?;
        let reservation = Reservation { inner: self, name: &name, kept: false };
        let order = order(&name, &program, &file, (caller, run, terms));
        let process = self.supervisor.start(order).await.map_err(|error| failed(&error))?;
        reservation.keep(&process);
        self.expect_client(&name, process);
        Ok(name)
    }

    /// Nothing: the digest decides.
    fn decide(&self, caller: &Caller, run: &Run) -> Result<Option<Terms>, Status> {
        match self.access.decide(caller, access::Request::Run(run)) {
            Ok(terms) => Ok(Some(terms)),
            Err(Denied::NeedsDigest) if run.sha256.is_none() => Ok(None),
            Err(denied) => Err(Status::invalid_argument(format!("invalid path: {denied}"))),
        }
    }

    /// A copy that is what the client says it is.
    async fn take(&self, program: &Path, checksum: &str) -> Result<Kept, Status> {
        let missing =
            |text: &str| Status::not_found(format!("could not found binary: {}: {text}", program.display()));
        let kept = self.vault.look_at(program, self.access.asks_for_signers()).await;
        let kept = kept.map_err(|error| missing(&chain(&error)))?;
        if kept.sha1.eq_ignore_ascii_case(checksum) {
            return Ok(kept);
        }
        Err(missing(&format!("its checksum is {}, not {checksum}", kept.sha1)))
    }

    /// The copy under the name that old clients look for, in a folder of its digest.
    fn named(&self, kept: &Kept, program: &str) -> io::Result<PathBuf> {
        let folder = self.named.join(format!("{}.d", kept.sha256.hex()));
        Vault::open(&folder)?;
        let file = folder.join(names::file(program));
        match fs_err::hard_link(&kept.path, &file) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(file),
        }
    }

    async fn reserve(&self, program: &str) -> Result<String, Status> {
        self.names().forget(|id| self.is_over(id));
        let refused = self.names().reserve(program);
        match refused {
            Ok(name) => return Ok(name),
            Err(Refused::Stale { name, id }) => {
                tracing::warn!(name, "a process without its client is stopped: its program is started anew");
                let stopped = self.supervisor.stop(&id, GRACE).await;
                stopped.map_err(|error| {
                    Status::internal(format!("could not create process: {}", chain(&error)))
                })?;
                self.names().release(&name);
            }
            Err(other) => return Err(other.into()),
        }
        self.names().reserve(program).map_err(Status::from)
    }

    fn is_over(&self, id: &str) -> bool {
        self.supervisor.get(id).map_or(true, |process| process.end().is_some())
    }

    /// Ends a process for which nobody comes.
    fn expect_client(self: &Arc<Self>, name: &str, process: Arc<Process>) {
        let (this, name) = (Arc::clone(self), name.to_owned());
        self.tasks.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(FIRST) => {}
                _ = process.ended() => return,
                () = this.closing.cancelled() => return,
            }
            let alone = this.names().get_mut(&name).is_some_and(|taken| {
                let same = taken.id.as_deref() == Some(process.id());
                same && taken.fresh && taken.clients == 0
            });
            if alone {
                tracing::warn!(name, "a process is stopped: its client did not keep it alive");
                this.supervisor.release(&process);
            }
        });
    }

    /// The process of a name, for one who may use it.
    fn find(&self, caller: &Caller, name: &str) -> Result<Arc<Process>, Status> {
        let unknown = || Status::internal(format!("could not get process {name:?}"));
        let id = self.names().get_mut(name).and_then(|taken| taken.id.clone()).ok_or_else(unknown)?;
        let process = self.supervisor.get(&id).map_err(|_| unknown())?;
        let owner = process.status().record.caller;
        self.access.decide(caller, access::Request::Process { owner: &owner })?;
        Ok(process)
    }
}

/// A name that is given free unless the process runs.
struct Reservation<'a> {
    inner: &'a Inner,
    name: &'a str,
    kept: bool,
}

impl Reservation<'_> {
    fn keep(mut self, process: &Process) {
        if let Some(taken) = self.inner.names().get_mut(self.name) {
            taken.id = Some(process.id().to_owned());
        }
        self.kept = true;
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.inner.names().release(self.name);
        }
    }
}

/// A client that is with a process. Dropped, whatever the reason, the process is ended if it was the last.
struct Companion {
    inner: Arc<Inner>,
    name: String,
    process: Arc<Process>,
}

impl Companion {
    fn new(inner: &Arc<Inner>, name: &str, process: Arc<Process>) -> Self {
        if let Some(taken) = inner.names().get_mut(name) {
            taken.clients += 1;
            taken.fresh = false;
        }
        Self { inner: Arc::clone(inner), name: name.to_owned(), process }
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        let mut names = self.inner.names();
        let Some(taken) = names.get_mut(&self.name) else { return };
        taken.clients = taken.clients.saturating_sub(1);
        let last = taken.clients == 0 && taken.id.as_deref() == Some(self.process.id());
        drop(names);
        // With an agent that goes away goes no process: its successor waits for the client again.
        if last && !self.inner.closing.is_cancelled() {
            self.inner.supervisor.release(&self.process);
        }
    }
}

#[tonic::async_trait]
impl process_service_server::ProcessService for ProcessService {
    type WaitStream = BoxStream<'static, Result<ProcessWaitResponse, Status>>;

    async fn start(
        &self,
        request: Request<ProcessStartRequest>,
    ) -> Result<Response<ProcessStartResponse>, Status> {
        let caller = caller(&request)?.clone();
        let value = self.inner.start(&caller, request.into_inner()).await?;
        Ok(Response::new(ProcessStartResponse { data: Some(ProcessName { value }) }))
    }

    async fn wait(&self, request: Request<ProcessWaitRequest>) -> Result<Response<Self::WaitStream>, Status> {
        let name = request.get_ref().data.as_ref().map(|name| &*name.value).unwrap_or_default();
        let process = self.inner.find(caller(&request)?, name)?;
        let mut attachment = process.attach(Offsets::default()).map_err(|error| {
            Status::internal(format!("could not get process {name:?}: {}", chain(&error)))
        })?;
        // Old clients do not say what they have, and their process ends with them.
        attachment.trust();
        Ok(Response::new(Box::pin(output(attachment, self.inner.on_exit))))
    }

    async fn keep_alive(
        &self,
        request: Request<Streaming<ProcessKeepAliveRequest>>,
    ) -> Result<Response<Void>, Status> {
        let caller = caller(&request)?.clone();
        let mut stream = request.into_inner();
        let mut companion: Option<Companion> = None;
        while let Ok(Ok(Some(message))) = timeout(SILENCE, stream.message()).await {
            let name = message.data.map(|name| name.value).unwrap_or_default();
            if companion.as_ref().is_none_or(|companion| companion.name != name) {
                let process = self.inner.find(&caller, &name)?;
                companion = Some(Companion::new(&self.inner, &name, process));
            }
        }
        let companion = companion.ok_or_else(|| Status::invalid_argument("could not get process name"))?;
        let process = Arc::clone(&companion.process);
        drop(companion);
        // The answer comes when it is gone, so that the client can start it anew at once.
        if timeout(GRACE + GRACE, process.ended()).await.is_err() {
            tracing::warn!(id = process.id(), "a process does not end with its client");
        }
        Ok(Response::new(Void {}))
    }
}

/// What a process says, until it has ended.
fn output(
    attachment: Attachment,
    on_exit: OnExit,
) -> impl stream::Stream<Item = Result<ProcessWaitResponse, Status>> {
    let said = |options| Ok(ProcessWaitResponse { options: Some(options) });
    stream::unfold(Some(attachment), move |attachment| async move {
        let mut attachment = attachment?;
        match attachment.next().await {
            Ok(Event::Stdout { data, .. }) => Some((said(Options::StdOut(data)), Some(attachment))),
            Ok(Event::Stderr { data, .. }) => Some((said(Options::StdErr(data)), Some(attachment))),
            Ok(Event::Ended(end)) if end.code() == 0 || on_exit == OnExit::Hide => None,
            Ok(Event::Ended(end)) => {
                Some((Err(Status::unknown(format!("exit status {}", end.code()))), None))
            }
            Err(error) => Some((Err(Status::internal(chain(&error))), None)),
        }
    })
}

/// What a request wants to run.
fn wanted(request: &ProcessStartRequest) -> Result<Run, Status> {
    let environment = request.envs.iter().map(|variable| {
        let wrong = || Status::invalid_argument(format!("invalid environment variable {variable:?}"));
        let (name, value) =
            variable.split_once('=').filter(|(name, _)| !name.is_empty()).ok_or_else(wrong)?;
        Ok((name.to_owned(), value.to_owned()))
    });
    if request.exposes.len() > MOST_PORTS {
        return Err(Status::invalid_argument(format!("more than {MOST_PORTS} ports")));
    }
    let ports = request.exposes.iter().filter(|expose| expose.port != 0).map(|expose| {
        let wrong = || Status::invalid_argument(format!("invalid port {}", expose.port));
        let protocol = match expose.protocol() {
            RunExposeProtocol::Tcp => Protocol::Tcp,
            RunExposeProtocol::Udp => Protocol::Udp,
        };
        let number = u16::try_from(expose.port).map_err(|_| wrong())?;
        Ok(Port { protocol, host: String::new(), number })
    });
    Ok(Run {
        program: PathBuf::from(clean(&request.path)),
        arguments: request.args.clone(),
        environment: environment.collect::<Result<_, Status>>()?,
        folder: (!request.dir.is_empty()).then(|| PathBuf::from(&request.dir)),
        ports: ports.collect::<Result<_, Status>>()?,
        ..Run::default()
    })
}

fn order(name: &str, program: &str, file: &Path, (caller, run, terms): (&Caller, Run, Terms)) -> Order {
    let file = file.to_string_lossy().into_owned();
    let parent = || Path::new(program).parent().map(|folder| folder.to_string_lossy().into_owned());
    Order {
        // Scripts look for the prefix in command lines.
        program: file.clone(),
        file,
        arguments: run.arguments,
        environment: run.environment,
        folder: run.folder.map(|folder| folder.to_string_lossy().into_owned()).or_else(parent),
        account: terms.account,
        limits: terms.limits,
        ports: Port::ranges(&run.ports),
        label: format!("{name} {program}"),
        caller: caller.owner(),
        ..Order::default()
    }
}
