//! Who a guest is.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};
use winstead_spec::GuestOs;

use crate::{hexadecimal, keys::KeyPair, seed::SeedError};

/// All that tells one guest from the next. Holds a private key, so it is never journalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its host name, a DNS label.
    pub host_name: String,
    /// Its machine id, the machine's uid.
    pub machine_id: [u8; 16],
    /// How often it was reset to golden: cloud-init takes a new number as a new first boot.
    pub generation: u64,
    /// The key by which it is known on SSH.
    pub host_key: KeyPair,
    /// Public keys that may log in, one line each.
    pub authorized_keys: Vec<String>,
    /// Its network card.
    pub network: GuestNetwork,
    /// What runs in it.
    pub os: GuestOs,
}

/// How a guest sets up its network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GuestNetwork {
    /// The card's hardware address, `52:54:00:…`, by which the guest finds it.
    pub mac: String,
    /// Where its address comes from.
    pub address: Address,
    /// Its name server, when known beforehand.
    pub nameserver: Option<Ipv4Addr>,
}

/// Where a guest's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Address {
    /// From a DHCP server, recognised by its hardware address: existing bridges.
    Dhcp,
    /// Known beforehand (slirp and our own bridges), which saves a DHCP round trip at boot.
    #[serde(rename_all = "camelCase")]
    Static {
        /// The guest's address.
        address: Ipv4Addr,
        /// Bits of the network part.
        prefix: u8,
        /// Its way out.
        gateway: Ipv4Addr,
    },
}

impl GuestNetwork {
    /// QEMU's `user` network as it is unless told otherwise: the guest is 10.0.2.15, QEMU answers as 10.0.2.2 and
    /// as name server 10.0.2.3 (QEMU's documentation, "Using the user mode network stack").
    #[must_use]
    pub const fn user(mac: String) -> Self {
        let address = Address::Static {
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            gateway: Ipv4Addr::new(10, 0, 2, 2),
        };
        Self { mac, address, nameserver: Some(Ipv4Addr::new(10, 0, 2, 3)) }
    }
}

impl Identity {
    /// The machine id as systemd writes it: 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn machine_id_text(&self) -> String {
        hexadecimal(&self.machine_id)
    }

    /// What cloud-init compares to know a first boot.
    #[must_use]
    pub fn instance_id(&self) -> String {
        format!("{}-{}", self.machine_id_text(), self.generation)
    }

    /// The keys that may log in as `sshd` reads them, one line each.
    pub(super) fn authorized_keys_text(&self) -> String {
        self.authorized_keys.iter().map(|key| format!("{key}\n")).collect()
    }

    /// Refuses what would break out of the lines of the files it is written to.
    pub(super) fn check(&self) -> Result<(), SeedError> {
        let invalid = |field, value: &str, expected| {
            Err(SeedError::Invalid {
                host_name: self.host_name.clone(),
                field,
                value: value.to_owned(),
                expected,
            })
        };
        if !is_label(&self.host_name) {
            return invalid("host name", &self.host_name, "use a DNS label (RFC 1123)");
        }
        if !is_mac(&self.network.mac) {
            return invalid("hardware address", &self.network.mac, "use six bytes like 52:54:00:12:34:56");
        }
        if let Some(key) = self.authorized_keys.iter().find(|key| key.contains(|c: char| c.is_control())) {
            return invalid("authorized key", key, "use one line without control characters");
        }
        match self.network.address {
            Address::Static { prefix, .. } if prefix > 32 => {
                invalid("prefix", &prefix.to_string(), "use 0 to 32")
            }
            _ => Ok(()),
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_mac(text: &str) -> bool {
    let bytes: Vec<&str> = text.split(':').collect();
    bytes.len() == 6
        && bytes.iter().all(|byte| byte.len() == 2 && byte.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A fixed key pair, so that snapshots do not change. Made for these tests; it opens nothing.
    pub(crate) fn identity() -> Identity {
        Identity {
            host_name: "agents-0".into(),
            machine_id: [0x0a, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xff],
            generation: 2,
            host_key: crate::keys::generate("agents-0").unwrap(),
            authorized_keys: vec!["ssh-ed25519 AAAAclient winstead".into()],
            network: GuestNetwork::user("52:54:00:0a:0b:0c".into()),
            os: GuestOs::Linux,
        }
    }

    /// An identity on an existing bridge.
    pub(in crate::seed) fn dhcp() -> Identity {
        let network =
            GuestNetwork { mac: "52:54:00:0a:0b:0c".into(), address: Address::Dhcp, nameserver: None };
        Identity { network, ..identity() }
    }

    #[test]
    fn values_that_would_break_out_of_their_line_are_refused() {
        let good = identity();
        good.check().unwrap();
        for host_name in ["", "a b", "-a", "a\nb", "a/../b", &"x".repeat(64)] {
            assert!(
                Identity { host_name: host_name.into(), ..good.clone() }.check().is_err(),
                "{host_name:?}"
            );
        }
        for mac in ["", "52:54:00:0a:0b", "52:54:00:0a:0b:0g", "52:54:00:0a:0b:0c\n[Network]"] {
            let network = GuestNetwork { mac: mac.into(), ..good.network.clone() };
            assert!(Identity { network, ..good.clone() }.check().is_err(), "{mac:?}");
        }
        let two_lines = Identity { authorized_keys: vec!["ssh-rsa A\nssh-rsa B".into()], ..good };
        assert!(two_lines.check().unwrap_err().to_string().contains("authorized key"));
    }

    #[test]
    fn an_identity_does_not_show_its_private_key() {
        assert!(!format!("{:?}", identity()).contains("OPENSSH PRIVATE"));
    }
}
