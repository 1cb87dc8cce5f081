//! An old server's configuration as an agent's: what `srv app run` goes by.

use std::{net::SocketAddr, path::Path};

use winstead_agent_client::wins_door;
use winstead_spec::{Agent, AgentDoor, AgentDoors, Connect, WinsConfig};

use crate::{
    access::{Paths, Policy},
    configuration::Configuration,
    wins::{process::OnExit, rules},
};

/// Returns it: the two old doors by their old names, as the old pipe of gRPC had it only for those who can do everything
/// anyway; and the agent's own, where they are told how it is. The rules allow nothing else there. The host of a guest is
/// another agent's.
#[must_use]
pub fn configuration(
    config: &WinsConfig,
    runtime: &Path,
    metrics: Option<SocketAddr>,
    on_exit: OnExit,
) -> Configuration {
    let door = |path| AgentDoor { path, connect: Connect::Administrators };
    let old = |pipe: &str| Some(door(Some(wins_door(runtime, pipe))));
    let doors = AgentDoors {
        local: door(None),
        wins: old(&config.listen),
        wins_proxy: old(&config.proxy),
        tcp: None,
    };
    let policy = Some(Policy::new(rules(config), Paths::HERE));
    Configuration { agent: Agent { doors, metrics, ..Agent::default() }, policy, on_exit, host: false }
}

/// Says in the log what an empty list means, to those who counted on the old meaning.
pub fn warn(config: &WinsConfig) {
    for problem in &config.warnings {
        tracing::warn!("{problem}");
    }
    if config.process_paths.is_empty() {
        tracing::warn!(
            "old clients may run nothing: white_list.processPaths is empty; name the programs there"
        );
    }
    if config.proxy_ports.is_empty() {
        tracing::warn!(
            "old clients may publish no port: white_list.proxyPorts is empty; name the ports there"
        );
    }
}
