//! `wins.HnsService`: one container network.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use winstead_agent_client::chain;
use winstead_protocol::wins::{
    HnsGetNetworkRequest, HnsGetNetworkResponse, HnsNetwork, hns_get_network_request::Options,
    hns_service_server,
};

use crate::{
    access::{self, Access, Query},
    services::caller,
    wins::{hns, host},
};

/// Finds container networks.
#[derive(Debug)]
pub struct HnsService {
    access: Arc<Access>,
}

impl HnsService {
    /// For this computer.
    #[must_use]
    pub fn new(access: Arc<Access>) -> Self {
        Self { access }
    }
}

#[tonic::async_trait]
impl hns_service_server::HnsService for HnsService {
    async fn get_network(
        &self,
        request: Request<HnsGetNetworkRequest>,
    ) -> Result<Response<HnsGetNetworkResponse>, Status> {
        self.access.decide(caller(&request)?, access::Request::Query(Query::Hns))?;
        // Scripts see this code for whatever goes wrong here.
        let failed = |text: String| Status::invalid_argument(format!("could not get network: {text}"));
        let wanted = request.into_inner().options;
        let wanted = wanted.ok_or_else(|| failed("neither name nor address is given".to_owned()))?;
        let networks = host::networks().await.map_err(|error| failed(chain(&error)))?;
        let found = find(&networks, &wanted).map_err(|error| failed(chain(&error)))?;
        let found = found.ok_or_else(|| failed("there is no such network".to_owned()))?;
        Ok(Response::new(HnsGetNetworkResponse { data: Some(found) }))
    }
}

/// The network that is wanted, among what the computer says of all.
fn find(networks: &[String], wanted: &Options) -> Result<Option<HnsNetwork>, serde_json::Error> {
    let networks = networks.iter().map(|text| hns::parse(text)).collect::<Result<Vec<_>, _>>()?;
    Ok(networks.into_iter().find(|network| matches(network, wanted)).map(|(_, network)| network))
}

/// Whether it has exactly that subnet. The name was left out of what old clients are told.
fn matches(network: &(String, HnsNetwork), wanted: &Options) -> bool {
    match wanted {
        Options::Name(name) => network.0 == *name,
        Options::Address(address) => network.1.subnets.iter().any(|subnet| subnet.address_cidr == *address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_is_found_by_its_name_or_by_exactly_its_subnet() {
        let network = |name: &str, subnet: &str| {
            format!(
                r#"{{"ID":"id-{name}","Name":"{name}","Type":"Overlay","Ipams":[{{"Subnets":[{{"IpAddressPrefix":"{subnet}"}}]}}]}}"#
            )
        };
        let all = [network("nat", "10.0.0.0/8"), network("vxlan0", "10.42.1.0/24")];
        let found = |wanted| find(&all, &wanted).expect("JSON").map(|network| network.id);
        assert_eq!(found(Options::Name("vxlan0".to_owned())).as_deref(), Some("id-vxlan0"));
        assert_eq!(found(Options::Address("10.42.1.0/24".to_owned())).as_deref(), Some("id-vxlan0"));
        assert_eq!(found(Options::Address("10.42.0.0/16".to_owned())), None);
        assert_eq!(found(Options::Name("VXLAN0".to_owned())), None);
        assert!(find(&["no JSON".to_owned()], &Options::Name(String::new())).is_err());
    }
}
