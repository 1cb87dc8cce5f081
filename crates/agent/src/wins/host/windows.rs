//! Windows: its own tables of cards and routes, the registry, and HNS.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::{sync::Mutex, task::spawn_blocking, time::timeout};
use windows_registry::{Key, LOCAL_MACHINE};
use winstead_protocol::wins::HostVersion;

use super::{Adapter, DefaultRoute, HostError};
use crate::windows::{
    self, AdapterKind, NetworkAdapter, container_networks, default_routes, network_adapters,
};

/// How long the system may take to answer. HNS has been seen to hang.
const PATIENCE: Duration = Duration::from_secs(20);
/// Who is asked.
const SYSTEM: &str = "the system";
const HNS: &str = "HNS";
const VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
const NAMES: &str = r"SYSTEM\CurrentControlSet\Services\Tcpip\Parameters";

/// Ethernet adapters with an IPv4 address.
pub(crate) async fn adapters() -> Result<Vec<Adapter>, HostError> {
    let adapters = ask(SYSTEM, network_adapters).await?;
    Ok(adapters.into_iter().filter_map(adapter).collect())
}

/// Old clients name it as its driver does.
fn adapter(adapter: NetworkAdapter) -> Option<Adapter> {
    let (address, prefix) = adapter.addresses.iter().find_map(|(address, prefix)| match address {
        IpAddr::V4(address) => Some((*address, *prefix)),
        IpAddr::V6(_) => None,
    })?;
    let gateway = adapter.gateways.iter().find_map(|gateway| match gateway {
        IpAddr::V4(gateway) => Some(*gateway),
        IpAddr::V6(_) => None,
    });
    let is_ethernet = adapter.kind == AdapterKind::Ethernet;
    is_ethernet.then_some(Adapter {
        index: adapter.index,
        name: adapter.description,
        address,
        prefix,
        gateway,
    })
}

/// The default route that Windows takes.
pub(crate) async fn default_route() -> Result<Option<DefaultRoute>, HostError> {
    let (routes, cards) = ask(SYSTEM, || Ok((default_routes()?, network_adapters()?))).await?;
    Ok(best(&routes, &cards))
}

/// The one that costs least together with its card; of several the first.
fn best(routes: &[windows::DefaultRoute], cards: &[NetworkAdapter]) -> Option<DefaultRoute> {
    let card = |index| cards.iter().find(|card| card.index == index).map_or(0, |card| card.metric);
    let best = routes.iter().min_by_key(|route| route.metric.saturating_add(card(route.index)))?;
    Some(DefaultRoute { index: best.index, gateway: best.gateway })
}

/// Adds a route that goes where the default route goes; one that is there already stays.
pub(crate) async fn add_route(to: (Ipv4Addr, u8), route: &DefaultRoute) -> Result<(), HostError> {
    let DefaultRoute { index, gateway } = *route;
    ask(SYSTEM, move || windows::add_route(to, index, gateway)).await
}

/// Documents of HNS, one for each network.
pub(crate) async fn networks() -> Result<Vec<String>, HostError> {
    /// One question at a time: while HNS hangs, it holds one thread and not all of them.
    static ASKING: Mutex<()> = Mutex::const_new(());
    let asking =
        timeout(PATIENCE, ASKING.lock()).await.map_err(io::Error::from).map_err(HostError::from(HNS))?;
    let question = move || {
        let _asking = asking;
        container_networks()
    };
    ask(HNS, question).await
}

/// What this computer calls itself in its network.
pub(crate) fn host_name() -> String {
    LOCAL_MACHINE.open(NAMES).and_then(|names| names.get_string("Hostname")).unwrap_or_default()
}

/// What the registry says. What it does not have is 0 or empty, as the old server had it.
pub(crate) fn version() -> Result<HostVersion, HostError> {
    Ok(told(&LOCAL_MACHINE.open(VERSION).map_err(HostError::from("the registry"))?))
}

fn told(key: &Key) -> HostVersion {
    let number = |name| key.get_u32(name).unwrap_or_default().to_string();
    let text = |name| key.get_string(name).unwrap_or_default();
    HostVersion {
        current_major_version_number: number("CurrentMajorVersionNumber"),
        current_minor_version_number: number("CurrentMinorVersionNumber"),
        current_build_number: text("CurrentBuildNumber"),
        ubr: number("UBR"),
        release_id: text("ReleaseId"),
        build_lab_ex: text("BuildLabEx"),
        current_build: text("CurrentBuild"),
    }
}

async fn ask<T: Send + 'static>(
    whom: &'static str,
    question: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, HostError> {
    let answered = async { spawn_blocking(question).await.map_err(io::Error::other)? };
    let answered = timeout(PATIENCE, answered).await.map_err(io::Error::from).flatten();
    answered.map_err(HostError::from(whom))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(kind: AdapterKind, addresses: &[&str]) -> NetworkAdapter {
        let address = |text: &&str| (text.parse().expect("an address"), 20);
        NetworkAdapter {
            index: 7,
            name: "Ethernet 2".to_owned(),
            description: "vEthernet".to_owned(),
            mac: Vec::new(),
            kind,
            up: true,
            addresses: addresses.iter().map(address).collect(),
            metric: 30,
            gateways: ["fe80::1", "10.170.0.1"].map(|text| text.parse().expect("an address")).to_vec(),
        }
    }

    #[test]
    fn only_ethernet_with_an_old_address_is_an_adapter_and_has_its_drivers_name() {
        let found = adapter(card(AdapterKind::Ethernet, &["fe80::2", "10.170.15.229"])).expect("an adapter");
        assert_eq!((found.index, &*found.name, found.prefix), (7, "vEthernet", 20));
        assert_eq!(found.gateway, Some(Ipv4Addr::new(10, 170, 0, 1)));
        assert_eq!(adapter(card(AdapterKind::Ethernet, &["fe80::2"])), None);
        assert_eq!(adapter(card(AdapterKind::Loopback, &["127.0.0.1"])), None);
    }

    #[test]
    fn the_default_route_is_the_one_that_windows_takes() {
        let route = |index, metric| windows::DefaultRoute { index, gateway: None, metric };
        // Its index is 7.
        let cards = [card(AdapterKind::Ethernet, &[])];
        let index = |routes: &[windows::DefaultRoute]| best(routes, &cards).map(|route| route.index);
        assert_eq!(index(&[route(3, 50), route(4, 25), route(5, 25)]), Some(4));
        assert_eq!(index(&[route(7, 0), route(4, 25)]), Some(4));
        assert_eq!(index(&[]), None);
    }

    #[test]
    fn a_version_is_what_the_registry_says_in_numbers_that_are_never_missing() {
        let version = version().expect("every Windows has it");
        version.current_major_version_number.parse::<u32>().expect("a number");
        version.ubr.parse::<u32>().expect("a number");
        version.current_build_number.parse::<u32>().expect("a number");
        assert!(!host_name().is_empty());
    }

    #[tokio::test]
    async fn where_there_is_no_hns_it_is_said_so() {
        match networks().await {
            Ok(networks) => assert!(networks.iter().all(|text| text.starts_with('{')), "{networks:?}"),
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(cause.starts_with("this Windows has no HNS"), "{error}: {cause}");
            }
        }
    }
}
