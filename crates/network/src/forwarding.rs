//! The host's IPv4 forwarding: switched on only if it is off, and back when the last bridge goes and nobody else can need
//! it.

use std::{io, path::Path};

use fs_err as fs;

use crate::ip::Link;

const SWITCH: &str = "/proc/sys/net/ipv4/ip_forward";
/// In the network's folder while we are the ones who switched it on.
const RECORD: &str = "ip_forward.was_off";

/// Switches forwarding on, recording first that it was off
/// and what was there then: none of that needed it.
pub(crate) fn enable(folder: &Path, links: &[Link]) -> io::Result<()> {
    if fs::read_to_string(SWITCH)?.trim() != "0" {
        return Ok(());
    }
    tracing::info!("IPv4 forwarding was off on this host; it is on until the last bridge is removed");
    let names: Vec<&str> = links.iter().map(|link| link.ifname.as_str()).collect();
    fs::write(folder.join(RECORD), names.join("\n"))?;
    fs::write(SWITCH, "1")
}

/// Switches forwarding off again if we switched it on; `heir` is the folder of another bridge of ours that needs it, and
/// `others` are the interfaces that stay.
pub(crate) fn restore(folder: &Path, heir: Option<&Path>, others: &[Link]) -> io::Result<()> {
    let record = folder.join(RECORD);
    if !record.exists() {
        return Ok(());
    }
    let before = fs::read_to_string(&record)?;
    let is_new = |link: &&Link| !before.lines().any(|name| name == link.ifname);
    match (heir, others.iter().filter(is_new).find(|link| may_forward(link))) {
        (Some(heir), _) => fs::write(heir.join(RECORD), before)?,
        (None, Some(Link { ifname, .. })) => {
            tracing::warn!("IPv4 forwarding was off before; it stays on, because {ifname} may need it now");
        }
        (None, None) => fs::write(SWITCH, "0")?,
    }
    fs::remove_file(record)
}

/// Whether somebody else's traffic may be forwarded there: machines of another home, containers, virtual machines, VPNs.
fn may_forward(link: &Link) -> bool {
    let ours = link.ifalias.as_deref().is_some_and(|alias| alias.starts_with("winstead "));
    link.is_up()
        && (ours
            || link.kind().is_some_and(|kind| {
                ["bridge", "veth", "tun", "wireguard", "macvlan", "ipvlan"].contains(&kind)
            }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_may_forward_through_keeps_it_on() {
        let link = |kind: &str, alias: &str| {
            let text = format!(r#"{{"ifindex":1,"ifname":"x","flags":["UP"],"linkinfo":{{{kind}}}{alias}}}"#);
            serde_json::from_str::<Link>(&text).unwrap()
        };
        for (kind, alias, needs) in [
            ("", "", false),
            (r#""info_kind":"dummy""#, "", false),
            (r#""info_kind":"dummy""#, r#","ifalias":"winstead 01234567""#, true),
            (r#""info_kind":"bridge""#, "", true),
            (r#""info_kind":"wireguard""#, "", true),
        ] {
            assert_eq!(may_forward(&link(kind, alias)), needs, "{kind} {alias}");
        }
    }
}
