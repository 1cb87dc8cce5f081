//! Taps: a machine's end of a bridge.

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::{MacAddress, NetworkError, ip};

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
    if !links.iter().any(|link| link.ifname == tap.bridge) {
        return Err(NetworkError::NoBridge { tap: tap.name.clone(), bridge: tap.bridge.clone() });
    }
    let there = links.iter().find(|link| link.ifname == tap.name);
    if there.is_some_and(|link| !link.is_tagged("tun", &tap.tag)) {
        return Err(NetworkError::Foreign { name: tap.name.clone() });
    }
    ip::batch(&commands(tap, there.is_some()), stop).await
}

/// Removes the tap; gone already is fine. An interface of that name that is not ours stays, with a warning.
///
/// # Errors
/// When rights are missing.
pub async fn remove_tap(tap: &Tap, stop: &CancellationToken) -> Result<(), NetworkError> {
    let links = ip::links(stop).await?;
    match links.iter().find(|link| link.ifname == tap.name) {
        None => Ok(()),
        Some(link) if link.is_tagged("tun", &tap.tag) => ip::delete(&tap.name, stop).await,
        Some(_) => {
            tracing::warn!(name = tap.name, "left alone: the interface is not ours");
            Ok(())
        }
    }
}

fn commands(tap: &Tap, there: bool) -> Vec<String> {
    let Tap { name, bridge, owner, tag } = tap;
    let owner = owner.map_or_else(String::new, |uid| format!(" user {uid}"));
    let make =
        [format!("tuntap add dev {name} mode tap{owner}"), format!("link set dev {name} alias \"{tag}\"")];
    let make = make.into_iter().filter(|_| !there);
    let mac = MacAddress::of_interface(tag, name);
    // The address first: a bridge looks at it when the tap comes.
    let attach =
        [format!("link set dev {name} address {mac}"), format!("link set dev {name} master {bridge} up")];
    make.chain(attach).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tap_is_made_once_and_attached_each_time() {
        let (name, bridge) = ("wtabc".to_owned(), "wt0".to_owned());
        let tap = Tap { name, bridge, owner: Some(2_013_265_921), tag: "winstead abcd1234".into() };
        let all = commands(&tap, false);
        insta::assert_snapshot!(all.join("\n"));
        assert_eq!(commands(&tap, true), all[2..]);
    }
}
