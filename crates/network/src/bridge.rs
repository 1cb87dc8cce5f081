//! What an own bridge is: data that the other files work with.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use winstead_spec::Subnet;

use crate::MacAddress;

/// A bridge of ours: interface, address, NAT, DHCP and names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnBridge {
    /// Interface name, at most 15 characters.
    pub name: String,
    /// Its addresses; the host has the first.
    pub subnet: Subnet,
    /// Where its files are: `networks/NAME` in the home. Removed with the bridge.
    pub folder: PathBuf,
    /// Its interface alias, `winstead HOMEHASH`.
    pub tag: String,
}

impl OwnBridge {
    /// Its Ethernet address, given in the very request that makes it: a bridge without our tag is ours if it has this.
    pub(crate) fn mac(&self) -> MacAddress {
        MacAddress::of_interface(&self.tag, &self.name)
    }
}
