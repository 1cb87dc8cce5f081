//! `cli proxy`: publishes ports of the host here.

use clap::Args;
use winstead_agent::wins::{
    lists,
    proxy::{listen_at, publish},
};
use winstead_agent_client::{Address, stream};

use crate::cli::Failure;

/// Publishes ports of the host's localhost here, until the tunnel ends.
#[derive(Clone, Debug, Args)]
pub(super) struct ProxyArgs {
    /// Ports: `TCP:9796 TCP:80-90`.
    #[arg(long)]
    publish: String,
    /// The name of the daemon's pipe for tunnels; on Linux also the path of its socket.
    #[arg(long, value_name = "PIPE", default_value = "rancher_wins_proxy")]
    proxy: String,
}

pub(super) async fn proxy(args: &ProxyArgs) -> Result<(), Failure> {
    let ports = lists::publishes(&args.publish)?;
    let stream = stream(&Address::wins(&args.proxy)).await?;
    Ok(publish(stream, &args.proxy, listen_at(&ports)?).await?)
}
