//! Routes of IPv4.
#![expect(unsafe_code, reason = "no crate that is kept wraps Windows' table of routes")]

use std::{io, net::Ipv4Addr, ptr::null_mut, slice};

use windows_sys::Win32::{
    Foundation::{ERROR_NOT_FOUND, ERROR_OBJECT_ALREADY_EXISTS, ERROR_SUCCESS, WIN32_ERROR},
    NetworkManagement::IpHelper::{
        CreateIpForwardEntry2, DeleteIpForwardEntry2, FreeMibTable, GetIpForwardTable2, IP_ADDRESS_PREFIX,
        InitializeIpForwardEntry, MIB_IPFORWARD_ROW2, MIB_IPFORWARD_TABLE2,
    },
    Networking::WinSock::{AF_INET, IN_ADDR, IN_ADDR_0, SOCKADDR_IN, SOCKADDR_INET},
};

/// One way to everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DefaultRoute {
    /// The network card's index.
    pub(crate) index: u32,
    /// The next computer on the way; nothing where there is none.
    pub(crate) gateway: Option<Ipv4Addr>,
    /// What it costs, beside what its network card does.
    pub(crate) metric: u32,
}

/// All ways to everywhere, in Windows' order.
///
/// # Errors
/// As the system has them.
pub(crate) fn default_routes() -> io::Result<Vec<DefaultRoute>> {
    let mut table: *mut MIB_IPFORWARD_TABLE2 = null_mut();
    // SAFETY: there is room for a pointer.
    match unsafe { GetIpForwardTable2(AF_INET, &raw mut table) } {
        ERROR_SUCCESS => {}
        ERROR_NOT_FOUND => return Ok(Vec::new()),
        error => return Err(failure(error)),
    }
    // SAFETY: the call has made a table of as many rows as it says, which is ours until it is given back; the rows lie
    // behind its head. They are copied before.
    let rows: Vec<MIB_IPFORWARD_ROW2> = unsafe {
        let rows = slice::from_raw_parts((&raw const (*table).Table).cast(), (*table).NumEntries as usize);
        let rows = rows.to_vec();
        FreeMibTable(table.cast());
        rows
    };
    let ways = rows.iter().filter(|row| row.DestinationPrefix.PrefixLength == 0);
    Ok(ways
        .map(|row| DefaultRoute {
            index: row.InterfaceIndex,
            gateway: Some(address(&row.NextHop)).filter(|address| !address.is_unspecified()),
            metric: row.Metric,
        })
        .collect())
}

/// Adds a route that is gone after a restart. One that is there already is no error.
///
/// # Errors
/// As the system has them: we may not, or there is no such network card.
pub(crate) fn add_route(to: (Ipv4Addr, u8), index: u32, gateway: Option<Ipv4Addr>) -> io::Result<()> {
    let row = row(to, index, gateway);
    // SAFETY: the row is whole.
    match unsafe { CreateIpForwardEntry2(&raw const row) } {
        ERROR_SUCCESS | ERROR_OBJECT_ALREADY_EXISTS => Ok(()),
        error => Err(failure(error)),
    }
}

/// Takes a route away.
///
/// # Errors
/// As the system has them: we may not, or there is no such route.
pub(crate) fn remove_route(to: (Ipv4Addr, u8), index: u32, gateway: Option<Ipv4Addr>) -> io::Result<()> {
    let row = row(to, index, gateway);
    // SAFETY: the row is whole.
    match unsafe { DeleteIpForwardEntry2(&raw const row) } {
        ERROR_SUCCESS => Ok(()),
        error => Err(failure(error)),
    }
}

fn row(to: (Ipv4Addr, u8), index: u32, gateway: Option<Ipv4Addr>) -> MIB_IPFORWARD_ROW2 {
    let mut row = MIB_IPFORWARD_ROW2::default();
    // SAFETY: there is room for a row.
    unsafe { InitializeIpForwardEntry(&raw mut row) };
    row.InterfaceIndex = index;
    row.DestinationPrefix = IP_ADDRESS_PREFIX { Prefix: socket_address(to.0), PrefixLength: to.1 };
    row.NextHop = socket_address(gateway.unwrap_or(Ipv4Addr::UNSPECIFIED));
    // Of what comes initialised this has no meaning for IPv4, and that no value: the network card's own metric is enough.
    (row.SitePrefixLength, row.Metric) = (0, 0);
    row
}

fn socket_address(address: Ipv4Addr) -> SOCKADDR_INET {
    let number = u32::from_ne_bytes(address.octets());
    let sin_addr = IN_ADDR { S_un: IN_ADDR_0 { S_addr: number } };
    SOCKADDR_INET { Ipv4: SOCKADDR_IN { sin_family: AF_INET, sin_addr, ..Default::default() } }
}

fn address(address: &SOCKADDR_INET) -> Ipv4Addr {
    // SAFETY: the table was asked for IPv4; every variant of both unions is numbers.
    Ipv4Addr::from(unsafe { address.Ipv4.sin_addr.S_un.S_addr }.to_ne_bytes())
}

fn failure(error: WIN32_ERROR) -> io::Error {
    io::Error::from_raw_os_error(error.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::windows::network_adapters;

    #[test]
    fn a_way_to_everywhere_goes_by_a_card_that_is_there() {
        let adapters = network_adapters().expect("they are told");
        for route in default_routes().expect("they are told") {
            let card = adapters.iter().find(|adapter| adapter.index == route.index);
            let card = card.unwrap_or_else(|| panic!("{route:?} by none of {adapters:?}"));
            if let Some(gateway) = route.gateway {
                assert!(card.gateways.contains(&gateway.into()), "{route:?} by {card:?}");
            }
        }
    }

    #[test]
    fn addresses_keep_the_order_of_their_bytes() {
        let there = Ipv4Addr::new(10, 1, 2, 3);
        assert_eq!(address(&socket_address(there)), there);
    }
}
