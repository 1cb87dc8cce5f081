//! A machine's reservations: files in the folders that dnsmasq watches.
//!
//! Each machine has two, named like it: `hosts.dhcp/NAME` (reservation) and `hosts.names/NAME` (its name, also for guests
//! that never ask DHCP). dnsmasq sees new files by itself; changed and removed ones on SIGHUP.

use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{
    MacAddress, NetworkError, OwnBridge, address,
    dnsmasq::{DHCP_FOLDER, NAMES_FOLDER, make_folders},
    server,
};

/// A machine's fixed place in a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// Who gets it.
    pub mac: MacAddress,
    /// The address.
    pub address: Ipv4Addr,
    /// The machine's name; other machines find it by this name.
    pub name: String,
}

/// Reserves an address and a name; the same again changes nothing, another for the same name replaces it.
///
/// # Errors
/// When the name or address cannot be used, or files cannot be written.
pub async fn add_lease(
    bridge: &OwnBridge,
    lease: &Lease,
    stop: &CancellationToken,
) -> Result<(), NetworkError> {
    let Lease { mac, address, name } = lease;
    if !is_host_name(name) || !address::is_machine_address(bridge.subnet, *address) {
        let (name, address, subnet) = (name.clone(), *address, bridge.subnet);
        return Err(NetworkError::Lease { name, address, subnet });
    }
    make_folders(&bridge.folder)?;
    // A name first: whoever has the address can be found.
    let names = format!("{address} {name}\n");
    let changed = write(&bridge.folder.join(NAMES_FOLDER).join(name), &names)?;
    let dhcp = format!("{mac},{address},{name}\n");
    if write(&bridge.folder.join(DHCP_FOLDER).join(name), &dhcp)? || changed {
        server::reread(bridge)?;
    }
    let stale = |held: &str, by: &str| held == address.to_string() && by != mac.to_string();
    server::forget(bridge, stale, stop).await
}

/// Gives a machine's address and name back; gone already is fine.
///
/// # Errors
/// When files cannot be removed.
pub async fn remove_lease(
    bridge: &OwnBridge,
    name: &str,
    stop: &CancellationToken,
) -> Result<(), NetworkError> {
    if !is_host_name(name) {
        return Ok(());
    }
    let reserved = fs::read_to_string(bridge.folder.join(DHCP_FOLDER).join(name)).unwrap_or_default();
    let address = reserved.split(',').nth(1).unwrap_or_default().to_owned();
    let mut removed = false;
    for folder in [DHCP_FOLDER, NAMES_FOLDER] {
        match fs::remove_file(bridge.folder.join(folder).join(name)) {
            Ok(()) => removed = true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    if removed {
        server::reread(bridge)?;
    }
    server::forget(bridge, |held, _| held == address, stop).await
}

/// Writes a file as a whole unless it says so already; whether it replaced another text. The new text comes from
/// a file beside the watched folder: dnsmasq must never read half a line.
fn write(path: &Path, text: &str) -> Result<bool, NetworkError> {
    let old = fs::read_to_string(path).ok();
    if old.as_deref() == Some(text) {
        return Ok(false);
    }
    let folder = path.parent().unwrap_or(path);
    let mut new = folder.as_os_str().to_owned();
    new.push(".");
    new.push(path.file_name().unwrap_or_default());
    fs::write(&new, text)?;
    fs::set_permissions(&new, std::fs::Permissions::from_mode(0o644))?;
    fs::rename(&new, path)?;
    Ok(old.is_some())
}

fn is_host_name(name: &str) -> bool {
    let letters = name.bytes().all(|letter| letter.is_ascii_alphanumeric() || letter == b'-');
    (1..=63).contains(&name.len()) && letters && !name.starts_with('-') && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_is_two_files_and_names_that_are_none_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let subnet = "10.77.0.0/24".parse().unwrap();
        let bridge = OwnBridge {
            name: "wt0".into(),
            subnet,
            folder: folder.path().into(),
            tag: "winstead abcd1234".into(),
        };
        let stop = CancellationToken::new();
        let mac = MacAddress::of(&[1; 16]);
        let mut lease = Lease { mac, address: Ipv4Addr::new(10, 77, 0, 5), name: "agents-0".into() };
        for _ in 0..2 {
            add_lease(&bridge, &lease, &stop).await.unwrap();
        }
        let dhcp = fs::read_to_string(folder.path().join("hosts.dhcp/agents-0")).unwrap();
        assert_eq!(dhcp, format!("{mac},10.77.0.5,agents-0\n"));
        for _ in 0..2 {
            remove_lease(&bridge, "agents-0", &stop).await.unwrap();
        }
        assert_eq!(fs::read_dir(folder.path().join("hosts.names")).unwrap().count(), 0);
        lease.name = "../x".into();
        assert!(add_lease(&bridge, &lease, &stop).await.is_err());
        lease = Lease { name: "x".into(), address: Ipv4Addr::new(10, 77, 0, 1), ..lease };
        assert!(add_lease(&bridge, &lease, &stop).await.is_err());
    }
}
