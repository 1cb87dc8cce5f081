//! Adapters and routes, as both systems have them.

use std::{error::Error, net::Ipv4Addr};

use winstead_protocol::wins::NetworkAdapter;

/// An ethernet adapter with its first IPv4 address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Adapter {
    pub(crate) index: u32,
    /// Windows: its description, not the connection's name. Linux: the interface.
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// The way to everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// The adapter's index.
    pub(crate) index: u32,
    pub(crate) gateway: Option<Ipv4Addr>,
}

/// The computer does not answer. Display is a fragment after "failed to".
#[derive(Debug, thiserror::Error)]
#[error("ask {whom}")]
pub(crate) struct HostError {
    whom: &'static str,
    source: Box<dyn Error + Send + Sync>,
}

impl HostError {
    /// Who did not answer.
    pub(crate) fn from<E>(whom: &'static str) -> impl Fn(E) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        move |source| Self { whom, source: source.into() }
    }
}

impl Adapter {
    /// As old clients have it: the address as a network of its own, and the network that it is in.
    pub(crate) fn answer(&self, host_name: String) -> NetworkAdapter {
        let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix.min(32))).unwrap_or(0);
        let network = Ipv4Addr::from(u32::from(self.address) & mask);
        NetworkAdapter {
            interface_index: self.index.to_string(),
            gateway_address: self.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
            subnet_cidr: format!("{network}/{}", self.prefix),
            host_name,
            address_cidr: format!("{}/32", self.address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adapter_is_told_as_old_clients_read_it() {
        let adapter = |prefix| Adapter {
            index: 7,
            name: "eth0".to_owned(),
            address: Ipv4Addr::new(10, 170, 15, 229),
            prefix,
            gateway: Some(Ipv4Addr::new(10, 170, 0, 1)),
        };
        let answer = adapter(20).answer("h".to_owned());
        assert_eq!(answer.subnet_cidr, "10.170.0.0/20");
        assert_eq!(answer.address_cidr, "10.170.15.229/32");
        assert_eq!(adapter(0).answer(String::new()).subnet_cidr, "0.0.0.0/0");
    }
}
