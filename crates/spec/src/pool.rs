//! `kind: Pool`: N machines from one image.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ByteSize, Name, Span};

/// N machines from one image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name; machines are called `NAME-0`, `NAME-1`, ….
    pub name: Name,
    /// The image they start from.
    pub image: Name,
    /// How many.
    pub replicas: u32,
    /// What each looks like.
    pub machine: MachineShape,
    /// What each is connected to.
    pub network: Network,
    /// When a machine counts as ready.
    pub ready: Readiness,
    /// For how long the template of its machines stays when the last of them has left it; `None`: it goes with it.
    #[serde(default)]
    pub keep_template: Option<Span>,
}

/// What one machine looks like.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineShape {
    /// Virtual CPUs.
    pub cpus: u32,
    /// Guest RAM.
    pub memory: ByteSize,
    /// Its disk.
    pub disk: Disk,
    /// How it starts; `None`: the direct kernel if the image has one, else UEFI.
    pub firmware: Option<Firmware>,
    /// A TPM 2.0 by swtpm, its state thrown away with the machine; `None`: for Windows.
    pub tpm: Option<bool>,
    /// From what it starts.
    #[serde(default)]
    pub start: Start,
}

/// From what a machine starts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Start {
    /// A boot.
    #[default]
    Boot,
    /// The saved memory of a machine that booted once, its template; a boot where that cannot be.
    Memory {
        /// What the template runs before its memory is saved: programs with their arguments.
        warm: Vec<Vec<String>>,
    },
}

/// One machine's copy-on-write layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disk {
    /// Where it lives.
    pub store: StoreKind,
    /// The most it may hold before it grows from the host's reserve.
    pub cap: ByteSize,
    /// What becomes of its guest's flushes.
    #[serde(default)]
    pub flush: Flush,
}

/// What becomes of a guest's flushes.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Flush {
    /// Nothing: they succeed at once. Whoever throws a machine away does not read its disk after a power cut.
    #[default]
    Ignored,
    /// They are carried out, and the guest waits for the host's disk.
    Honored,
}

/// Where disks live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StoreKind {
    /// tmpfs.
    Ram,
    /// A folder on a disk.
    Disk,
}

/// How a machine starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Firmware {
    /// QEMU loads the image's kernel: the fastest start.
    Direct,
    /// OVMF.
    Uefi,
    /// OVMF with secure boot and Microsoft's keys.
    SecureBoot,
}

/// What a machine is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Network {
    /// QEMU's own user networking: no rights needed, SSH forwarded from loopback.
    User,
    /// A bridge on the host.
    Bridge(Bridge),
}

/// A bridge on the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Bridge {
    /// Winstead's own: made, given DHCP, names and NAT, and taken away with its last machine.
    Own {
        /// Interface name, at most 15 characters.
        name: String,
        /// Its addresses; the host takes the first, machines the following.
        subnet: Subnet,
    },
    /// One that is there already (virbr0, vmbr0): machines are attached, nothing of it is changed.
    Existing {
        /// Interface name.
        name: String,
    },
}

/// When a machine counts as ready. Every wait has a deadline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What must answer.
    pub probe: Probe,
    /// From the start of QEMU to the answer.
    pub deadline: Span,
}

/// What must answer before a machine is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Probe {
    /// An SSH banner.
    Ssh,
    /// The QEMU guest agent.
    Agent,
    /// Nothing: ready as soon as QEMU runs it.
    Started,
}

/// An IPv4 network: `10.77.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    network: Ipv4Addr,
    prefix: u8,
}

/// A text that is no usable IPv4 network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an IPv4 network like 10.77.0.0/24 (prefix 8 to 29, no bits set after it)")]
pub struct SubnetError(String);

impl Subnet {
    /// Length of the network part in bits.
    #[must_use]
    pub const fn prefix(self) -> u8 {
        self.prefix
    }

    /// The `n`th address after the network's own, or `None` beyond the last usable one. 1 is the host.
    #[must_use]
    pub fn address(self, n: u32) -> Option<Ipv4Addr> {
        let size = 1_u32 << (32 - u32::from(self.prefix));
        (n > 0 && n < size - 1).then(|| Ipv4Addr::from(u32::from(self.network) + n))
    }

    /// How many machines it has addresses for: all but the network's own, the host's and the broadcast address.
    #[must_use]
    pub const fn machines(self) -> u32 {
        (1_u32 << (32 - self.prefix as u32)) - 3
    }

    /// The netmask, `255.255.255.0`.
    #[must_use]
    pub fn netmask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX << (32 - u32::from(self.prefix)))
    }

    /// Whether both networks share an address.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        let prefix = self.prefix.min(other.prefix);
        let mask = u32::MAX << (32 - u32::from(prefix));
        u32::from(self.network) & mask == u32::from(other.network) & mask
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;
    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let bad = || SubnetError(text.to_owned());
        let (network, prefix) = text.split_once('/').ok_or_else(bad)?;
        let network: Ipv4Addr = network.parse().map_err(|_| bad())?;
        let prefix: u8 = prefix.parse().map_err(|_| bad())?;
        // Only as we write it: `+24` and `024` are numbers, too.
        let usable = (8..=29).contains(&prefix)
            && u32::from(network) << prefix == 0
            && text == Self { network, prefix }.to_string();
        if usable { Ok(Self { network, prefix }) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;
    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_hand_out_only_usable_addresses() {
        let subnet: Subnet = "10.77.0.0/29".parse().unwrap();
        assert_eq!(subnet.address(1), Some(Ipv4Addr::new(10, 77, 0, 1)));
        assert_eq!((subnet.address(0), subnet.address(6).is_some(), subnet.address(7)), (None, true, None));
        assert_eq!(subnet.netmask(), Ipv4Addr::new(255, 255, 255, 248));
        for bad in
            ["10.77.0.1/24", "10.77.0.0", "10.77.0.0/30", "10.77.0.0/x", "10.77.0.0/+24", "10.77.0.0/024"]
        {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }
}
