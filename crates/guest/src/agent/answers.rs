//! What the guest agent answers, read without trust. Pure.

use std::net::IpAddr;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use crate::agent::AgentFailure;

/// How much of a strange answer is shown.
const SHOWN: usize = 200;

/// Which agent it is and what it does (`guest-info`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Info {
    /// QEMU's version.
    pub version: String,
    supported_commands: Vec<Supported>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Supported {
    name: String,
    enabled: bool,
}

impl Info {
    /// Whether the agent has this command and its configuration allows it; Red Hat's, for one, disables `guest-exec`.
    #[must_use]
    pub fn allows(&self, command: &str) -> bool {
        self.supported_commands.iter().any(|known| known.name == command && known.enabled)
    }
}

/// What runs in the guest (`guest-get-osinfo`); each field may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct OsInfo {
    /// `debian`, `mswindows`.
    pub id: Option<String>,
    /// `Debian GNU/Linux 13 (trixie)`.
    pub pretty_name: Option<String>,
    /// `13`.
    pub version_id: Option<String>,
    /// `6.12.48+deb13-cloud-amd64`.
    pub kernel_release: Option<String>,
    /// `x86_64`.
    pub machine: Option<String>,
}

/// A network card (`guest-network-get-interfaces`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name in the guest.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
}

/// How a command in the guest ended (`guest-exec-status`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    /// Its exit code; `None` when a signal ended it.
    pub code: Option<i64>,
    /// The signal that ended it (Windows: the exception).
    pub signal: Option<i64>,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Whether the agent has left out the end of an output (it keeps 16 MiB of each).
    pub truncated: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawInterface {
    name: String,
    hardware_address: Option<String>,
    #[serde(default)]
    ip_addresses: Vec<RawAddress>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawAddress {
    ip_address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawStatus {
    exited: bool,
    exitcode: Option<i64>,
    signal: Option<i64>,
    #[serde(default)]
    out_data: String,
    #[serde(default)]
    err_data: String,
    #[serde(default)]
    out_truncated: bool,
    #[serde(default)]
    err_truncated: bool,
}

/// The value of an answer line, or the error in it.
pub(super) fn answer(line: &[u8]) -> Result<Value, AgentFailure> {
    #[derive(Deserialize)]
    struct Answer {
        // An answer may be `{"return": null}`-like in no known version; a missing key must stay an error.
        #[serde(rename = "return")]
        value: Option<Value>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        class: String,
        desc: String,
    }
    let answer: Answer = serde_json::from_slice(line).map_err(|_| strange(line))?;
    match (answer.value, answer.error) {
        (_, Some(Refusal { class, desc })) => Err(AgentFailure::Refused { class, description: desc }),
        (Some(value), None) => Ok(value),
        (None, None) => Err(strange(line)),
    }
}

pub(super) fn read<T: DeserializeOwned>(value: Value) -> Result<T, AgentFailure> {
    serde_json::from_value(value).map_err(|error| AgentFailure::Malformed(error.to_string()))
}

pub(super) fn interfaces(value: Value) -> Result<Vec<Interface>, AgentFailure> {
    let raw: Vec<RawInterface> = read(value)?;
    Ok(raw.into_iter().map(interface).collect())
}

/// Addresses that do not parse are left out: Windows puts a zone behind some.
fn interface(raw: RawInterface) -> Interface {
    let address = |raw: RawAddress| raw.ip_address.split('%').next().and_then(|text| text.parse().ok());
    let addresses = raw.ip_addresses.into_iter().filter_map(address).collect();
    Interface { name: raw.name, mac: raw.hardware_address, addresses }
}

/// `None` while the command still runs.
pub(super) fn exec_status(value: Value) -> Result<Option<ExecResult>, AgentFailure> {
    let raw: RawStatus = read(value)?;
    if !raw.exited {
        return Ok(None);
    }
    Ok(Some(ExecResult {
        code: raw.exitcode,
        signal: raw.signal,
        stdout: decode(&raw.out_data)?,
        stderr: decode(&raw.err_data)?,
        truncated: raw.out_truncated || raw.err_truncated,
    }))
}

pub(super) fn decode(text: &str) -> Result<Vec<u8>, AgentFailure> {
    STANDARD.decode(text).map_err(|error| AgentFailure::Malformed(error.to_string()))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn strange(line: &[u8]) -> AgentFailure {
    let text = String::from_utf8_lossy(&line[..line.len().min(SHOWN)]).into_owned();
    AgentFailure::Malformed(format!("{text:?}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn commands_that_are_disabled_or_unknown_are_not_allowed() {
        let commands = json!([{"name": "guest-ping", "enabled": true, "success-response": true},
            {"name": "guest-exec", "enabled": false, "success-response": true}]);
        let info: Info = read(json!({"version": "7.2.19", "supported_commands": commands})).unwrap();
        assert!(info.allows("guest-ping") && !info.allows("guest-exec") && !info.allows("guest-sing"));
    }

    #[test]
    fn interfaces_are_read_with_and_without_addresses() {
        let value = json!([
            {"name": "lo", "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}]},
            {"name": "Ethernet", "hardware-address": "52:54:00:00:00:01", "ip-addresses": [
                {"ip-address": "fe80::1%4", "ip-address-type": "ipv6", "prefix": 64}, {"ip-address": "?", "prefix": 0}]},
            {"name": "sit0"}]);
        let found = interfaces(value).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].mac.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(found[1].addresses, ["fe80::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn refusals_keep_the_guests_words() {
        let line = br#"{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#;
        let Err(AgentFailure::Refused { class, description }) = answer(line) else { panic!("not refused") };
        assert_eq!(
            (class.as_str(), description.as_str()),
            ("CommandNotFound", "The command x has not been found")
        );
        for bad in [&b"{}"[..], b"[]", b"garbage", b"\xfe", b"{\"return\":", b"1"] {
            assert!(matches!(answer(bad), Err(AgentFailure::Malformed(_))), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_answer_panics_us(bytes: Vec<u8>, text in r#"\{"(return|error)":[\[\]{}":a-z0-9,]{0,30}\}"#) {
            drop(answer(&bytes));
            if let Ok(value) = answer(text.as_bytes()) {
                drop(interfaces(value.clone()));
                drop(exec_status(value.clone()));
                drop(read::<Info>(value.clone()));
                drop(read::<OsInfo>(value));
            }
        }
    }
}
