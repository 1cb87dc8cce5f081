//! `cli`: everything that asks and is answered at once, and the way to `prc run` and `proxy`.

use std::io::Write as _;

use clap::{Args, Subcommand};
use serde_json::Value;
use tonic::transport::Channel;
use winstead_agent::wins::services::info;
use winstead_protocol::wins::{
    HnsGetNetworkRequest, NetworkGetRequest, RouteAddRequest, Void,
    application_service_client::ApplicationServiceClient, hns_get_network_request,
    hns_service_client::HnsServiceClient, host_service_client::HostServiceClient, network_get_request,
    network_service_client::NetworkServiceClient, route_service_client::RouteServiceClient,
};

use super::{
    connect::{RpcError, connect},
    json,
    process::{RunArgs, run},
    proxy::{ProxyArgs, proxy},
};
use crate::cli::{Failure, runtime};

/// Calls a daemon as old clients of rancher/wins do.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClientArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// What both programs are.
    #[command(name = "app", alias = "application")]
    Application {
        #[command(subcommand)]
        command: ApplicationCommand,
    },
    /// Which system it is.
    #[command(name = "hst", alias = "host")]
    Host {
        #[command(subcommand)]
        command: HostCommand,
    },
    /// Network adapters.
    #[command(name = "net", alias = "network")]
    Network {
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// Container networks.
    #[command(name = "hns")]
    Hns {
        #[command(subcommand)]
        command: HnsCommand,
    },
    /// Routes.
    #[command(name = "route")]
    Route {
        #[command(subcommand)]
        command: RouteCommand,
    },
    /// Processes.
    #[command(name = "prc", alias = "process")]
    Process {
        #[command(subcommand)]
        command: ProcessCommand,
    },
    Proxy(ProxyArgs),
}

#[derive(Clone, Debug, Subcommand)]
enum ApplicationCommand {
    /// Prints checksums and versions.
    Info(Server),
}

#[derive(Clone, Debug, Subcommand)]
enum HostCommand {
    /// Prints the system's version.
    GetVersion(Server),
}

#[derive(Clone, Debug, Subcommand)]
enum NetworkCommand {
    /// Prints an adapter: that of the default route when none is named.
    Get {
        /// Its name.
        #[arg(long, conflicts_with = "address")]
        name: Option<String>,
        /// Its address, without a prefix.
        #[arg(long)]
        address: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum HnsCommand {
    /// Prints a container network.
    GetNetwork {
        /// Its name.
        #[arg(long, conflicts_with = "address", required_unless_present = "address")]
        name: Option<String>,
        /// One of its subnets, in CIDR's notation.
        #[arg(long, value_parser = cidr)]
        address: Option<String>,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum RouteCommand {
    /// Adds routes that go where the default route goes.
    Add {
        /// Networks or addresses, with spaces between them.
        #[arg(long)]
        addresses: String,
        #[command(flatten)]
        server: Server,
    },
}

#[derive(Clone, Debug, Subcommand)]
enum ProcessCommand {
    Run(RunArgs),
}

/// The pipe of a daemon.
#[derive(Clone, Debug, Args)]
pub(super) struct Server {
    /// The name of its pipe; on Linux also the path of its socket.
    #[arg(long, value_name = "PIPE", default_value = "rancher_wins")]
    pub(super) server: String,
}

/// Runs it to its end.
///
/// # Errors
/// When the daemon cannot be reached, or says no.
pub(crate) fn client(args: &ClientArgs) -> Result<(), Failure> {
    runtime()?.block_on(call(&args.command))
}

async fn call(command: &Command) -> Result<(), Failure> {
    let answer = match command {
        Command::Application { command: ApplicationCommand::Info(server) } => application(server).await?,
        Command::Host { command: HostCommand::GetVersion(server) } => version(server).await?,
        Command::Network { command: NetworkCommand::Get { name, address, server } } => {
            let name = name.clone().map(network_get_request::Options::Name);
            let options = name.or_else(|| address.clone().map(network_get_request::Options::Address));
            adapter(server, NetworkGetRequest { options }).await?
        }
        Command::Hns { command: HnsCommand::GetNetwork { name, address, server } } => {
            let name = name.clone().map(hns_get_network_request::Options::Name);
            let options = name.or_else(|| address.clone().map(hns_get_network_request::Options::Address));
            network(server, HnsGetNetworkRequest { options }).await?
        }
        Command::Route { command: RouteCommand::Add { addresses, server } } => {
            return add(server, addresses).await;
        }
        Command::Process { command: ProcessCommand::Run(args) } => return run(args).await,
        Command::Proxy(args) => return proxy(args).await,
    };
    let mut out = std::io::stdout().lock();
    write!(out, "{answer}")?;
    Ok(out.flush()?)
}

async fn open(server: &Server) -> Result<Channel, Failure> {
    connect(&server.server).await
}

async fn application(server: &Server) -> Result<Value, Failure> {
    let answer =
        ApplicationServiceClient::new(open(server).await?).info(Void {}).await.map_err(RpcError::from)?;
    Ok(json::info(&info()?, &answer.into_inner().info.unwrap_or_default()))
}

async fn version(server: &Server) -> Result<Value, Failure> {
    let answer =
        HostServiceClient::new(open(server).await?).get_version(Void {}).await.map_err(RpcError::from)?;
    Ok(json::version(&answer.into_inner().data.unwrap_or_default()))
}

async fn adapter(server: &Server, request: NetworkGetRequest) -> Result<Value, Failure> {
    let answer = NetworkServiceClient::new(open(server).await?).get(request).await.map_err(RpcError::from)?;
    Ok(json::adapter(&answer.into_inner().data.unwrap_or_default()))
}

async fn network(server: &Server, request: HnsGetNetworkRequest) -> Result<Value, Failure> {
    let answer =
        HnsServiceClient::new(open(server).await?).get_network(request).await.map_err(RpcError::from)?;
    Ok(json::network(&answer.into_inner().data.unwrap_or_default()))
}

async fn add(server: &Server, addresses: &str) -> Result<(), Failure> {
    let whole = |address: String| if address.contains('/') { address } else { format!("{address}/32") };
    let addresses = winstead_agent::wins::lists::split(addresses)?.into_iter().map(whole).collect();
    let mut client = RouteServiceClient::new(open(server).await?);
    client.add(RouteAddRequest { addresses }).await.map_err(RpcError::from)?;
    Ok(())
}

fn cidr(text: &str) -> Result<String, String> {
    if text.contains('/') { Ok(text.to_owned()) } else { Err("no network in CIDR's notation".to_owned()) }
}
