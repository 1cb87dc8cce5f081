//! Which address a machine got on a bridge that somebody else looks after.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    MacAddress, NetworkError,
    ip::{Neighbour, ask},
};

/// Where Debian's dnsmasq keeps its leases.
const DNSMASQ_LEASES: &str = "/var/lib/misc/dnsmasq.leases";

/// The IPv4 addresses of all machines that the host knows on this bridge: from its neighbour table, else from the
/// leases of libvirt, else from those of the host's own dnsmasq. Of two neighbours with one Ethernet address, the one
/// that was confirmed counts: the other is what the machine had before.
///
/// # Errors
/// When `ip` cannot be asked, as for a bridge that is not there. Missing lease files are no error.
pub async fn addresses_on(
    bridge: &str,
    stop: &CancellationToken,
) -> Result<BTreeMap<MacAddress, Ipv4Addr>, NetworkError> {
    let neighbours = ask(&["neigh", "show", "dev", bridge], stop).await?;
    // Not readable without root: then they simply say nothing.
    let status =
        fs_err::read_to_string(format!("/var/lib/libvirt/dnsmasq/{bridge}.status")).unwrap_or_default();
    let leases = fs_err::read_to_string(DNSMASQ_LEASES).unwrap_or_default();
    // The later ones are trusted more.
    let all = [in_leases(&leases), in_libvirt_status(&status), in_neighbours(&neighbours)];
    Ok(all.into_iter().flatten().collect())
}

/// The address of the machine with this Ethernet address on this bridge, as [`addresses_on`] finds it.
///
/// # Errors
/// As [`addresses_on`].
pub async fn address_of(
    bridge: &str,
    mac: MacAddress,
    stop: &CancellationToken,
) -> Result<Option<Ipv4Addr>, NetworkError> {
    Ok(addresses_on(bridge, stop).await?.get(&mac).copied())
}

/// Those that are confirmed come last.
fn in_neighbours(neighbours: &[Neighbour]) -> Vec<(MacAddress, Ipv4Addr)> {
    let is = |line: &&Neighbour, states: &[&str]| line.state.iter().any(|state| states.contains(&&**state));
    let usable = neighbours.iter().filter(|line| !is(line, &["FAILED", "INCOMPLETE"]));
    let (old, confirmed): (Vec<_>, Vec<_>) = usable.partition(|line| is(line, &["STALE"]));
    let pair = |line: &Neighbour| Some((line.lladdr.as_deref()?.parse().ok()?, line.dst.parse().ok()?));
    old.into_iter().chain(confirmed).filter_map(pair).collect()
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LibvirtLease {
    ip_address: Option<String>,
    mac_address: Option<String>,
}

/// libvirt 9's `/var/lib/libvirt/dnsmasq/BRIDGE.status`; the last entry is the newest.
fn in_libvirt_status(text: &str) -> Vec<(MacAddress, Ipv4Addr)> {
    let leases: Vec<LibvirtLease> = serde_json::from_str(text).unwrap_or_default();
    let pair =
        |lease: LibvirtLease| Some((lease.mac_address?.parse().ok()?, lease.ip_address?.parse().ok()?));
    leases.into_iter().filter_map(pair).collect()
}

/// dnsmasq's lease file: `EXPIRY MAC ADDRESS NAME CLIENT`.
fn in_leases(text: &str) -> Vec<(MacAddress, Ipv4Addr)> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines.filter_map(|fields| Some((fields.get(1)?.parse().ok()?, fields.get(2)?.parse().ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_each_place() {
        let mac: MacAddress = "52:54:00:01:02:03".parse().unwrap();
        // Captured from iproute2 6.1.0; the FAILED line has no lladdr there.
        let neighbours = r#"[{"dst":"10.77.0.9","state":["FAILED"]},{"dst":"fe80::1","lladdr":"52:54:00:01:02:03",
            "state":["STALE"]},{"dst":"10.77.0.5","lladdr":"52:54:00:01:02:03","state":["PERMANENT"]},
            {"dst":"10.77.0.4","lladdr":"52:54:00:01:02:03","state":["STALE"]}]"#;
        let five = [(mac, Ipv4Addr::new(10, 77, 0, 5))];
        let found: BTreeMap<_, _> =
            in_neighbours(&crate::ip::parse(neighbours).unwrap()).into_iter().collect();
        assert_eq!(found, five.into());
        let status = r#"[{"ip-address":"10.77.0.5","mac-address":"52:54:00:01:02:03","expiry-time":1}]"#;
        assert_eq!((in_libvirt_status(status), in_libvirt_status("")), (five.to_vec(), vec![]));
        let leases = "1763722000 52:54:00:01:02:03 10.77.0.5 one *\nduid 00:01\n";
        assert_eq!((in_leases(leases), in_leases("garbage")), (five.to_vec(), vec![]));
    }
}
