//! Where a tunnel leads.

use std::fmt;

use winstead_protocol::v1::{TunnelProtocol, TunnelTarget};

/// A kind of port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// A stream.
    Tcp,
    /// Datagrams.
    Udp,
}

/// A port, as the agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Which kind.
    pub protocol: Protocol,
    /// A name or an address; `localhost` is the agent's computer.
    pub host: String,
    /// Its number.
    pub port: u16,
}

impl Target {
    pub(super) fn message(&self) -> TunnelTarget {
        let protocol = match self.protocol {
            Protocol::Tcp => TunnelProtocol::Tcp,
            Protocol::Udp => TunnelProtocol::Udp,
        };
        TunnelTarget { protocol: protocol.into(), host: self.host.clone(), port: self.port.into() }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// `tcp/localhost:9796`, `udp/[::1]:53`.
impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(out, "{}/[{}]:{}", self.protocol, self.host, self.port)
        } else {
            write!(out, "{}/{}:{}", self.protocol, self.host, self.port)
        }
    }
}
