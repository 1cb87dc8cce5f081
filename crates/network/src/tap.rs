//! Taps: a machine's end of a bridge.

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{MacAddress, NetworkError, ip, ip::Link, programs};

/// A tap to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tap {
    /// Interface name, at most 15 characters: see [`crate::tap_name`].
    pub name: String,
    /// The bridge it is attached to, ours or not.
    pub bridge: String,
    /// The user that may open it.
    pub owner: Option<u32>,
    /// Its interface alias.
    pub tag: String,
}

/// Makes the tap, attaches it to its bridge and switches it on; one that is there is set right.
///
/// # Errors
/// When the bridge is missing, an interface of that name is not ours, or rights are missing.
pub async fn add_tap(tap: &Tap, stop: &CancellationToken) -> Result<(), NetworkError> {
    let links = ip::links(stop).await?;
    if !links.iter().any(|link| link.ifname == tap.bridge && link.kind() == Some("bridge")) {
        return Err(NetworkError::NoBridge { tap: tap.name.clone(), bridge: tap.bridge.clone() });
    }
    let there = links.iter().find(|link| link.ifname == tap.name);
    if there.is_some_and(|link| !is_ours(tap, link)) {
        return Err(NetworkError::Foreign { name: tap.name.clone() });
    }
    let tagged = there.is_some_and(|link| link.is_tagged("tun", &tap.tag));
    ip::make_tagged(&making(tap, there.is_some(), tagged)).await?;
    ip::batch(&attaching(tap), stop).await
}

/// Removes the tap; gone already is fine. An interface of that name that is not ours stays, with a warning.
///
/// # Errors
/// When rights are missing.
pub async fn remove_tap(tap: &Tap, stop: &CancellationToken) -> Result<(), NetworkError> {
    let links = programs::unless_missing(ip::links(stop).await)?;
    match links.iter().find(|link| link.ifname == tap.name) {
        None => Ok(()),
        Some(link) if is_ours(tap, link) => ip::delete(&tap.name, stop).await,
        Some(_) => {
            tracing::warn!(name = tap.name, "left alone: the interface is not ours");
            Ok(())
        }
    }
}

/// Also one whose maker was killed before it could tag it: it has the name that is drawn from the machine's uid, nobody's
/// tag, and is on no bridge yet.
fn is_ours(tap: &Tap, link: &Link) -> bool {
    link.is_tagged("tun", &tap.tag) || link.is_untagged("tun") && link.master.is_none()
}

fn making(tap: &Tap, there: bool, tagged: bool) -> Vec<String> {
    let Tap { name, owner, tag, .. } = tap;
    let owner = owner.map_or_else(String::new, |uid| format!(" user {uid}"));
    let add = (!there).then(|| format!("tuntap add dev {name} mode tap{owner}"));
    let tag = (!tagged).then(|| format!("link set dev {name} alias \"{tag}\""));
    add.into_iter().chain(tag).collect()
}

fn attaching(tap: &Tap) -> [String; 2] {
    let Tap { name, bridge, tag, .. } = tap;
    let mac = MacAddress::of_interface(tag, name);
    // The address first: a bridge looks at it when the tap comes.
    [format!("link set dev {name} address {mac}"), format!("link set dev {name} master {bridge} up")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_is_made_once_and_attached_each_time() {
        let (name, bridge) = ("wtabc".to_owned(), "wt0".to_owned());
        let tap = Tap { name, bridge, owner: Some(2_013_265_921), tag: "winstead abcd1234".into() };
        let all = [making(&tap, false, false), attaching(&tap).to_vec()].concat();
        insta::assert_snapshot!(all.join("\n"));
        assert_eq!(making(&tap, true, false), all[1..2]);
        assert!(making(&tap, true, true).is_empty());
    }
}
