//! What became of a connection through QEMU's user network, which accepts in the guest's place and at once.
//!
//! Observed with QEMU 7.2: a connection that is closed before the guest has answered stays in the list, and its request is
//! repeated to the guest for 82 s. So whoever waits should not make more of them than help: while the guest's card is down,
//! none does.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use winstead_process::ProcessId;

use super::{
    COMMAND_SOCKET,
    qmp::{Client, QmpError},
};

/// QEMU answers within milliseconds; whoever waits for SSH can do without.
const LIMIT: Duration = Duration::from_secs(2);

/// What became of the connections to one forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// There is none, or QEMU cannot say.
    Unknown,
    /// The guest's network card is not up: it can answer nobody.
    Absent,
    /// The guest has not answered yet.
    Pending,
    /// The guest's kernel has accepted one.
    Accepted,
}

/// Asks the QEMU that is `process` and works in `folder` about the connections to its forwarded `host_port`. Whatever goes wrong is
/// [`Handshake::Unknown`]. Uses the command socket, which serves one client at a time. Cancel safe.
pub async fn handshake(process: ProcessId, folder: &Path, host_port: u16) -> Handshake {
    ask(process, folder, host_port).await.unwrap_or_else(|error| {
        tracing::debug!(%error, "no word of the connection");
        Handshake::Unknown
    })
}

async fn ask(process: ProcessId, folder: &Path, host_port: u16) -> Result<Handshake, QmpError> {
    let mut client = Client::connect(folder, COMMAND_SOCKET, process, LIMIT).await?;
    let command = json!({"command-line": "info usernet"});
    let list = client.execute("human-monitor-command", Some(&command)).await?;
    let seen = in_list(list.as_str().unwrap_or_default(), host_port);
    if seen != Handshake::Pending {
        return Ok(seen);
    }
    // Only virtio's cards answer; of any other it is not known that it is down.
    let down = client.execute("query-rx-filter", None).await.is_ok_and(|answer| is_down(&answer));
    Ok(if down { Handshake::Absent } else { Handshake::Pending })
}

/// What the list of `info usernet` (QEMU 7.2; no form of it is promised) says of the port.
fn in_list(list: &str, host_port: u16) -> Handshake {
    let port = host_port.to_string();
    let state = |line: &str| {
        let mut words = line.split_whitespace();
        let state = words.next()?.strip_prefix("TCP[")?.strip_suffix(']')?.to_owned();
        // The descriptor, the address, the port.
        (words.nth(2)? == port).then_some(state)
    };
    let states: Vec<String> = list.lines().filter_map(state).collect();
    let has = |wanted: &str| states.iter().any(|state| state == wanted);
    match (has("ESTABLISHED"), has("SYN_SENT")) {
        (true, _) => Handshake::Accepted,
        (false, true) => Handshake::Pending,
        (false, false) => Handshake::Unknown,
    }
}

/// A guest that switches its card on joins the group of all hosts; until then the card's list of groups is empty.
fn is_down(answer: &Value) -> bool {
    let groups = |card: &Value| card["multicast-table"].as_array().map(Vec::len);
    let all = |card: &Value| card["multicast-overflow"] == true;
    let cards = answer.as_array().map(Vec::as_slice).unwrap_or_default();
    !cards.is_empty() && cards.iter().all(|card| groups(card) == Some(0) && !all(card))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Captured from QEMU 7.2 while a guest booted, its port 39599.
    const LISTS: [(&str, Handshake); 4] = [
        (include_str!("../../testdata/usernet-qemu-7.2/no-connection.txt"), Handshake::Unknown),
        (include_str!("../../testdata/usernet-qemu-7.2/silent-guest.txt"), Handshake::Pending),
        (include_str!("../../testdata/usernet-qemu-7.2/two-silent.txt"), Handshake::Pending),
        (include_str!("../../testdata/usernet-qemu-7.2/accepted-beside-two-old.txt"), Handshake::Accepted),
    ];

    #[test]
    fn each_moment_of_a_boot_is_understood_and_other_ports_are_not_ours() {
        for (list, expected) in LISTS {
            assert_eq!(in_list(list, 39599), expected, "{list}");
            assert_eq!(in_list(list, 3959), Handshake::Unknown, "{list}");
        }
    }

    #[test]
    fn a_card_is_down_until_it_has_joined_a_group() {
        let card =
            |groups: Value| json!([{"name": "nic0", "multicast-table": groups, "multicast-overflow": false}]);
        assert!(is_down(&card(json!([]))));
        // As QEMU 7.2 says it of a Linux guest.
        assert!(!is_down(&card(json!(["01:00:5e:00:00:01", "33:33:00:00:00:01"]))));
        for odd in [
            json!([]),
            json!({}),
            json!(null),
            card(json!(null)),
            json!([{"multicast-table": [], "multicast-overflow": true}]),
        ] {
            assert!(!is_down(&odd), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn no_list_panics_us_and_cut_ones_are_never_better_than_whole_ones(
            garbage: String, port: u16, cut in 0_usize..400, which in 0_usize..4,
        ) {
            in_list(&garbage, port);
            let (list, whole) = LISTS[which];
            let found = in_list(&list[..cut.min(list.len())], 39599);
            prop_assert!(found == whole || found == Handshake::Unknown);
        }
    }
}
