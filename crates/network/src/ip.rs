//! `ip`: what it answers (JSON of iproute2 6.1) and how it is started.

use std::net::Ipv4Addr;

use serde::{Deserialize, de::DeserializeOwned};
use tokio_util::sync::CancellationToken;
use winstead_process::Command;
use winstead_spec::Subnet;

use crate::{MacAddress, NetworkError, address::network};

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Link {
    pub(crate) ifindex: u32,
    pub(crate) ifname: String,
    pub(crate) ifalias: Option<String>,
    address: Option<String>,
    #[serde(default)]
    flags: Vec<String>,
    pub(crate) master: Option<String>,
    #[serde(default)]
    linkinfo: Option<LinkInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct LinkInfo {
    info_kind: Option<String>,
}

impl Link {
    /// `bridge`, `tun` (taps too), `veth`; `None` for hardware and loopback.
    pub(crate) fn kind(&self) -> Option<&str> {
        self.linkinfo.as_ref()?.info_kind.as_deref()
    }

    pub(crate) fn is_tagged(&self, kind: &str, tag: &str) -> bool {
        self.kind() == Some(kind) && self.ifalias.as_deref() == Some(tag)
    }

    /// Whether it is of this kind and carries nobody's tag.
    pub(crate) fn is_untagged(&self, kind: &str) -> bool {
        self.kind() == Some(kind) && self.ifalias.is_none()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.flags.iter().any(|flag| flag == "UP")
    }

    pub(crate) fn has_address(&self, mac: MacAddress) -> bool {
        self.address.as_deref().and_then(|text| text.parse().ok()) == Some(mac)
    }
}

/// The addresses of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Addresses {
    #[serde(default)]
    pub(crate) addr_info: Vec<Address>,
}

/// An address of an interface.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Address {
    pub(crate) local: Ipv4Addr,
    pub(crate) prefixlen: u8,
}

/// A route. IPv6 ones are among them when all tables are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Route {
    pub(crate) dst: String,
    #[serde(default)]
    pub(crate) dev: String,
}

/// A line of the neighbour table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Neighbour {
    pub(crate) dst: String,
    pub(crate) lladdr: Option<String>,
    #[serde(default)]
    pub(crate) state: Vec<String>,
}

/// The first route that shares an address with the subnet, other than the bridge's own and the default route.
pub(crate) fn overlapping<'a>(routes: &'a [Route], subnet: Subnet, bridge: &str) -> Option<&'a Route> {
    routes.iter().filter(|route| route.dev != bridge).find(|route| {
        let (address, prefix) = route.dst.split_once('/').unwrap_or((&route.dst, "32"));
        let (Ok(address), Ok(prefix)) = (address.parse::<Ipv4Addr>(), prefix.parse::<u32>()) else {
            return false;
        };
        let common = prefix.min(u32::from(subnet.prefix()));
        // A route for everything (as VPNs set in two halves, /1) leaves room for one that is more precise.
        let mask = u32::MAX.checked_shl(32 - common).unwrap_or(0);
        common >= 8 && (u32::from(address) & mask) == (network(subnet) & mask)
    })
}

/// Parses an answer of `ip -j`; nothing at all is an empty list.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<Vec<T>, serde_json::Error> {
    if text.trim().is_empty() { Ok(Vec::new()) } else { serde_json::from_str(text) }
}

/// Asks `ip -j` with these arguments.
pub(crate) async fn ask<T: DeserializeOwned>(
    arguments: &[&str],
    stop: &CancellationToken,
) -> Result<Vec<T>, NetworkError> {
    let command = Command::new("ip").arg("-j").args(arguments);
    let text = command.run(stop).await?.text();
    parse(&text).map_err(|source| NetworkError::Answer { command: command.shown(), source })
}

/// All interfaces.
pub(crate) async fn links(stop: &CancellationToken) -> Result<Vec<Link>, NetworkError> {
    ask(&["-d", "link", "show"], stop).await
}

/// Makes an interface and its tag by one `ip -batch`, which goes on when this process is killed and is not interrupted by
/// anybody, only by its deadline. (The kernel ignores an alias in the request that makes the interface.)
pub(crate) async fn make_tagged(lines: &[String]) -> Result<(), NetworkError> {
    batch(lines, &CancellationToken::new()).await
}

