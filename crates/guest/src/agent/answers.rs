//! What the guest agent answers, read without trust. Pure.

use std::net::IpAddr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::DeserializeOwned};

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

/// A network card (`guest-network-get-interfaces`).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "RawInterface")]
pub struct Interface {
    /// Its name in the guest.
    pub name: String,
    /// Its hardware address.
    pub mac: Option<String>,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
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

impl From<RawInterface> for Interface {
    /// Addresses that do not parse are left out: Windows puts a zone behind some.
    fn from(raw: RawInterface) -> Self {
        let address = |raw: RawAddress| raw.ip_address.split('%').next().and_then(|text| text.parse().ok());
        let addresses = raw.ip_addresses.into_iter().filter_map(address).collect();
        Self { name: raw.name, mac: raw.hardware_address, addresses }
    }
}

/// A program that runs in the guest (`guest-exec`).
#[derive(Deserialize)]
pub(super) struct Started {
    pub(super) pid: i64,
}

/// How it is with a program (`guest-exec-status`).
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ExecStatus {
    pub(super) exited: bool,
    exitcode: Option<i64>,
    signal: Option<i64>,
    #[serde(default)]
    out_data: String,
    #[serde(default)]
    err_data: String,
}

/// How a program in the guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; `None` when a signal ended it, and for more than a process can say.
    pub code: Option<i32>,
    /// What it wrote on its standard output.
    pub output: Vec<u8>,
    /// What it wrote on its standard error.
    pub errors: Vec<u8>,
}

impl From<ExecStatus> for Ended {
    /// What is no base64 counts as nothing: it is the guest's own words, and only told to people.
    fn from(status: ExecStatus) -> Self {
        let words = |text: &str| BASE64_STANDARD.decode(text).unwrap_or_default();
        let code = status.exitcode.filter(|_| status.signal.is_none()).and_then(|code| code.try_into().ok());
        Self { code, output: words(&status.out_data), errors: words(&status.err_data) }
    }
}

/// The value of an answer line, or the error in it.
pub(super) fn answer<T: DeserializeOwned>(line: &[u8]) -> Result<T, AgentFailure> {
    #[derive(Deserialize)]
    struct Answer<T> {
        // No known version answers `{"return": null}`; a missing key must stay an error.
        #[serde(rename = "return")]
        value: Option<T>,
        error: Option<Refusal>,
    }
    #[derive(Deserialize)]
    struct Refusal {
        class: String,
        desc: String,
    }
    let answer: Answer<T> = serde_json::from_slice(line).map_err(|error| strange(line, &error))?;
    match (answer.value, answer.error) {
        (_, Some(Refusal { class, desc })) => {
            Err(AgentFailure::Refused { class: shortened(&class), description: shortened(&desc) })
        }
        (Some(value), None) => Ok(value),
        (None, None) => {
            Err(AgentFailure::Malformed(format!("{:?}", shortened(&String::from_utf8_lossy(line)))))
        }
    }
}

