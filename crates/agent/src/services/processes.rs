//! `winstead.agent.v1.Processes`: what may be run is decided by `access`, how by `supervision`.

use std::{pin::Pin, sync::Arc, time::Duration};

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};
use winstead_agent_client::chain;
use winstead_protocol::v1::{
    AttachRequest, Exited, ListRequest, ListResponse, ProcessEvent, ProcessStatus, RemoveRequest,
    RemoveResponse, RunRequest, StartRequest, StartResponse, StopRequest, StopResponse, attach_request,
    processes_server::Processes, run_request,
};

use crate::{
    access::{self, Access, Caller},
    services::{
        caller,
        event_stream::{Leash, events},
        input::Inputs,
        order::Orders,
    },
    supervision::{
        self, End, KeeperFailure, Offsets, Process, StartError, SupervisionError, Supervisor, Vault,
    },
};

/// Runs processes for callers.
#[derive(Clone, Debug)]
pub struct ProcessService {
    access: Arc<Access>,
    supervisor: Supervisor,
    orders: Orders,
}

impl ProcessService {
    /// With these processes, and this vault for programs whose digest decides.
    #[must_use]
    pub fn new(access: Arc<Access>, supervisor: Supervisor, vault: Vault) -> Self {
        let orders = Orders::new(Arc::clone(&access), vault);
        Self { access, supervisor, orders }
    }

    /// Starts what this caller asks for, if they may.
    async fn begin(&self, caller: &Caller, request: StartRequest) -> Result<Arc<Process>, Status> {
        let order = self.orders.decide(caller, request).await?;
        Ok(self.supervisor.start(order).await?)
    }

    /// A process that this caller may use. What they may not see is not there for them.
    fn find(&self, caller: &Caller, id: &str) -> Result<Arc<Process>, Status> {
        let process = self.supervisor.get(id)?;
        let owner = process.owner();
        match self.access.decide(caller, access::Request::Process { owner }) {
            Ok(_) => Ok(process),
            Err(_) => Err(SupervisionError::Unknown(id.to_owned()).into()),
        }
    }
}

type Events = Pin<Box<dyn Stream<Item = Result<ProcessEvent, Status>> + Send>>;

#[tonic::async_trait]
impl Processes for ProcessService {
    type RunStream = Events;
    type AttachStream = Events;

    async fn run(
        &self,
        request: Request<Streaming<RunRequest>>,
    ) -> Result<Response<Self::RunStream>, Status> {
        let caller = caller(&request)?.clone();
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.message);
        let Some(run_request::Message::Start(start)) = first else {
            return Err(Status::invalid_argument("the first message says what to run"));
        };
        let process = self.begin(&caller, start).await?;
        let keep = process.keeps();
        let leash = (!keep).then(|| Leash::new(self.supervisor.clone(), Arc::clone(&process)));
        let mut attachment = process.attach(Offsets::default())?;
        if !keep {
            attachment.trust();
        }
        let inputs = Inputs::new(requests.filter_map(|request| match request {
            Ok(RunRequest { message: Some(run_request::Message::Input(input)) }) => Some(Ok(input)),
            Ok(_) => None,
            Err(status) => Some(Err(status)),
        }));
        Ok(Response::new(Box::pin(events(attachment, inputs, leash, true))))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<Response<StartResponse>, Status> {
        let caller = caller(&request)?.clone();
        let mut start = request.into_inner();
        // Nobody stays with it.
        start.on_disconnect = winstead_protocol::v1::OnDisconnect::Keep.into();
        let process = self.begin(&caller, start).await?;
        Ok(Response::new(started(&process)))
    }

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let caller = caller(&request)?.clone();
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|first| first.message);
        let Some(attach_request::Message::Attach(to)) = first else {
            return Err(Status::invalid_argument("the first message says what to attach to"));
        };
        let process = self.find(&caller, &to.id)?;
        let from = Offsets { stdout: to.stdout_offset, stderr: to.stderr_offset };
        let attachment = process.attach(from)?;
        let inputs = Inputs::new(requests.filter_map(|request| match request {
            Ok(AttachRequest { message: Some(attach_request::Message::Input(input)) }) => Some(Ok(input)),
            Ok(_) => None,
            Err(status) => Some(Err(status)),
        }));
        Ok(Response::new(Box::pin(events(attachment, inputs, None, false))))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let caller = caller(&request)?;
        let may = |status: &supervision::Status| {
            let owner = &status.record.caller;
            self.access.may(caller, access::Request::Process { owner })
        };
        let processes = self.supervisor.list().into_iter().filter(may).map(shown).collect();
        Ok(Response::new(ListResponse { processes }))
    }

    async fn stop(&self, request: Request<StopRequest>) -> Result<Response<StopResponse>, Status> {
        let process = self.find(caller(&request)?, &request.get_ref().id)?;
        let grace = Duration::from_millis(request.get_ref().grace_ms.into());
        let stopped = self.supervisor.stop(process.id(), grace).await?;
        Ok(Response::new(StopResponse { exited: Some(exited(stopped.end)), forced: stopped.forced }))
    }

    async fn remove(&self, request: Request<RemoveRequest>) -> Result<Response<RemoveResponse>, Status> {
        let process = self.find(caller(&request)?, &request.get_ref().id)?;
        self.supervisor.remove(process.id())?;
        Ok(Response::new(RemoveResponse {}))
    }
}

pub(super) fn started(process: &Process) -> StartResponse {
    StartResponse { id: process.id().to_owned(), pid: process.pid() }
}

pub(super) const fn exited(end: End) -> Exited {
    Exited { code: end.code(), signal: end.signal() }
}

fn shown(status: supervision::Status) -> ProcessStatus {
    ProcessStatus {
        id: status.record.id,
        pid: status.pid,
        label: status.record.label,
        program: status.record.program,
        arguments: status.record.arguments,
        account: status.record.account,
        caller: status.record.caller,
        started_unix_ms: status.record.started_unix_ms,
        exited: status.end.map(exited),
        stdout_bytes: status.said.stdout,
        stderr_bytes: status.said.stderr,
        adopted: status.adopted,
        ports: status.record.ports.iter().map(ToString::to_string).collect(),
    }
}

/// An error with all its causes in one line, since a status has no chain.
pub(super) fn failed_to(error: &dyn std::error::Error) -> String {
    format!("failed to {}", chain(error))
}

impl From<StartError> for Status {
    fn from(error: StartError) -> Self {
        let text = failed_to(&error);
        match error {
            StartError::Closing => Self::unavailable(text),
            StartError::TooMany(_) => Self::resource_exhausted(text),
            StartError::Keeper { source: KeeperFailure::Missing, .. } => Self::not_found(text),
            // A shell has one exit code for both, and so has whoever wants to be as one.
            StartError::Keeper {
                source: KeeperFailure::NotExecutable | KeeperFailure::BadFormat, ..
            } => Self::permission_denied(text),
            StartError::Account { .. } | StartError::Keeper { .. } | StartError::Firewall { .. } => {
                Self::failed_precondition(text)
            }
            StartError::Io(_) => Self::internal(text),
        }
    }
}

impl From<SupervisionError> for Status {
    fn from(error: SupervisionError) -> Self {
        let text = failed_to(&error);
        match error {
            SupervisionError::Unknown(_) => Self::not_found(text),
            SupervisionError::Runs(_) => Self::failed_precondition(text),
            SupervisionError::Offset { .. } => Self::out_of_range(text),
            SupervisionError::Stays(_) => Self::deadline_exceeded(text),
            SupervisionError::Io { .. } => Self::internal(text),
        }
    }
}
