//! NAT and the guests' limits towards the host: one nftables table per bridge.
//!
//! Other tables still have their say: nftables asks every table, so a host whose own rules drop forwarded traffic
//! (Docker's do) needs a rule there, which is the user's to add: [`dropped_elsewhere`] says which.

use serde::Deserialize;
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

/// A table of the bridge's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Table {
    Absent,
    Ours,
    Foreign,
}

async fn find(bridge: &OwnBridge, stop: &CancellationToken) -> Result<Table, NetworkError> {
    // As text: the JSON of nftables 1.0.6 leaves the comment out.
    let list = Command::new("nft").args(["list", "table", "inet", &table_name(&bridge.name)]);
    match list.run(stop).await {
        Ok(output) if is_tagged(&output.text(), &bridge.tag) => Ok(Table::Ours),
        Ok(_) => Ok(Table::Foreign),
        Err(error) if error.said.contains("No such file or directory") => Ok(Table::Absent),
        Err(error) => Err(error.into()),
    }
}

/// A table's comment stands in front of all that is in it.
fn is_tagged(listed: &str, tag: &str) -> bool {
    listed.lines().nth(1).is_some_and(|line| line.trim() == format!("comment \"{tag}\""))
}

/// Puts the table in place; an old one of ours is replaced. The network's folder has to be there.
pub(crate) async fn apply(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    if find(bridge, stop).await? == Table::Foreign {
        return Err(NetworkError::ForeignTable { table: format!("inet {}", table_name(&bridge.name)) });
    }
    fs_err::write(bridge.folder.join(RECORD), table_name(&bridge.name))?;
    Command::new("nft").args(["-f", "-"]).input(ruleset(bridge)).run(stop).await?;
    Ok(())
}

/// Removes the table; gone already is fine, and one that is not ours stays, with a warning. Whoever has no right to look,
/// and never made one, has none to remove.
pub(crate) async fn remove(bridge: &OwnBridge, stop: &CancellationToken) -> Result<(), NetworkError> {
    let table = table_name(&bridge.name);
    match find(bridge, stop).await {
        Err(NetworkError::NoRights(_)) if !bridge.folder.join(RECORD).exists() => return Ok(()),
        Err(error) => return Err(error),
        Ok(Table::Absent) => return Ok(()),
        Ok(Table::Foreign) => {
            tracing::warn!(table, "left alone: the nftables table is not ours");
            return Ok(());
        }
        Ok(Table::Ours) => {}
    }
    let script = format!("table inet {table}\ndelete table inet {table}\n");
    Command::new("nft").args(["-f", "-"]).input(script).run(stop).await?;
    Ok(())
}

/// A chain as `nft -j list chains` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Chain {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

/// What to do when a chain of somebody else's drops what guests send through the host: a note with the rules.
///
/// # Errors
/// When nft cannot be asked.
pub(crate) async fn dropped_elsewhere(
    bridge: &str,
    stop: &CancellationToken,
) -> Result<Option<String>, NetworkError> {
    let list = Command::new("nft").args(["-j", "list", "chains"]);
    let chains = chains(&list.run(stop).await?.text());
    let Some(chain) = dropping(&chains) else { return Ok(None) };
    let at = format!("{} {} {}", chain.family, chain.table, chain.name);
    let rules = Command::new("nft").args(["list", "chain", &chain.family, &chain.table, &chain.name]);
    if rules.run(stop).await?.text().contains(&format!("\"{bridge}\"")) {
        return Ok(None);
    }
    // Quoted twice, for the shell and for nft: a name may be a word of nft's.
    let name = format!("'\"{bridge}\"'");
    Ok(Some(format!(
        "this host drops forwarded traffic (nftables chain {at}, as Docker sets it): machines on {bridge} reach the outside \
         after `nft insert rule {at} iifname {name} accept` and \
         `nft insert rule {at} oifname {name} ct state established,related accept`"
    )))
}

/// The chains in the answer; what does not read as one is passed over.
fn chains(answer: &str) -> Vec<Chain> {
    #[derive(Default, Deserialize)]
    struct Answer {
        nftables: Vec<serde_json::Value>,
    }
    let answer: Answer = serde_json::from_str(answer).unwrap_or_default();
    let chain = |object: serde_json::Value| serde_json::from_value(object.get("chain")?.clone()).ok();
    answer.nftables.into_iter().filter_map(chain).collect()
}

/// The first chain that drops forwarded IPv4 unless a rule of it says otherwise.
fn dropping(chains: &[Chain]) -> Option<&Chain> {
    chains.iter().find(|chain| {
        ["ip", "inet"].contains(&&*chain.family)
            && chain.hook.as_deref() == Some("forward")
            && chain.policy.as_deref() == Some("drop")
    })
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

    #[test]
    fn a_table_is_known_by_its_comment_alone() {
        // As nftables 1.0.6 lists it.
        let listed = "table inet winstead_fwd {\n\tcomment \"winstead abcd1234\"\n\tchain a {\n\t}\n}\n";
        assert!(is_tagged(listed, "winstead abcd1234"));
        assert!(
            !is_tagged(listed, "winstead abcd123")
                && !is_tagged("table inet winstead_fwd {\n}\n", "winstead x")
        );
    }

    #[test]
    fn a_forward_chain_that_drops_is_found_among_those_that_do_not() {
        // Captured from nftables 1.0.6.
        let answer = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "json_schema_version": 1}},
            {"chain": {"family": "inet", "table": "winstead_x", "name": "a", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "accept"}},
            {"chain": {"family": "ip", "table": "filter", "name": "DOCKER", "handle": 2}},
            {"chain": {"family": "ip6", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}}]}"#;
        let found = chains(answer);
        assert_eq!(found.len(), 4);
        assert_eq!(dropping(&found), found.last());
        assert_eq!((dropping(&found[..3]), chains("[{").len()), (None, 0));
    }
}
