//! Network cards with their addresses.
//!
//! The crates that ask the same (`if-addrs`, `ipconfig`) leave away what is needed here: the index by which routes name a
//! card, and how long each address' own prefix is.
#![expect(unsafe_code, reason = "Windows hands over linked lists")]

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ptr::null,
};

use windows_sys::Win32::{
    Foundation::{ERROR_BUFFER_OVERFLOW, ERROR_NO_DATA, ERROR_SUCCESS},
    NetworkManagement::{
        IpHelper::{
            GAA_FLAG_INCLUDE_GATEWAYS, GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_DNS_SERVER,
            GAA_FLAG_SKIP_MULTICAST, GetAdaptersAddresses, IF_TYPE_ETHERNET_CSMACD,
            IF_TYPE_SOFTWARE_LOOPBACK, IP_ADAPTER_ADDRESSES_LH,
        },
        Ndis::IfOperStatusUp,
    },
    Networking::WinSock::{AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR_IN, SOCKADDR_IN6, SOCKET_ADDRESS},
};

use crate::windows::memory::text;

/// What Microsoft's page of the call advises to begin with, in units of 8 bytes.
const ROOM: usize = 15 * 1024 / 8;
/// Cards may appear between a question and the next one: not so often.
const QUESTIONS: usize = 5;

/// A network card, or what Windows takes for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkAdapter {
    /// The number by which routes name it; 0 where it has no IPv4.
    pub index: u32,
    /// The connection's name: `Ethernet 2`. People change it.
    pub name: String,
    /// The driver's name for it: `Red Hat VirtIO Ethernet Adapter #2`.
    pub description: String,
    /// Empty where it has none.
    pub mac: Vec<u8>,
    /// What kind it is.
    pub kind: AdapterKind,
    /// Whether packets can go now.
    pub up: bool,
    /// Each with the length of its network's prefix.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Where packets for elsewhere go.
    pub gateways: Vec<IpAddr>,
    /// What IPv4 costs by it, beside what a route does.
    pub metric: u32,
}

/// What kind of card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdapterKind {
    /// With wires, or as virtual machines have it.
    Ethernet,
    /// To this computer itself.
    Loopback,
    /// Wi-Fi, tunnels, and what else there is.
    Other,
}

/// All that have TCP/IP, in Windows' order. Blocks for some milliseconds.
///
/// # Errors
/// As the system has them.
pub fn network_adapters() -> io::Result<Vec<NetworkAdapter>> {
    let flags = GAA_FLAG_SKIP_ANYCAST
        | GAA_FLAG_SKIP_MULTICAST
        | GAA_FLAG_SKIP_DNS_SERVER
        | GAA_FLAG_INCLUDE_GATEWAYS;
    let mut room = vec![0_u64; ROOM];
    for _ in 0..QUESTIONS {
        let mut bytes = u32::try_from(size_of_val(&*room)).map_err(io::Error::other)?;
        let first: *mut IP_ADAPTER_ADDRESSES_LH = room.as_mut_ptr().cast();
        // SAFETY: there is as much room as is said, aligned to the 8 bytes that the structure wants.
        let answer = unsafe { GetAdaptersAddresses(AF_UNSPEC.into(), flags, null(), first, &raw mut bytes) };
        match answer {
            // SAFETY: the call has made a list in `room`, which is not changed before this returns.
            ERROR_SUCCESS => return Ok(unsafe { list(first, |it| it.Next) }.map(adapter).collect()),
            ERROR_NO_DATA => return Ok(Vec::new()),
            ERROR_BUFFER_OVERFLOW => {
                let bytes = usize::try_from(bytes).map_err(io::Error::other)?;
                room = vec![0; bytes.div_ceil(size_of::<u64>())];
            }
            error => return Err(io::Error::from_raw_os_error(error.cast_signed())),
        }
    }
    Err(io::Error::other("the network cards change all the time"))
}

/// A list of Windows, whose end is null.
///
/// # Safety
/// The list is whole, and stays so while it is walked.
unsafe fn list<'a, T: 'a>(first: *const T, next: fn(&T) -> *mut T) -> impl Iterator<Item = &'a T> {
    // SAFETY: a pointer of the list is null or leads to the next one.
    let at = |it: *const T| unsafe { it.as_ref::<'a>() };
    std::iter::successors(at(first), move |it| at(next(it)))
}

fn adapter(it: &IP_ADAPTER_ADDRESSES_LH) -> NetworkAdapter {
    let length = it.PhysicalAddress.len().min(it.PhysicalAddressLength as usize);
    // SAFETY: both texts end with a zero; the lists and all that they lead to live as long as `it`; every variant of the
    // union is numbers.
    unsafe {
        let addresses = list(it.FirstUnicastAddress, |it| it.Next);
        let gateways = list(it.FirstGatewayAddress, |it| it.Next);
        NetworkAdapter {
            index: it.Anonymous1.Anonymous.IfIndex,
            name: text(it.FriendlyName),
            description: text(it.Description),
            mac: it.PhysicalAddress[..length].to_vec(),
            kind: kind(it.IfType),
            up: it.OperStatus == IfOperStatusUp,
            addresses: addresses
                .filter_map(|it| Some((address(&it.Address)?, it.OnLinkPrefixLength)))
                .collect(),
            gateways: gateways.filter_map(|it| address(&it.Address)).collect(),
            metric: it.Ipv4Metric,
        }
    }
}

fn kind(if_type: u32) -> AdapterKind {
    match if_type {
        IF_TYPE_ETHERNET_CSMACD => AdapterKind::Ethernet,
        IF_TYPE_SOFTWARE_LOOPBACK => AdapterKind::Loopback,
        _ => AdapterKind::Other,
    }
}

/// Nothing for what is neither IPv4 nor IPv6.
///
/// # Safety
/// It leads to as many bytes as it says, in the structure of its family.
unsafe fn address(it: &SOCKET_ADDRESS) -> Option<IpAddr> {
    let (at, length) = (it.lpSockaddr, usize::try_from(it.iSockaddrLength).ok()?);
    // SAFETY: the family stands first in all of them; then the length is compared with what the family needs. The union's
    // variants are all the same bytes.
    unsafe {
        match at.as_ref()?.sa_family {
            AF_INET if length >= size_of::<SOCKADDR_IN>() => {
                let address = (*at.cast::<SOCKADDR_IN>()).sin_addr.S_un.S_addr;
                Some(Ipv4Addr::from(address.to_ne_bytes()).into())
            }
            AF_INET6 if length >= size_of::<SOCKADDR_IN6>() => {
                Some(Ipv6Addr::from((*at.cast::<SOCKADDR_IN6>()).sin6_addr.u.Byte).into())
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_that_this_computer_has_belongs_to_a_card() {
        let adapters = network_adapters().expect("they are told");
        let has = |wanted: IpAddr| {
            adapters.iter().find(|it| it.addresses.iter().any(|(address, _)| *address == wanted))
        };
        let loopback = has(Ipv4Addr::LOCALHOST.into()).expect("every computer has it");
        assert_eq!(loopback.kind, AdapterKind::Loopback, "{loopback:?}");
        assert!(loopback.up && !loopback.name.is_empty() && loopback.index != 0, "{loopback:?}");
        // What another crate finds by the same system, in another way of reading it.
        for other in if_addrs::get_if_addrs().expect("they are told") {
            assert!(has(other.ip()).is_some(), "{other:?} is not in {adapters:?}");
        }
        for (address, prefix) in adapters.iter().flat_map(|it| &it.addresses) {
            assert!(*prefix <= if address.is_ipv4() { 32 } else { 128 }, "{address}/{prefix}");
        }
    }
}
