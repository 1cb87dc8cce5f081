//! Serves whoever comes in at the doors of old clients. What a door is, a socket or a pipe, is not known here.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
};
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::Connected};
use winstead_protocol::wins::{
    application_service_server::ApplicationServiceServer, hns_service_server::HnsServiceServer,
    host_service_server::HostServiceServer, network_service_server::NetworkServiceServer,
    process_service_server::ProcessServiceServer, route_service_server::RouteServiceServer,
};

use crate::{
    access::{Access, Caller},
    wins::{
        authority::LegalAuthority,
        process::ProcessService,
        proxy,
        services::{ApplicationService, HnsService, HostService, NetworkService, RouteService},
    },
};

/// Calls of one connection at the same time. An old client has three.
const CALLS: usize = 64;
/// Sessions of tunnels at the same time.
const SESSIONS: usize = 256;
/// How long calls may take to end when the daemon stops.
const DRAIN: Duration = Duration::from_secs(2);
/// After the door did not let anybody in: it may be out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// Somebody who came in.
pub trait Visitor: AsyncRead + AsyncWrite + Connected<ConnectInfo = Caller> + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Connected<ConnectInfo = Caller> + Unpin + Send + 'static> Visitor for S {}

/// Serves old clients at the doors that are there, until `stop` is cancelled; their processes go on.
///
/// # Errors
/// When the transport breaks.
pub async fn serve<S: Visitor>(
    services: Option<(impl Stream<Item = io::Result<S>> + Send, ProcessService)>,
    tunnels: Option<impl Stream<Item = io::Result<S>>>,
    (access, message): (&Arc<Access>, usize),
    stop: &CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let services = async {
        let Some((door, processes)) = services else { return Ok(()) };
        let served = serve_services(door, (access, processes.clone()), message, stop).await;
        processes.close().await;
        served
    };
    let tunnels = async {
        if let Some(door) = tunnels {
            serve_tunnels(door, access, stop).await;
        }
    };
    tokio::join!(services, tunnels).0
}

/// Serves the six services until `stop` is cancelled. `message` is the largest message that is read, in bytes.
///
/// # Errors
/// When the transport breaks.
async fn serve_services<S: Visitor>(
    visitors: impl Stream<Item = io::Result<S>> + Send,
    (access, processes): (&Arc<Access>, ProcessService),
    message: usize,
    stop: &CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let access = || Arc::clone(access);
    let over = async {
        stop.cancelled().await;
        // KeepAlive would go on for ever.
        tokio::time::sleep(DRAIN).await;
    };
    let legal = visitors.map(|visitor| visitor.map(LegalAuthority::new));
    let serving = Server::builder()
        .concurrency_limit_per_connection(CALLS)
        .add_service(ApplicationServiceServer::new(ApplicationService::new(access())))
        .add_service(HostServiceServer::new(HostService::new(access())))
        .add_service(NetworkServiceServer::new(NetworkService::new(access())))
        .add_service(HnsServiceServer::new(HnsService::new(access())))
        .add_service(RouteServiceServer::new(RouteService::new(access())))
        .add_service(ProcessServiceServer::new(processes).max_decoding_message_size(message))
        .serve_with_incoming_shutdown(legal, stop.cancelled());
    tokio::select! {
        served = serving => served,
        () = over => Ok(()),
    }
}

/// Serves tunnels until `stop` is cancelled; then they end.
async fn serve_tunnels<S: Visitor>(
    visitors: impl Stream<Item = io::Result<S>>,
    access: &Arc<Access>,
    stop: &CancellationToken,
) {
    tokio::pin!(visitors);
    let mut sessions = JoinSet::new();
    loop {
        let visitor = tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = sessions.join_next() => continue,
            visitor = visitors.next(), if sessions.len() < SESSIONS => visitor,
        };
        match visitor {
            None => break,
            Some(Ok(stream)) => _ = sessions.spawn(tunnels(stream, Arc::clone(access))),
            Some(Err(error)) => {
                tracing::warn!(%error, "nobody was let in for tunnels");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    sessions.shutdown().await;
}

async fn tunnels<S: Visitor>(stream: S, access: Arc<Access>) {
    let caller = stream.connect_info();
    if let Err(error) = proxy::serve(stream, &caller, &access).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(%caller, error, "a session for tunnels ended badly");
    }
}
