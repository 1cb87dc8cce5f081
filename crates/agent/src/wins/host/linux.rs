//! Linux: `/proc` and `ip -j`.

use std::net::Ipv4Addr;

use fs_err as fs;
use serde::{Deserialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use winstead_process::Command;
use winstead_protocol::wins::HostVersion;

use super::{Adapter, DefaultRoute, HostError};

/// Who is asked.
const IP: &str = "`ip`";

#[derive(Deserialize)]
struct Link {
    ifindex: u32,
    ifname: String,
    #[serde(default)]
    link_type: String,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Deserialize)]
struct Address {
    local: Ipv4Addr,
    prefixlen: u8,
}

#[derive(Deserialize)]
struct Route {
    dev: String,
    gateway: Option<Ipv4Addr>,
}

/// Ethernet adapters with an IPv4 address.
pub(crate) async fn adapters() -> Result<Vec<Adapter>, HostError> {
    let links: Vec<Link> = ask(&["-4", "address", "show"]).await?;
    let routes: Vec<Route> = ask(&["-4", "route", "show", "default"]).await?;
    Ok(links.into_iter().filter_map(|link| adapter(link, &routes)).collect())
}

fn adapter(link: Link, routes: &[Route]) -> Option<Adapter> {
    let address = link.addr_info.first().filter(|_| link.link_type == "ether")?;
    let gateway = routes.iter().find(|route| route.dev == link.ifname).and_then(|route| route.gateway);
    let (address, prefix) = (address.local, address.prefixlen);
    Some(Adapter { index: link.ifindex, name: link.ifname, address, prefix, gateway })
}

/// The first default route.
pub(crate) async fn default_route() -> Result<Option<DefaultRoute>, HostError> {
    let routes: Vec<Route> = ask(&["-4", "route", "show", "default"]).await?;
    let Some(route) = routes.into_iter().next() else { return Ok(None) };
    let links: Vec<Link> = ask(&["link", "show", "dev", &route.dev]).await?;
    Ok(links.first().map(|link| DefaultRoute { index: link.ifindex, gateway: route.gateway }))
}

/// Adds a route that goes where the default route goes; one that is there already is replaced by itself.
pub(crate) async fn add_route(to: (Ipv4Addr, u8), route: &DefaultRoute) -> Result<(), HostError> {
    let network = format!("{}/{}", to.0, to.1);
    let links: Vec<Link> = ask(&["link", "show"]).await?;
    let device = links.into_iter().find(|link| link.ifindex == route.index);
    let device = device.ok_or(std::io::ErrorKind::NotFound).map_err(std::io::Error::from);
    let device = device.map_err(HostError::from(IP))?.ifname;
    let gateway = route.gateway.map(|gateway| gateway.to_string());
    let via = gateway.iter().flat_map(|gateway| ["via", gateway]);
    let arguments: Vec<&str> =
        ["-4", "route", "replace", &network].into_iter().chain(via).chain(["dev", &device]).collect();
    let ran = Command::new("ip").args(&arguments).run(&CancellationToken::new()).await;
    ran.map(drop).map_err(HostError::from(IP))
}

/// There are none on Linux, and no made-up answer for them.
pub(crate) async fn networks() -> Result<Vec<String>, HostError> {
    Err(HostError::from("HNS")("only Windows has it"))
}

/// What this computer calls itself.
pub(crate) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The kernel in the places of Windows' version.
pub(crate) fn version() -> Result<HostVersion, HostError> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").map_err(HostError::from("the kernel"))?;
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    Ok(told(release.trim(), &system))
}

fn told(release: &str, system: &str) -> HostVersion {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next().filter(|number| !number.is_empty()).unwrap_or("0").to_owned();
    let (major, minor, patch) = (number(), number(), number());
    let id = system.lines().find_map(|line| line.strip_prefix("VERSION_ID=")).unwrap_or_default();
    HostVersion {
        current_major_version_number: major,
        current_minor_version_number: minor,
        current_build_number: patch.clone(),
        ubr: "0".to_owned(),
        release_id: id.trim_matches('"').to_owned(),
        build_lab_ex: release.to_owned(),
        current_build: patch,
    }
}

async fn ask<T: DeserializeOwned>(arguments: &[&str]) -> Result<Vec<T>, HostError> {
    let said = Command::new("ip").arg("-j").args(arguments).run(&CancellationToken::new()).await;
    let text = said.map_err(HostError::from(IP))?.text();
    read(&text).map_err(HostError::from(IP))
}

/// Nothing at all is an empty list. `ip -4` leaves empty objects for links without addresses.
fn read<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, serde_json::Error> {
    let values: Vec<serde_json::Value> =
        if text.trim().is_empty() { vec![] } else { serde_json::from_str(text)? };
    let whole = values.into_iter().filter(|value| value.as_object().is_some_and(|object| !object.is_empty()));
    whole.map(serde_json::from_value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_release_stands_where_windows_version_does() {
        let version = told("6.12.48+deb13-amd64", "ID=debian\nVERSION_ID=\"13\"\n");
        assert_eq!((&*version.current_major_version_number, &*version.current_build), ("6", "48"));
        assert_eq!(version.release_id, "13");
        assert_eq!(told("", "").current_major_version_number, "0");
    }

    #[test]
    fn only_ethernet_with_an_address_is_an_adapter() {
        // iproute2 6.15, shortened.
        let links = r#"[{"ifindex":1,"ifname":"lo","link_type":"loopback","addr_info":[{"local":"127.0.0.1","prefixlen":8}]},
            {"ifindex":2,"ifname":"eth0","link_type":"ether","addr_info":[{"local":"10.0.0.5","prefixlen":24}]},
            {"ifindex":3,"ifname":"eth1","link_type":"ether","addr_info":[]}]"#;
        let links: Vec<Link> = serde_json::from_str(links).expect("JSON");
        let routes: Vec<Route> =
            serde_json::from_str(r#"[{"dst":"default","gateway":"10.0.0.1","dev":"eth0","flags":[]}]"#)
                .expect("JSON");
        let adapters: Vec<_> = links.into_iter().filter_map(|link| adapter(link, &routes)).collect();
        let gateway = Some(Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(adapters.iter().map(|a| (a.index, a.gateway)).collect::<Vec<_>>(), [(2, gateway)]);
    }
}
