//! What old clients ask of Windows' network: this part of the checklist changes a route for a moment.

use std::{io, net::Ipv4Addr};

use windows_sys::Win32::Foundation::ERROR_ACCESS_DENIED;

use crate::{
    selftest::Outcome,
    windows::{add_route, container_networks, default_routes, network_adapters, remove_route},
    wins::container_network,
};

/// An address that nobody has (RFC 5737).
const NOBODY: (Ipv4Addr, u8) = (Ipv4Addr::new(192, 0, 2, 77), 32);

/// Each default route goes by a card that is told, to one of the computers that it knows.
pub(super) fn cards() -> io::Result<Outcome> {
    let (cards, routes) = (network_adapters()?, default_routes()?);
    if routes.is_empty() {
        return Ok(Outcome::Skipped("there is no default route".to_owned()));
    }
    let lost = routes.iter().find(|route| {
        let card = cards.iter().find(|card| card.index == route.index);
        !card.is_some_and(|card| route.gateway.is_none_or(|gateway| card.gateways.contains(&gateway.into())))
    });
    Ok(lost.map_or(Outcome::Passed, |route| Outcome::Failed(format!("{route:?} by none of {cards:?}"))))
}

/// A route is added twice and taken away.
pub(super) fn route() -> io::Result<Outcome> {
    let Some(by) = default_routes()?.into_iter().min_by_key(|route| route.metric) else {
        return Ok(Outcome::Skipped("there is no default route".to_owned()));
    };
    let add = || add_route(NOBODY, by.index, by.gateway);
    match add() {
        Err(error) if error.raw_os_error() == Some(ERROR_ACCESS_DENIED.cast_signed()) => {
            return Ok(Outcome::Skipped("only administrators may".to_owned()));
        }
        added => added?,
    }
    let again = add();
    remove_route(NOBODY, by.index, by.gateway)?;
    Ok(match (again, remove_route(NOBODY, by.index, by.gateway)) {
        (Ok(()), Err(_)) => Outcome::Passed,
        (Err(error), _) => Outcome::Failed(format!("a second time: {error}")),
        (Ok(()), Ok(())) => Outcome::Failed("it was there twice".to_owned()),
    })
}

/// HNS tells its networks, where there is one.
pub(super) fn hns() -> io::Result<Outcome> {
    match container_networks() {
        Ok(networks) => {
            let wrong = networks.iter().find_map(|text| container_network(text).err());
            Ok(wrong.map_or(Outcome::Passed, |error| Outcome::Failed(error.to_string())))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Skipped(error.to_string())),
        Err(error) => Err(error),
    }
}
