//! `wins.HostService`: which system it is.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use winstead_protocol::wins::{HostGetVersionResponse, Void, host_service_server};

use super::internal;
use crate::{
    access::{self, Access, Query},
    services::caller,
    wins::host,
};

/// Says which system it is.
#[derive(Debug)]
pub struct HostService {
    access: Arc<Access>,
}

impl HostService {
    /// For this computer.
    #[must_use]
    pub fn new(access: Arc<Access>) -> Self {
        Self { access }
    }
}

#[tonic::async_trait]
impl host_service_server::HostService for HostService {
    async fn get_version(&self, request: Request<Void>) -> Result<Response<HostGetVersionResponse>, Status> {
        self.access.decide(caller(&request)?, access::Request::Query(Query::Host))?;
        let version = host::version().map_err(|error| internal("could not get host version", &error))?;
        Ok(Response::new(HostGetVersionResponse { data: Some(version) }))
    }
}
