//! Own bridges: made, healed and taken away as a whole.

use std::path::PathBuf;

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use winstead_process::Command;
use winstead_spec::Subnet;

use crate::{
    MacAddress, NetworkError, address, dnsmasq, forwarding,
    ip::{self, Addresses, Link, Route},
    nat, server,
};

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

/// What kind of interface of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum OwnedKind {
    /// A bridge.
    Bridge,
    /// A tap.
    Tap,
}

/// An interface that carries our tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Owned {
    /// What it is.
    pub kind: OwnedKind,
    /// Its name.
    pub name: String,
}

/// Makes the bridge with its address, NAT, DHCP and names; what is there is kept, what is missing is made.
///
/// # Errors
/// When an interface of that name is not ours, the host has a route into the subnet, rights or programs are
/// missing, or dnsmasq does not start. What was made until then is tagged and taken away by [`remove_bridge`].
///
/// Cancel safety: may be dropped or cancelled anywhere and called again.
pub async fn ensure_bridge(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    let made = match find(bridge, stop).await? {
        Some(_) => Vec::new(),
        None => vec![
            format!("link add name {} type bridge", bridge.name),
            format!("link set dev {} alias \"{}\"", bridge.name, bridge.tag),
        ],
    };
    refuse_overlap(bridge, stop).await?;
    let mut lines = made;
    let address = format!("{}/{}", address::host(bridge.subnet), bridge.subnet.prefix());
    lines.push(format!("address replace {address} dev {}", bridge.name));
    let mac = MacAddress::of_interface(&bridge.tag, &bridge.name);
    lines.push(format!("link set dev {} address {mac} up", bridge.name));
    ip::batch(&lines, stop).await?;
    ip::batch(&outdated(&bridge.name, &address, stop).await?, stop).await?;
    let Some(link) = find(bridge, stop).await? else {
        return Err(NetworkError::Foreign { name: bridge.name.clone() });
    };
    dnsmasq::make_folders(&bridge.folder)?;
    nat::apply(bridge, stop).await?;
    server::ensure(bridge, link.ifindex, stop).await?;
    Ok(forwarding::enable(&bridge.folder)?)
}

/// Takes away the bridge, its NAT, its dnsmasq and its folder; what is gone already is fine. An interface of that
/// name that is not ours stays, with a warning.
///
/// # Errors
/// When rights are missing or the kernel refuses.
pub async fn remove_bridge(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    server::end(bridge).await?;
    match find(bridge, stop).await {
        Ok(link) => {
            nat::remove(bridge, stop).await?;
            if link.is_some() {
                ip::delete(&bridge.name, stop).await?;
            }
        }
        Err(NetworkError::Foreign { name }) => tracing::warn!(name, "left alone: the interface is not ours"),
        Err(error) => return Err(error),
    }
    let others = presence(&bridge.tag, stop).await?;
    let beside = |other: &Owned| bridge.folder.parent().map(|networks| networks.join(&other.name));
    let bridges = others.iter().filter(|other| other.kind == OwnedKind::Bridge && other.name != bridge.name);
    let heir = bridges.filter_map(beside).find(|folder| folder.is_dir());
    forwarding::restore(&bridge.folder, heir.as_deref())?;
    match fs::remove_dir_all(&bridge.folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Whether there is a bridge of this name, ours or not.
pub async fn bridge_exists(name: &str) -> bool {
    // Not /sys/class/net: that shows the network namespace it was mounted in, which need not be this one.
    let links = Command::new("ip").args(["-j", "-d", "link", "show", "dev", name]);
    let answer = links.run(&CancellationToken::new()).await.map(|output| output.text());
    let links: Vec<Link> = answer.ok().and_then(|text| ip::parse(&text).ok()).unwrap_or_default();
    links.iter().any(|link| link.kind() == Some("bridge"))
}

/// The interfaces that carry this tag.
///
/// # Errors
/// When `ip` cannot be asked.
pub async fn presence(tag: &str, stop: &CancellationToken) -> Result<Vec<Owned>, NetworkError> {
    let links = ip::links(stop).await?;
    let owned = links.into_iter().filter_map(|link| {
        let kind = match link.kind() {
            Some("bridge") => OwnedKind::Bridge,
            Some("tun") => OwnedKind::Tap,
            _ => return None,
        };
        (link.ifalias.as_deref() == Some(tag)).then_some(Owned { kind, name: link.ifname })
    });
    Ok(owned.collect())
}

/// Our bridge if it is there; an interface of its name that is not ours is an error.
async fn find(bridge: &OwnBridge, stop: &CancellationToken) -> Result<Option<Link>, NetworkError> {
    let link = ip::links(stop).await?.into_iter().find(|link| link.ifname == bridge.name);
    if link.as_ref().is_some_and(|link| !link.is_tagged("bridge", &bridge.tag)) {
        return Err(NetworkError::Foreign { name: bridge.name.clone() });
    }
    Ok(link)
}

/// Commands that take away all IPv4 addresses of the bridge but this one: it had another subnet before.
async fn outdated(
    bridge: &str,
    address: &str,
    stop: &CancellationToken,
) -> Result<Vec<String>, NetworkError> {
    let links: Vec<Addresses> = ip::ask(&["-4", "address", "show", "dev", bridge], stop).await?;
    let all = links.iter().flat_map(|link| &link.addr_info);
    let all = all.map(|other| format!("{}/{}", other.local, other.prefixlen));
    let others = all.filter(|other| other != address);
    Ok(others.map(|other| format!("address delete {other} dev {bridge}")).collect())
}

async fn refuse_overlap(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    let routes: Vec<Route> = ip::ask(&["route", "show", "table", "all"], stop).await?;
    let Some(route) = ip::overlapping(&routes, bridge.subnet, &bridge.name) else { return Ok(()) };
    let (route, device) = (route.dst.clone(), route.dev.clone());
    Err(NetworkError::Overlap { bridge: bridge.name.clone(), subnet: bridge.subnet, route, device })
}
