//! Own bridges: made, healed and taken away as a whole.

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    NetworkError, OwnBridge, address, dnsmasq, forwarding,
    ip::{self, Addresses, Link, Route},
    nat, programs, server,
};

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

/// Makes the bridge with its address, NAT, DHCP and names; what is there is kept, what is missing is made. Returns what
/// the user should know when it was made anew: why guests may not reach the outside.
///
/// # Errors
/// When an interface of that name is not ours, the host has a route into the subnet, rights or programs are
/// missing, or dnsmasq does not start. What was made until then is tagged and taken away by [`remove_bridge`].
///
/// Cancel safety: may be dropped or cancelled anywhere and called again.
pub async fn ensure_bridge(
    bridge: &OwnBridge,
    stop: &CancellationToken,
) -> Result<Option<String>, NetworkError> {
    programs::require(stop).await?;
    dnsmasq::make_folders(&bridge.folder)?;
    dnsmasq::refuse_closed(&bridge.folder)?;
    let there = find(bridge, stop).await?;
    refuse_overlap(bridge, stop).await?;
    ip::make_tagged(&making(bridge, there.as_ref())).await?;
    let address = format!("{}/{}", address::host(bridge.subnet), bridge.subnet.prefix());
    let lines = [
        format!("address replace {address} dev {}", bridge.name),
        format!("link set dev {} address {} up", bridge.name, bridge.mac()),
    ];
    ip::batch(&lines, stop).await?;
    ip::batch(&outdated(&bridge.name, &address, stop).await?, stop).await?;
    let Some(link) = find(bridge, stop).await? else {
        return Err(NetworkError::Foreign { name: bridge.name.clone() });
    };
    nat::apply(bridge, stop).await?;
    server::ensure(bridge, link.ifindex, stop).await?;
    forwarding::enable(&bridge.folder, &ip::links(stop).await?)?;
    if there.is_some() { Ok(None) } else { nat::dropped_elsewhere(&bridge.name, stop).await }
}

/// Commands that make the bridge with its tag, as far as that is not done.
fn making(bridge: &OwnBridge, there: Option<&Link>) -> Vec<String> {
    let OwnBridge { name, tag, .. } = bridge;
    let add = there.is_none().then(|| format!("link add name {name} address {} type bridge", bridge.mac()));
    let tagged = there.is_some_and(|link| link.is_tagged("bridge", tag));
    let tag = (!tagged).then(|| format!("link set dev {name} alias \"{tag}\""));
    add.into_iter().chain(tag).collect()
}

/// Takes away the bridge, its NAT, its dnsmasq and its folder; what is gone already is fine, and what only a program that
/// is not installed could have made is not there. An interface or table of that name that is not ours stays, with a warning.
///
/// # Errors
/// When rights are missing or the kernel refuses.
pub async fn remove_bridge(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    server::end(bridge).await?;
    match programs::unless_missing(find(bridge, stop).await) {
        Ok(Some(_)) => ip::delete(&bridge.name, stop).await?,
        Ok(None) => {}
        Err(NetworkError::Foreign { name }) => tracing::warn!(name, "left alone: the interface is not ours"),
        Err(error) => return Err(error),
    }
    // After the link: as long as guests can send, they are held back.
    programs::unless_missing(nat::remove(bridge, stop).await)?;
    let links = programs::unless_missing(ip::links(stop).await)?;
    let others = links.into_iter().filter(|link| link.ifname != bridge.name).collect::<Vec<_>>();
    let beside = |other: &Link| bridge.folder.parent().map(|networks| networks.join(&other.ifname));
    let bridges = others.iter().filter(|other| other.is_tagged("bridge", &bridge.tag));
    let heir = bridges.filter_map(beside).find(|folder| folder.is_dir());
    forwarding::restore(&bridge.folder, heir.as_deref(), &others)?;
    match fs::remove_dir_all(&bridge.folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
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

/// Our bridge if it is there, also one whose maker was killed before it could tag it; an interface of its name that is
/// not ours is an error.
async fn find(bridge: &OwnBridge, stop: &CancellationToken) -> Result<Option<Link>, NetworkError> {
    let link = ip::links(stop).await?.into_iter().find(|link| link.ifname == bridge.name);
    let ours = |link: &Link| {
        link.is_tagged("bridge", &bridge.tag) || link.is_untagged("bridge") && link.has_address(bridge.mac())
    };
    if !link.as_ref().is_none_or(ours) {
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
