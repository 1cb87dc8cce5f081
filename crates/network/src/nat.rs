//! NAT and the guests' limits towards the host: one nftables table per bridge.
//!
//! Other tables still have their say: nftables asks every table, so a host whose own rules drop forwarded traffic
//! (Docker's do) needs a rule there.

use tokio_util::sync::CancellationToken;
use winstead_process::Command;

use crate::{NetworkError, OwnBridge};

/// The table's name: never a keyword of nft because of its prefix, and of letters that nft takes unquoted.
pub(crate) fn table_name(bridge: &str) -> String {
    let letters = bridge.chars().map(|letter| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_string(),
        other => format!("_{:x}_", u32::from(other)),
    });
    format!("winstead_{}", letters.collect::<String>())
}

/// The table as nft reads it: the old one, if any, is replaced in the same transaction.
pub(crate) fn ruleset(bridge: &OwnBridge) -> String {
    let OwnBridge { name, subnet, tag, .. } = bridge;
    let table = table_name(name);
    format!(
        r#"table inet {table}
delete table inet {table}
table inet {table} {{
    comment "{tag}"
    chain from_guests_to_host {{
        type filter hook input priority filter; policy accept;
        iifname != "{name}" accept
        ct state established,related accept
        udp dport {{ 53, 67 }} accept
        tcp dport 53 accept
        icmp type echo-request accept
        icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit }} accept
        meta l4proto tcp reject with tcp reset
        reject
    }}
    chain through_host {{
        type filter hook forward priority filter; policy accept;
        iifname "{name}" oifname "{name}" accept
        iifname "{name}" ip saddr != {subnet} drop
        iifname "{name}" meta nfproto ipv6 drop
        iifname "{name}" accept
        oifname "{name}" ct state established,related accept
        oifname "{name}" reject
    }}
    chain to_outside {{
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr {subnet} ip daddr != {subnet} oifname != "{name}" masquerade
    }}
}}
"#
    )
}

/// In the network's folder since before the table was made.
const RECORD: &str = "nftables";

/// Puts the table in place, whatever was there. The network's folder has to be there.
pub(crate) async fn apply(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    fs_err::write(bridge.folder.join(RECORD), table_name(&bridge.name))?;
    Command::new("nft").args(["-f", "-"]).input(ruleset(bridge)).run(stop).await?;
    Ok(())
}

/// Removes the table; gone already is fine. Whoever has no right to look, and never made one, has none to remove.
pub(crate) async fn remove(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    let table = table_name(&bridge.name);
    let script = format!("table inet {table}\ndelete table inet {table}\n");
    let removed = Command::new("nft").args(["-f", "-"]).input(script).run(stop).await;
    match removed.map_err(NetworkError::from) {
        Err(NetworkError::NoRights(_)) if !bridge.folder.join(RECORD).exists() => Ok(()),
        Err(error) => Err(error),
        Ok(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_a_bridge() {
        let subnet = "10.77.0.0/24".parse().unwrap();
        let tag = "winstead abcd1234".to_owned();
        let bridge = OwnBridge { name: "fwd".into(), subnet, folder: "/n".into(), tag };
        insta::assert_snapshot!(ruleset(&bridge));
        assert_eq!(table_name("br-1.x"), "winstead_br_2d_1_2e_x");
    }
}
