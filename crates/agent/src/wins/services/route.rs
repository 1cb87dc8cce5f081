//! `wins.RouteService`: routes that go where the default route goes.

use std::{net::Ipv4Addr, sync::Arc};

use tonic::{Request, Response, Status};
use winstead_protocol::wins::{RouteAddRequest, Void, route_service_server};

use super::internal;
use crate::{
    access::{self, Access},
    services::caller,
    wins::host,
};

/// Networks in one call. Old clients send a handful.
const MOST: usize = 256;

/// Adds routes.
#[derive(Debug)]
pub struct RouteService {
    access: Arc<Access>,
}

impl RouteService {
    /// For this computer.
    #[must_use]
    pub fn new(access: Arc<Access>) -> Self {
        Self { access }
    }
}

#[tonic::async_trait]
impl route_service_server::RouteService for RouteService {
    /// All networks are looked at before the first is added. One that has its route already is no error, unlike before.
    async fn add(&self, request: Request<RouteAddRequest>) -> Result<Response<Void>, Status> {
        let addresses = &request.get_ref().addresses;
        if addresses.len() > MOST {
            return Err(Status::invalid_argument(format!("more than {MOST} addresses")));
        }
        let networks: Vec<_> = addresses.iter().map(|address| network(address)).collect::<Result<_, _>>()?;
        for (address, prefix) in &networks {
            let network = format!("{address}/{prefix}");
            self.access.decide(caller(&request)?, access::Request::AddRoute(&network))?;
        }
        let failed = |error| internal("could not add route", &error);
        let route = host::default_route().await.map_err(failed)?;
        let route = route.ok_or_else(|| Status::internal("could not get default route"))?;
        for network in networks {
            host::add_route(network, &route).await.map_err(failed)?;
        }
        Ok(Response::new(Void {}))
    }
}

/// A network in the notation of CIDR, without the bits that are the host's.
fn network(text: &str) -> Result<(Ipv4Addr, u8), Status> {
    let parse = || {
        let (address, prefix) = text.split_once('/')?;
        let (address, prefix) = (address.parse::<Ipv4Addr>().ok()?, prefix.parse::<u8>().ok()?);
        let mask = u32::MAX.checked_shl(32_u32.checked_sub(prefix.into())?).unwrap_or(0);
        Some((Ipv4Addr::from(u32::from(address) & mask), prefix))
    };
    parse().ok_or_else(|| {
        Status::invalid_argument(format!("could not parse address {text:?}: invalid CIDR address"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_read_without_their_hosts_bits() {
        let read = |text| network(text).ok().map(|(address, prefix)| format!("{address}/{prefix}"));
        assert_eq!(read("10.1.2.3/8").as_deref(), Some("10.0.0.0/8"));
        assert_eq!(read("1.2.3.4/0").as_deref(), Some("0.0.0.0/0"));
        assert_eq!(read("169.254.169.254/32").as_deref(), Some("169.254.169.254/32"));
        for wrong in ["8.8.8.8", "8.8.8.8/33", "fe80::/64", "", "/"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
