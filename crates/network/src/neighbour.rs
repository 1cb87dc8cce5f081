//! Which address a machine got on a bridge that somebody else looks after.

use std::net::Ipv4Addr;

use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use crate::{
    MacAddress, NetworkError,
    ip::{Neighbour, ask},
};

/// Where Debian's dnsmasq keeps its leases.
const DNSMASQ_LEASES: &str = "/var/lib/misc/dnsmasq.leases";

/// The IPv4 address of the machine with this Ethernet address on this bridge, if the host knows one: from its
/// neighbour table, else from the leases of libvirt, else from those of the host's own dnsmasq.
///
/// # Errors
/// When `ip` cannot be asked, as for a bridge that is not there. Missing lease files are no error.
pub async fn address_of(
    bridge: &str,
    mac: MacAddress,
    stop: &CancellationToken,
) -> Result<Option<Ipv4Addr>, NetworkError> {
    let neighbours = ask(&["neigh", "show", "dev", bridge], stop).await?;
    if let Some(address) = in_neighbours(&neighbours, mac) {
        return Ok(Some(address));
    }
    // Not readable without root: then they simply say nothing.
    let status =
        fs_err::read_to_string(format!("/var/lib/libvirt/dnsmasq/{bridge}.status")).unwrap_or_default();
    let leases = fs_err::read_to_string(DNSMASQ_LEASES).unwrap_or_default();
    Ok(in_libvirt_status(&status, mac).or_else(|| in_leases(&leases, mac)))
}

fn in_neighbours(neighbours: &[Neighbour], mac: MacAddress) -> Option<Ipv4Addr> {
    let usable = |line: &&Neighbour| {
        let gone = line.state.iter().any(|state| state == "FAILED" || state == "INCOMPLETE");
        !gone && line.lladdr.as_deref().and_then(|text| text.parse().ok()) == Some(mac)
    };
    neighbours.iter().filter(usable).find_map(|line| line.dst.parse().ok())
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LibvirtLease {
    ip_address: Option<String>,
    mac_address: Option<String>,
}

/// libvirt 9's `/var/lib/libvirt/dnsmasq/BRIDGE.status`; the last entry is the newest.
fn in_libvirt_status(text: &str, mac: MacAddress) -> Option<Ipv4Addr> {
    let leases: Vec<LibvirtLease> = serde_json::from_str(text).ok()?;
    let ours =
        |lease: &&LibvirtLease| lease.mac_address.as_deref().and_then(|text| text.parse().ok()) == Some(mac);
    leases.iter().rev().filter(ours).find_map(|lease| lease.ip_address.as_ref()?.parse().ok())
}

/// dnsmasq's lease file: `EXPIRY MAC ADDRESS NAME CLIENT`.
fn in_leases(text: &str, mac: MacAddress) -> Option<Ipv4Addr> {
    let lines = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = lines.filter(|fields| fields.get(1).and_then(|text| text.parse().ok()) == Some(mac));
    ours.rev().find_map(|fields| fields.get(2)?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_each_place() {
        let mac: MacAddress = "52:54:00:01:02:03".parse().unwrap();
        // Captured from iproute2 6.1.0; the FAILED line has no lladdr there.
        let neighbours = r#"[{"dst":"10.77.0.9","state":["FAILED"]},{"dst":"fe80::1","lladdr":"52:54:00:01:02:03",
            "state":["STALE"]},{"dst":"10.77.0.5","lladdr":"52:54:00:01:02:03","state":["PERMANENT"]}]"#;
        let five = Some(Ipv4Addr::new(10, 77, 0, 5));
        assert_eq!(in_neighbours(&crate::ip::parse(neighbours).unwrap(), mac), five);
        let status = r#"[{"ip-address":"10.77.0.5","mac-address":"52:54:00:01:02:03","expiry-time":1}]"#;
        assert_eq!((in_libvirt_status(status, mac), in_libvirt_status("", mac)), (five, None));
        let leases = "1763722000 52:54:00:01:02:03 10.77.0.5 one *\nduid 00:01\n";
        assert_eq!((in_leases(leases, mac), in_leases("garbage", mac)), (five, None));
    }
}
