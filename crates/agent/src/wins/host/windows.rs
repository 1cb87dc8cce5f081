//! Windows: not written yet. Each answer says so, instead of one that is made up.
//!
//! To be: GetAdaptersAddresses, GetIpForwardTable2 and CreateIpForwardEntry2, the registry, and `computenetwork.dll`, whose
//! documents [`crate::wins::hns`] reads already.

use std::{io, net::Ipv4Addr};

use winstead_protocol::wins::HostVersion;

use super::{Adapter, DefaultRoute, HostError};

/// Ethernet adapters with an IPv4 address.
pub(crate) async fn adapters() -> Result<Vec<Adapter>, HostError> {
    Err(missing())
}

/// The first default route.
pub(crate) async fn default_route() -> Result<Option<DefaultRoute>, HostError> {
    Err(missing())
}

/// Adds a route that goes where the default route goes.
pub(crate) async fn add_route(_: (Ipv4Addr, u8), _: &DefaultRoute) -> Result<(), HostError> {
    Err(missing())
}

/// Documents of HNS, one for each network.
pub(crate) async fn networks() -> Result<Vec<String>, HostError> {
    Err(missing())
}

/// What this computer calls itself.
pub(crate) fn host_name() -> String {
    String::new()
}

/// What the registry says.
pub(crate) fn version() -> Result<HostVersion, HostError> {
    Err(missing())
}

fn missing() -> HostError {
    HostError::System(io::Error::new(io::ErrorKind::Unsupported, "not written for Windows yet"))
}
