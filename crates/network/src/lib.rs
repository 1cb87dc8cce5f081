//! Networks of machines on this computer: own bridges with DHCP, names and NAT, taps, and what to know about
//! bridges that others made.
//!
//! Everything made here carries the caller's tag (as interface alias, and in the comment of the nftables table),
//! and nothing without it is changed. Every function may run twice and heals what is missing. Needs root or
//! `CAP_NET_ADMIN`, except [`free_port`], [`allocate`] and the pure functions. Absent: IPv6 for guests (their
//! IPv6 towards the host is refused), VLANs, and any change to a bridge that is not ours.

mod address;
mod bridge;
mod dnsmasq;
mod error;
mod forwarding;
mod ip;
mod lease;
mod nat;
mod neighbour;
mod programs;
mod server;
mod setup;
mod tap;

pub use address::{MacAddress, MacAddressError, allocate, free_port, tap_name};
pub use bridge::OwnBridge;
pub use error::NetworkError;
pub use lease::{Lease, add_lease, remove_lease};
pub use neighbour::{address_of, addresses_on};
pub use setup::{Owned, OwnedKind, ensure_bridge, presence, remove_bridge};
pub use tap::{Tap, add_tap, remove_tap};
