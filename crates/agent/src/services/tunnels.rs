//! `winstead.agent.v1.Tunnels`: ports.

use std::{pin::Pin, sync::Arc, time::Duration};

use futures_util::Stream;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use winstead_agent_client::flow::TUNNEL_MESSAGE;
use winstead_protocol::v1::{
    TunnelCheckResponse, TunnelListRequest, TunnelListResponse, TunnelProtocol, TunnelRequest,
    TunnelResponse, TunnelTarget, tunnel_request, tunnels_server, tunnels_server::TunnelsServer,
};

use crate::{
    access::{self, Access, Port, Protocol, Query},
    services::caller,
    tunnel::{self, Full, Registry},
};

/// How long a caller may take to say where to.
const FIRST_MESSAGE: Duration = Duration::from_secs(10);
/// The longest name that DNS has.
const LONGEST_NAME: usize = 253;

/// Dials ports for those who may.
#[derive(Debug)]
pub struct TunnelsService {
    access: Arc<Access>,
    registry: Arc<Registry>,
    stop: CancellationToken,
}

impl TunnelsService {
    /// A service whose tunnels end, with a reason, when `stop` is cancelled.
    #[must_use]
    pub fn new(access: Arc<Access>, registry: Registry, stop: CancellationToken) -> TunnelsServer<Self> {
        let registry = Arc::new(registry);
        TunnelsServer::new(Self { access, registry, stop }).max_decoding_message_size(TUNNEL_MESSAGE)
    }
}

#[tonic::async_trait]
impl tunnels_server::Tunnels for TunnelsService {
    type OpenStream = Pin<Box<dyn Stream<Item = Result<TunnelResponse, Status>> + Send>>;

    async fn open(
        &self,
        request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::OpenStream>, Status> {
        let caller = caller(&request)?.clone();
        let mut incoming = request.into_inner();
        let port = first(&mut incoming).await?;
        self.access.decide(&caller, access::Request::Tunnel(&port))?;
        let place = self.registry.admit(&caller, &port)?;
        let (within, stop) = (self.registry.limits().dial, self.stop.clone());
        let stream: Self::OpenStream = match port.protocol {
            Protocol::Tcp => {
                let connection = tunnel::tcp(&port, within).await?;
                let relay = tunnel::relay_stream(connection, incoming, place, stop);
                Box::pin(relay.map_err(|error| Status::unavailable(error.to_string()))?)
            }
            Protocol::Udp => {
                let socket = tunnel::udp(&port, within).await?;
                Box::pin(tunnel::relay_datagrams(socket, incoming, place, stop))
            }
        };
        Ok(Response::new(stream))
    }

    async fn check(&self, request: Request<TunnelTarget>) -> Result<Response<TunnelCheckResponse>, Status> {
        let port = port(request.get_ref())?;
        self.access.decide(caller(&request)?, access::Request::Tunnel(&port))?;
        Ok(Response::new(TunnelCheckResponse {}))
    }

    async fn list(
        &self,
        request: Request<TunnelListRequest>,
    ) -> Result<Response<TunnelListResponse>, Status> {
        let caller = caller(&request)?;
        let all = self.access.may(caller, access::Request::Query(Query::Status));
        let tunnels = self.registry.list(caller, all);
        Ok(Response::new(TunnelListResponse { tunnels }))
    }
}

/// The first message: where to.
async fn first(incoming: &mut Streaming<TunnelRequest>) -> Result<Port, Status> {
    let message = timeout(FIRST_MESSAGE, incoming.message()).await;
    let message = message.map_err(|_| Status::deadline_exceeded("it was not said where to"))??;
    match message.and_then(|request| request.message) {
        Some(tunnel_request::Message::Open(target)) => port(&target),
        _ => Err(Status::invalid_argument("the first message says where to")),
    }
}

/// What was asked for, in the terms of the policy.
pub(crate) fn port(target: &TunnelTarget) -> Result<Port, Status> {
    let protocol = match TunnelProtocol::try_from(target.protocol) {
        Ok(TunnelProtocol::Tcp) => Protocol::Tcp,
        Ok(TunnelProtocol::Udp) => Protocol::Udp,
        Err(_) => return Err(Status::invalid_argument("this agent knows tunnels for TCP and UDP")),
    };
    let number = u16::try_from(target.port).ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| Status::invalid_argument("ports are 1 to 65535"))?;
    let host = if target.host.is_empty() { "localhost" } else { &target.host };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:%".contains(&byte);
    if host.len() > LONGEST_NAME || !host.bytes().all(is_plain) {
        return Err(Status::invalid_argument("the host is neither a name nor an address"));
    }
    Ok(Port { protocol, host: host.to_ascii_lowercase(), number })
}

impl From<Full> for Status {
    fn from(full: Full) -> Self {
        Self::resource_exhausted(full.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::{Account, Caller, Door},
        metrics::Metrics,
        tunnel::TunnelLimits,
    };

    fn caller(door: Door, id: &str, administrator: bool) -> Caller {
        let account = Account { id: id.to_owned(), administrator, ..Account::default() };
        Caller { door, account, process: None, container: None }
    }

    #[tokio::test]
    async fn others_tunnels_are_seen_by_those_who_may_ask_for_the_status() {
        let registry = Arc::new(Registry::new(TunnelLimits::default(), Metrics::default()));
        let (access, stop) = (Arc::new(Access::default()), CancellationToken::new());
        let service = TunnelsService { access, registry: Arc::clone(&registry), stop };
        let owner = caller(Door::Local, "7", false);
        let port = Port { protocol: Protocol::Tcp, host: "localhost".to_owned(), number: 80 };
        let _place = registry.admit(&owner, &port).expect("there is room");
        for (caller, sees) in [
            (owner, 1),
            (caller(Door::Local, "8", false), 0),
            (caller(Door::Local, "0", true), 1),
            (caller(Door::Tcp, "0", true), 0),
        ] {
            let mut request = Request::new(TunnelListRequest {});
            request.extensions_mut().insert(caller.clone());
            let listed = tunnels_server::Tunnels::list(&service, request).await.expect("anybody may ask");
            assert_eq!(listed.into_inner().tunnels.len(), sees, "{caller}");
        }
    }
}
