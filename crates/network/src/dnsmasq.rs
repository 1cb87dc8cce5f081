//! dnsmasq of an own bridge: its configuration and its folders.

use std::{net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path};

use fs_err as fs;

use crate::{NetworkError, OwnBridge, address};

/// Reserved for private use by ICANN (2024).
const DOMAIN: &str = "winstead.internal";
pub(crate) const DHCP_FOLDER: &str = "hosts.dhcp";
pub(crate) const NAMES_FOLDER: &str = "hosts.names";

/// What the configuration depends on besides the bridge.
pub(crate) struct Host {
    /// Whether the host has name servers to ask.
    pub(crate) upstream: bool,
    /// The user that dnsmasq becomes.
    pub(crate) user: &'static str,
}

/// The configuration. Only reserved machines are served, so that nobody else's machine gets an address here.
pub(crate) fn configuration(bridge: &OwnBridge, host: &Host) -> String {
    let OwnBridge { name, subnet, folder, .. } = bridge;
    let (folder, address) = (folder.display(), address::host(*subnet));
    let network = Ipv4Addr::from(address::network(*subnet));
    let upstream = if host.upstream { "" } else { "no-resolv\n" };
    format!(
        "interface={name}\nexcept-interface=lo\nbind-interfaces\nuser={user}\nlog-facility=-\n\
         no-hosts\n{upstream}domain-needed\nbogus-priv\nexpand-hosts\ndomain={DOMAIN}\nlocal=/{DOMAIN}/\n\
         hostsdir={folder}/{NAMES_FOLDER}\n\
         quiet-dhcp\ndhcp-authoritative\ndhcp-ignore=tag:!known\ndhcp-range={network},static,{mask},12h\ndhcp-option=3,{address}\ndhcp-option=6,{address}\n\
         dhcp-hostsdir={folder}/{DHCP_FOLDER}\ndhcp-leasefile={folder}/leases\n",
        user = host.user,
        mask = subnet.netmask(),
    )
}

/// What this host has for dnsmasq.
pub(crate) fn observe_host() -> Host {
    let resolv = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let own_user = users.lines().any(|line| line.starts_with("dnsmasq:"));
    let upstream = resolv.lines().any(|line| line.trim_start().starts_with("nameserver"));
    Host { upstream, user: if own_user { "dnsmasq" } else { "nobody" } }
}

/// Makes the network's folders; dnsmasq's own user reads them.
pub(crate) fn make_folders(folder: &Path) -> Result<(), NetworkError> {
    let text = folder.to_str().filter(|text| !text.contains(['\n', ',', '"', '\\', '#', ' ']));
    text.ok_or_else(|| NetworkError::Folder(folder.to_owned()))?;
    for (name, mode) in [("", 0o711), (DHCP_FOLDER, 0o755), (NAMES_FOLDER, 0o755)] {
        let path = folder.join(name);
        fs::create_dir_all(&path)?;
        fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// dnsmasq opens these folders after it has become another user, and serves on without a word when it cannot.
///
/// # Errors
/// [`NetworkError::Closed`] names the first folder that only its owner may pass.
pub(crate) fn refuse_closed(folder: &Path) -> Result<(), NetworkError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let closed =
        |above: &&Path| fs::metadata(above).is_ok_and(|found| found.permissions().mode() & 0o001 == 0);
    match folder.ancestors().find(closed) {
        Some(closed) => Err(NetworkError::Closed { folder: folder.to_owned(), closed: closed.to_owned() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bridge(folder: &Path) -> OwnBridge {
        let subnet = "10.77.0.0/24".parse().unwrap();
        OwnBridge { name: "wt0".into(), subnet, folder: folder.into(), tag: "winstead abcd1234".into() }
    }

    #[test]
    fn the_configuration_of_a_bridge() {
        let host = Host { upstream: false, user: "dnsmasq" };
        insta::assert_snapshot!(configuration(&bridge(Path::new("/networks/wt0")), &host));
        let host = Host { upstream: true, ..host };
        assert!(!configuration(&bridge(Path::new("/n")), &host).contains("no-resolv"));
    }
}
