//! `wins.NetworkService`: one adapter of this computer.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use winstead_protocol::wins::{
    NetworkGetRequest, NetworkGetResponse, network_get_request::Options, network_service_server,
};

use super::internal;
use crate::{
    access::{self, Access, Query},
    services::caller,
    wins::host::{self, Adapter, DefaultRoute},
};

/// Finds adapters.
#[derive(Debug)]
pub struct NetworkService {
    access: Arc<Access>,
}

impl NetworkService {
    /// For this computer.
    #[must_use]
    pub fn new(access: Arc<Access>) -> Self {
        Self { access }
    }
}

#[tonic::async_trait]
impl network_service_server::NetworkService for NetworkService {
    async fn get(&self, request: Request<NetworkGetRequest>) -> Result<Response<NetworkGetResponse>, Status> {
        self.access.decide(caller(&request)?, access::Request::Query(Query::Network))?;
        let failed = |error| internal("could not get adapters", &error);
        let wanted = request.into_inner().options;
        let route = if wanted.is_none() { host::default_route().await.map_err(failed)? } else { None };
        let adapters = host::adapters().await.map_err(failed)?;
        let adapter = find(&adapters, wanted.as_ref(), route.as_ref());
        let adapter = adapter.ok_or_else(|| Status::not_found("could not get adapter"))?;
        Ok(Response::new(NetworkGetResponse { data: Some(adapter.answer(host::host_name())) }))
    }
}

/// The adapter of that name or bare address; of the default route when nothing is named.
fn find<'a>(
    adapters: &'a [Adapter],
    wanted: Option<&Options>,
    route: Option<&DefaultRoute>,
) -> Option<&'a Adapter> {
    adapters.iter().find(|adapter| match wanted {
        Some(Options::Name(name)) => adapter.name == *name,
        Some(Options::Address(address)) => adapter.address.to_string() == *address,
        None => route.is_some_and(|route| route.index == adapter.index),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn an_adapter_is_found_by_name_by_address_or_by_the_default_route() {
        let adapter = |index: u8| Adapter {
            index: index.into(),
            name: format!("eth{index}"),
            address: Ipv4Addr::new(10, 0, 0, index),
            prefix: 24,
            gateway: None,
        };
        let adapters = [adapter(1), adapter(2)];
        let found = |wanted: Option<Options>, route: Option<u32>| {
            let route = route.map(|index| DefaultRoute { index, gateway: None });
            find(&adapters, wanted.as_ref(), route.as_ref()).map(|adapter| adapter.index)
        };
        assert_eq!(found(Some(Options::Name("eth2".to_owned())), None), Some(2));
        assert_eq!(found(Some(Options::Address("10.0.0.1".to_owned())), None), Some(1));
        assert_eq!(found(Some(Options::Address("10.0.0.1/24".to_owned())), None), None);
        assert_eq!((found(None, Some(2)), found(None, None)), (Some(2), None));
    }
}
