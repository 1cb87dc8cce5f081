//! `winstead.agent.v1.Agent`: who is there.

use std::{
    env::consts,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tonic::{Request, Response, Status};
use winstead_protocol::v1::{
    ClockRequest, ClockResponse, FactsRequest, FactsResponse, HelloRequest, HelloResponse, RebootRequest,
    RebootResponse, StatusRequest, StatusResponse, agent_server::Agent,
};

use crate::{
    access::{self, Query},
    services::caller,
    status::Overview,
};

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
            boot_id: String::new(),
            features: Vec::new(),
            instance_id: self.overview.instance.to_string(),
        }))
    }

    async fn clock(&self, request: Request<ClockRequest>) -> Result<Response<ClockResponse>, Status> {
        self.overview.access.decide(caller(&request)?, access::Request::Query(Query::Host))?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Response::new(ClockResponse { unix_nanos: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX) }))
    }

    async fn facts(&self, _: Request<FactsRequest>) -> Result<Response<FactsResponse>, Status> {
        Err(Status::unimplemented("this agent does not know facts yet"))
    }

    async fn reboot(&self, _: Request<RebootRequest>) -> Result<Response<RebootResponse>, Status> {
        Err(Status::unimplemented("this agent does not restart computers yet"))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.overview.access.decide(caller(&request)?, access::Request::Query(Query::Status))?;
        Ok(Response::new(self.overview.status()))
    }
}
