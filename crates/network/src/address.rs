//! Names and addresses by pure functions: the same machine gets the same ones, whoever asks.

use std::{collections::BTreeSet, fmt, io, net::Ipv4Addr, net::TcpListener, str::FromStr};

use serde::{Deserialize, Serialize};
use winstead_spec::Subnet;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MacAddress([u8; 6]);

impl MacAddress {
    /// The address of the machine with this uid: locally administered, unicast (52 as first byte, as QEMU's own),
    /// 40 bits of the uid's hash. Among 1,000 machines two collide once in two million homes; a collision shows
    /// as two machines with one address in the caller's journal, and a new uid ends it.
    #[must_use]
    pub fn of(uid: &[u8; 16]) -> Self {
        Self::hashed(0x52, uid)
    }

    /// The address of a bridge or tap of this name: the same whenever it is made again, so that what machines know
    /// of it stays true. A bridge without an address of its own has that of whichever port has the lowest: 0xfe, the
    /// highest local unicast byte, keeps a tap from taking part in that (libvirt does the same).
    pub(crate) fn of_interface(tag: &str, name: &str) -> Self {
        Self::hashed(0xfe, format!("{tag} {name}").as_bytes())
    }

    fn hashed(first: u8, bytes: &[u8]) -> Self {
        let [_, _, _, a, b, c, d, e] = hash(bytes).to_be_bytes();
        Self([first, a, b, c, d, e])
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is no Ethernet address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an Ethernet address like 52:54:00:12:34:56")]
pub struct MacAddressError(String);

impl FromStr for MacAddress {
    type Err = MacAddressError;
    fn from_str(text: &str) -> Result<Self, MacAddressError> {
        let byte = |part: &str| {
            (part.len() == 2 && part.bytes().all(|digit| digit.is_ascii_hexdigit()))
                .then(|| u8::from_str_radix(part, 16).ok())
                .flatten()
        };
        let bytes: Option<Vec<u8>> = text.split(':').map(byte).collect();
        let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| MacAddressError(text.to_owned()))
    }
}

impl TryFrom<String> for MacAddress {
    type Error = MacAddressError;
    fn try_from(text: String) -> Result<Self, MacAddressError> {
        text.parse()
    }
}

impl From<MacAddress> for String {
    fn from(mac: MacAddress) -> Self {
        mac.to_string()
    }
}

/// The tap of the machine with this uid: `wt` and 48 bits of its hash, 14 of the 15 characters that the kernel
/// allows (IFNAMSIZ).
#[must_use]
pub fn tap_name(machine_uid: &[u8; 16]) -> String {
    format!("wt{:012x}", hash(machine_uid) >> 16)
}

/// The address for one more machine: `preferred` if it is free, else the lowest free one; `None` when all are
/// taken. Address 1 is the host's and never given away.
#[must_use]
pub fn allocate(subnet: Subnet, taken: &BTreeSet<Ipv4Addr>, preferred: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
    let free = |address: &Ipv4Addr| !taken.contains(address);
    let preferred = preferred.filter(|address| is_machine_address(subnet, *address)).filter(free);
    preferred.or_else(|| (2..).map_while(|n| subnet.address(n)).find(free))
}

/// Whether a machine may have this address in the subnet: not the network's, the host's or broadcast.
pub(crate) fn is_machine_address(subnet: Subnet, address: Ipv4Addr) -> bool {
    let offset = u32::from(address).checked_sub(network(subnet));
    offset.is_some_and(|n| n > 1 && n < 1 << (32 - u32::from(subnet.prefix())) && subnet.address(n).is_some())
}

/// The subnet's own address as a number.
pub(crate) fn network(subnet: Subnet) -> u32 {
    subnet.address(1).map_or(0, |host| u32::from(host) - 1)
}

/// The host's own address in the subnet.
pub(crate) fn host(subnet: Subnet) -> Ipv4Addr {
    Ipv4Addr::from(network(subnet) + 1)
}

/// A loopback TCP port that is free now. Whoever uses it may lose it to another process first, and asks again.
///
/// # Errors
/// When the kernel has none left.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// FNV-1a, 64 bits, with a final mix (splitmix64's) so that its high bits are as good as its low ones. Written out
/// here because the result is journalled: it must never change with a library.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |state, byte| {
        (state ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (fnv ^ (fnv >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_machine_never_change() {
        let uid = [7_u8; 16];
        insta::assert_snapshot!(MacAddress::of(&uid), @"52:0b:f0:2b:4e:9f");
        insta::assert_snapshot!(tap_name(&uid), @"wtb639570bf02b");
    }

    #[test]
    fn addresses_are_local_unicast_and_names_fit_the_kernel() {
        let mut seen = BTreeSet::new();
        for n in 0..2000_u128 {
            let mac = MacAddress::of(&n.to_be_bytes());
            assert_eq!(mac.0[0] & 3, 2);
            assert_eq!(mac.to_string().parse(), Ok(mac));
            assert!(tap_name(&n.to_be_bytes()).len() <= 15);
            assert!(seen.insert((mac, tap_name(&n.to_be_bytes()))));
        }
        for bad in ["", "52:54:00:12:34", "52:54:00:12:34:5g", "52:54:00:12:34:+5", "52:54:00:12:34:56:78"] {
            assert!(bad.parse::<MacAddress>().is_err(), "{bad}");
        }
    }

    #[test]
    fn machines_get_the_preferred_or_the_lowest_free_address_until_all_are_taken() {
        let subnet: Subnet = "10.77.0.0/29".parse().unwrap();
        let mut taken = BTreeSet::new();
        let last = Ipv4Addr::new(10, 77, 0, 6);
        assert_eq!(allocate(subnet, &taken, Some(last)), Some(last));
        for n in 2..=6 {
            let address = allocate(subnet, &taken, None).unwrap();
            assert_eq!(address, Ipv4Addr::new(10, 77, 0, n));
            assert!(taken.insert(address));
        }
        assert_eq!(allocate(subnet, &taken, Some(last)), None);
    }

    #[test]
    fn an_unusable_preference_is_passed_over() {
        let subnet: Subnet = "10.77.0.0/29".parse().unwrap();
        for bad in [[10, 77, 0, 0], [10, 77, 0, 1], [10, 77, 0, 7], [10, 78, 0, 2], [0, 0, 0, 0]] {
            let given = allocate(subnet, &BTreeSet::new(), Some(Ipv4Addr::from(bad)));
            assert_eq!(given, Some(Ipv4Addr::new(10, 77, 0, 2)), "{bad:?}");
        }
    }
}
