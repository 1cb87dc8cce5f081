//! `winstead.agent.v1.Agent`: who is there.

use std::{
    env::consts,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tonic::{Request, Response, Status};
use winstead_protocol::v1::{
    ClockRequest, ClockResponse, FactsRequest, FactsResponse, HelloRequest, HelloResponse, RebootRequest,
    RebootResponse, StatusRequest, StatusResponse, agent_server::Agent,
};

use crate::{
    access::{self, Query},
    facts,
    services::caller,
    status::Overview,
};

/// The answer to a request for a restart comes before it.
const BEFORE_REBOOT: Duration = Duration::from_millis(500);

/// Answers for this computer.
#[derive(Debug)]
pub struct AgentService {
    overview: Arc<Overview>,
}

impl AgentService {
    /// For an agent that knows itself.
    #[must_use]
    pub fn new(overview: Arc<Overview>) -> Self {
        Self { overview }
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    async fn hello(&self, _: Request<HelloRequest>) -> Result<Response<HelloResponse>, Status> {
        Ok(Response::new(HelloResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            os: consts::OS.to_owned(),
            arch: consts::ARCH.to_owned(),
            boot_id: facts::boot_id(),
            features: facts::FEATURES.iter().map(|feature| (*feature).to_owned()).collect(),
            instance_id: self.overview.instance_id(),
        }))
    }

    async fn clock(&self, request: Request<ClockRequest>) -> Result<Response<ClockResponse>, Status> {
        self.overview.access.decide(caller(&request)?, access::Request::Query(Query::Host))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Response::new(ClockResponse { unix_nanos: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) }))
    }

    async fn facts(&self, request: Request<FactsRequest>) -> Result<Response<FactsResponse>, Status> {
        self.overview.access.decide(caller(&request)?, access::Request::Query(Query::Host))?;
        known("facts")?;
        let gathered = tokio::task::spawn_blocking(facts::gather).await;
        Ok(Response::new(gathered.map_err(|_| Status::internal("a thread broke"))??))
    }

    async fn reboot(&self, request: Request<RebootRequest>) -> Result<Response<RebootResponse>, Status> {
        let caller = caller(&request)?;
        self.overview.access.decide(caller, access::Request::Reboot)?;
        known("reboot")?;
        tracing::warn!(%caller, "restarting the computer");
        // Nobody waits for it: it ends with the computer.
        tokio::spawn(async {
            tokio::time::sleep(BEFORE_REBOOT).await;
            if let Err(error) = facts::reboot() {
                tracing::error!(%error, "the computer cannot be restarted");
            }
        });
        Ok(Response::new(RebootResponse { boot_id: facts::boot_id() }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.overview.access.decide(caller(&request)?, access::Request::Query(Query::Status))?;
        Ok(Response::new(self.overview.status()))
    }
}

/// Whether this agent can do that on this system.
fn known(feature: &str) -> Result<(), Status> {
    let missing = || Status::unimplemented(format!("this agent has no {feature} on {} yet", consts::OS));
    facts::FEATURES.contains(&feature).then_some(()).ok_or_else(missing)
}