/// Runs these lines by one `ip -batch`.
pub(crate) async fn batch(lines: &[String], stop: &CancellationToken) -> Result<(), NetworkError> {
    if lines.is_empty() {
        return Ok(());
    }
    Command::new("ip").args(["-batch", "-"]).input(lines.join("\n") + "\n").run(stop).await?;
    Ok(())
}

/// Removes an interface; gone already is fine.
pub(crate) async fn delete(name: &str, stop: &CancellationToken) -> Result<(), NetworkError> {
    match Command::new("ip").args(["link", "delete", "dev", name]).run(stop).await {
        Err(error) if error.said.contains("Cannot find device") => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Captured from iproute2 6.1.0 on Linux 6.18, long fields cut out.
    const LINKS: &str = r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"mtu":65536},
        {"ifindex":2,"ifname":"wt0","flags":["BROADCAST","MULTICAST","UP"],"linkinfo":{"info_kind":"bridge",
        "info_data":{"forward_delay":1500}},"ifalias":"winstead abcd1234"},{"ifindex":3,"ifname":"wtabc","master":"wt0",
        "linkinfo":{"info_kind":"tun","info_data":{"type":"tap","pi":false,"user":2013265921},
        "info_slave_kind":"bridge"},"ifalias":"winstead abcd1234"}]"#;
    const ROUTES: &str = r#"[{"dst":"default","gateway":"192.0.2.1","dev":"eth0"},
        {"dst":"10.77.0.0/24","dev":"wt0","protocol":"kernel","scope":"link","prefsrc":"10.77.0.1","flags":[]},
        {"type":"local","dst":"10.77.0.1","dev":"wt0","table":"local","flags":[]},
        {"type":"local","dst":"127.0.0.0/8","dev":"lo","table":"local","flags":[]},
        {"dst":"fe80::/64","dev":"wt0","protocol":"kernel","metric":256,"flags":[],"pref":"medium"},
        {"type":"blackhole","dst":"10.99.0.0/16","flags":[]},{"dst":"0.0.0.0/1","dev":"tun0"}]"#;

    #[test]
    fn links_tell_kind_and_tag() {
        let links: Vec<Link> = parse(LINKS).unwrap();
        assert_eq!(links.iter().map(Link::kind).collect::<Vec<_>>(), [None, Some("bridge"), Some("tun")]);
        assert!(links[1].is_tagged("bridge", "winstead abcd1234"));
        assert!(
            !links[1].is_tagged("bridge", "winstead other")
                && !links[1].is_tagged("tun", "winstead abcd1234")
        );
        assert!(parse::<Link>("").unwrap().is_empty());
        assert!(parse::<Link>("[{").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_answer_panics_us(text in r#"\[\{"(ifname|dst|ifindex)":[\[\]{}":a-z0-9,./]{0,30}\}\]"#) {
            drop((parse::<Link>(&text), parse::<Addresses>(&text), parse::<Neighbour>(&text)));
        }

        #[test]
        fn every_route_into_the_subnet_is_found(second: u8, host: u16, prefix in 16..=32_u32, garbage: String) {
            let subnet = format!("10.{second}.0.0/16").parse().unwrap();
            let route = |dst: String| [Route { dst, dev: "eth0".into() }];
            let inside = Ipv4Addr::from(network(subnet) | u32::from(host));
            let found = |dst| overlapping(&route(dst), subnet, "wt0").is_some();
            let (good, bad) = (format!("{inside}/{prefix}"), format!("{garbage}/{prefix}"));
            proptest::prop_assert!(found(good) && !found(bad));
        }
    }

    #[test]
    fn an_overlapping_route_is_named_and_the_bridges_own_is_not() {
        let routes: Vec<Route> = parse(ROUTES).unwrap();
        let found =
            |subnet: &str, bridge| overlapping(&routes, subnet.parse().unwrap(), bridge).map(|r| &*r.dst);
        assert_eq!(found("10.77.0.0/24", "wt0"), None);
        assert_eq!(found("10.77.0.128/25", "wt1"), Some("10.77.0.0/24"));
        assert_eq!(found("10.64.0.0/10", "wt1"), Some("10.77.0.0/24"));
        assert_eq!(found("10.99.3.0/24", "wt1"), Some("10.99.0.0/16"));
        assert_eq!(found("172.20.0.0/16", "wt1"), None);
    }
}
