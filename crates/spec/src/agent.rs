//! `kind: Agent`: the winstead-agent of one computer.

use std::{fmt, net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Name, Span};

/// The winstead-agent of one computer. Without an `Agent` document, [`Agent::default`] is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agent {
    /// Its name, for logs.
    pub name: Name,
    /// Where callers come in.
    pub doors: AgentDoors,
    /// Where its metrics are read; nothing: nowhere.
    pub metrics: Option<SocketAddr>,
    /// How much output of one process is kept for those who have not read it yet.
    pub spool: ByteSize,
    /// Whether ports that programs open get rules in the system's firewall; nothing: where the agent can make some.
    pub firewall: Option<bool>,
    /// What callers can use up.
    pub limits: AgentLimits,
}

/// Where callers come in. A door that is absent is not opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDoors {
    /// The agent's own protocol.
    pub local: AgentDoor,
    /// Old wins clients.
    pub wins: Option<AgentDoor>,
    /// Tunnels of old wins clients.
    pub wins_proxy: Option<AgentDoor>,
    /// The agent's own protocol over the network.
    pub tcp: Option<AgentTcpDoor>,
}

/// A TCP port with TLS. Both sides show certificates; the client's says who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentTcpDoor {
    /// Where it listens.
    pub address: SocketAddr,
    /// The agent's certificate, with those between it and its authority, as PEM.
    pub certificate: PathBuf,
    /// The key of that certificate, as PEM. Nobody else may read it.
    pub key: PathBuf,
    /// The authorities that clients' certificates come from, as PEM.
    pub client_authority: PathBuf,
}

/// A socket or a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentDoor {
    /// Where; nothing: the system's default for this door.
    pub path: Option<PathBuf>,
    /// Who may connect. What they may do then is the policy's.
    pub connect: Connect,
}

/// Who may connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connect {
    /// Everybody on this computer.
    Everybody,
    /// Those who can do everything on this computer anyway.
    Administrators,
    /// The same, and the members of one group: its name, or a SID.
    Group(String),
}

/// What callers can use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentLimits {
    /// Connections at the same time.
    pub clients: u32,
    /// The largest message.
    pub message: ByteSize,
    /// Arguments and environment of a process, all together.
    pub arguments: ByteSize,
    /// From a connection to its first whole words.
    pub handshake: Span,
}

/// Where somebody came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Door {
    /// The agent's own socket or pipe on its computer.
    Local,
    /// The old clients' pipe.
    Wins,
    /// The old clients' pipe for tunnels.
    WinsProxy,
    /// From the host into its guest: a virtio-serial port, a vsock.
    Guest,
    /// The network, with certificates on both sides.
    Tcp,
}

impl fmt::Display for Door {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Local => "local",
            Self::Wins => "wins",
            Self::WinsProxy => "wins-proxy",
            Self::Guest => "guest",
            Self::Tcp => "tcp",
        })
    }
}

impl Default for AgentDoors {
    fn default() -> Self {
        let local = AgentDoor { path: None, connect: Connect::Everybody };
        Self { local, wins: None, wins_proxy: None, tcp: None }
    }
}

impl Default for AgentLimits {
    fn default() -> Self {
        Self {
            clients: 1024,
            message: ByteSize::from_mib(4),
            arguments: ByteSize::from_mib(1),
            handshake: Span::from_secs(10),
        }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            name: "agent".parse().expect("`agent` is a name"),
            doors: AgentDoors::default(),
            metrics: None,
            spool: ByteSize::from_mib(8),
            firewall: None,
            limits: AgentLimits::default(),
        }
    }
}