fn strange(line: &[u8], error: &serde_json::Error) -> AgentFailure {
    let (text, error) = (String::from_utf8_lossy(line), error.to_string());
    AgentFailure::Malformed(format!("{:?}: {}", shortened(&text), shortened(&error)))
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::{prelude::*, sample::select};
    use serde::de::IgnoredAny;
    use serde_json::{Value, json};

    use super::*;

    fn read<T: DeserializeOwned>(value: &Value) -> Result<T, AgentFailure> {
        answer(json!({"return": value}).to_string().as_bytes())
    }

    #[test]
    fn commands_that_are_disabled_or_unknown_are_not_allowed() {
        let commands = json!([{"name": "guest-ping", "enabled": true, "success-response": true},
            {"name": "guest-exec", "enabled": false, "success-response": true}]);
        let info: Info = read(&json!({"version": "7.2.19", "supported_commands": commands})).unwrap();
        assert!(info.allows("guest-ping") && !info.allows("guest-exec") && !info.allows("guest-sing"));
    }

    #[test]
    fn interfaces_are_read_with_and_without_addresses() {
        let value = json!([
            {"name": "lo", "ip-addresses": [{"ip-address-type": "ipv4", "ip-address": "127.0.0.1", "prefix": 8}]},
            {"name": "Ethernet", "hardware-address": "52:54:00:00:00:01", "ip-addresses": [
                {"ip-address": "fe80::1%4", "ip-address-type": "ipv6", "prefix": 64}, {"ip-address": "?", "prefix": 0}]},
            {"name": "sit0"}]);
        let found: Vec<Interface> = read(&value).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[1].mac.as_deref(), Some("52:54:00:00:00:01"));
        assert_eq!(found[1].addresses, ["fe80::1".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn refusals_keep_the_guests_words() {
        let line = br#"{"error": {"class": "CommandNotFound", "desc": "The command x has not been found"}}"#;
        let Err(AgentFailure::Refused { class, description }) = answer::<IgnoredAny>(line) else {
            panic!("not refused")
        };
        assert_eq!(
            (class.as_str(), description.as_str()),
            ("CommandNotFound", "The command x has not been found")
        );
        for bad in [&b"{}"[..], b"[]", b"garbage", b"\xfe", b"{\"return\":", b"1"] {
            assert!(matches!(answer::<IgnoredAny>(bad), Err(AgentFailure::Malformed(_))), "{bad:?}");
        }
    }

    #[test]
    fn long_words_of_a_guest_are_shortened() {
        let long = "é".repeat(100_000);
        let refusal = json!({"error": {"class": long, "desc": long}}).to_string();
        let wrong = json!({"return": long}).to_string();
        for line in [refusal, wrong, long] {
            let failure = answer::<u32>(line.as_bytes()).unwrap_err();
            assert!(failure.to_string().len() < 8 * SHOWN, "{} bytes", failure.to_string().len());
        }
    }

    const KEYS: [&str; 11] = [
        "return",
        "error",
        "class",
        "desc",
        "version",
        "supported_commands",
        "name",
        "enabled",
        "hardware-address",
        "ip-addresses",
        "ip-address",
    ];

    /// JSON made of the agent's own keys, in any order and depth.
    fn like_an_agent() -> impl Strategy<Value = Value> {
        let words = select(vec!["eth0", "52:54:00:00:00:01", "fe80::1%4", "10.0.2.15", "7.2.19", ""]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            words.prop_map(Value::from)
        ];
        leaf.prop_recursive(5, 40, 4, |inner| {
            let list = prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
            let pairs = prop::collection::vec((select(&KEYS[..]), inner), 0..5);
            let object = |pairs: Vec<(&str, Value)>| {
                pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
            };
            prop_oneof![list, pairs.prop_map(move |pairs| Value::Object(object(pairs)))]
        })
    }

    proptest! {
        #[test]
        fn no_answer_panics_us(bytes: Vec<u8>, value in like_an_agent()) {
            for line in [bytes, value.to_string().into_bytes(), json!({"return": value}).to_string().into_bytes()] {
                drop((answer::<IgnoredAny>(&line), answer::<Info>(&line), answer::<Vec<Interface>>(&line)));
                drop((answer::<Started>(&line), answer::<ExecStatus>(&line).map(Ended::from)));
            }
        }

        #[test]
        fn what_an_agent_says_is_what_is_read(name: String, mac: Option<String>, addresses: Vec<u128>) {
            let addresses: Vec<IpAddr> = addresses.into_iter().map(|bits| Ipv6Addr::from(bits).into()).collect();
            let told: Vec<Value> = addresses.iter().map(|address| json!({"ip-address": address, "prefix": 64})).collect();
            let value = json!([{"name": name, "hardware-address": mac, "ip-addresses": told, "statistics": {"rx-bytes": 1}}]);
            prop_assert_eq!(read::<Vec<Interface>>(&value).unwrap(), [Interface { name, mac, addresses }]);
        }
    }
}
